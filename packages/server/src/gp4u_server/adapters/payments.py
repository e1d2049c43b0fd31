"""Payment providers behind `billing.ports.PaymentProvider`."""

from dataclasses import dataclass

from gp4u_server.billing.types import PaymentIntent, PaymentOutcome

DECLINED_TAIL_MICROS = 402


@dataclass(frozen=True)
class SandboxPayments:
    """No real money. Every payment succeeds at once, except amounts that end in 402 micro-units: declined.

    It keeps nothing: the answer is a function of the intent, so asking twice is answered alike.
    """

    name: str = "sandbox"

    async def charge(self, intent: PaymentIntent) -> PaymentOutcome:
        """See `PaymentProvider.charge`."""
        reference = f"sandbox_{intent.id}"
        if intent.amount_micros % 1_000 == DECLINED_TAIL_MICROS:
            return PaymentOutcome(
                False, reference, "the sandbox declines amounts that end in 402 micro-units"
            )
        return PaymentOutcome(True, reference)
