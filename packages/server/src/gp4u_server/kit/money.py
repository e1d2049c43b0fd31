"""Money as integer micro-units of one currency. Never a float, not even in JSON."""

from collections.abc import Sequence
from dataclasses import dataclass

MICROS_PER_UNIT = 1_000_000
MICROSECONDS_PER_HOUR = 3_600_000_000


@dataclass(frozen=True, order=True)
class Money:
    """An amount in millionths of `currency`'s unit: `Money(1_500_000, "USD")` is 1.50 US dollars."""

    micros: int
    currency: str = "USD"

    def __add__(self, other: "Money") -> "Money":
        return Money(self.micros + self._same(other), self.currency)

    def __sub__(self, other: "Money") -> "Money":
        return Money(self.micros - self._same(other), self.currency)

    def __neg__(self) -> "Money":
        return Money(-self.micros, self.currency)

    def _same(self, other: "Money") -> int:
        if other.currency != self.currency:
            raise ValueError(f"cannot mix {self.currency} and {other.currency}")
        return other.micros


def charge_for(rate_per_hour_micros: int, cumulated_us: int) -> int:
    """Micro-units owed after `cumulated_us` microseconds at `rate_per_hour_micros`, rounded half to even.

    Always computed on the whole time so far and never on a slice, so the sum of postings does not depend on
    where the slices were cut.
    """
    quotient, remainder = divmod(rate_per_hour_micros * cumulated_us, MICROSECONDS_PER_HOUR)
    twice = remainder * 2
    rounds_up = twice > MICROSECONDS_PER_HOUR or (twice == MICROSECONDS_PER_HOUR and quotient % 2 == 1)
    return quotient + rounds_up


def allocate(total_micros: int, weights: Sequence[int]) -> list[int]:
    """Split `total_micros` in proportion to `weights`; the parts always sum to the whole.

    Largest remainder: what integer division leaves over goes, one micro-unit each, to the parts that lost most
    (the earlier one on a tie). Raises ValueError for no weights, a negative weight, or weights that sum to 0.
    """
    scale = sum(weights)
    if scale <= 0 or min(weights) < 0:
        raise ValueError("weights must be non-negative and must not all be zero")
    sign = -1 if total_micros < 0 else 1
    shares = [divmod(abs(total_micros) * weight, scale) for weight in weights]
    parts = [quotient for quotient, _ in shares]
    left_over = abs(total_micros) - sum(parts)
    by_loss = sorted(range(len(weights)), key=lambda index: -shares[index][1])
    for index in by_loss[:left_over]:
        parts[index] += 1
    return [sign * part for part in parts]
