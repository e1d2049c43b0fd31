"""What nodes need from outside."""

from typing import Any, Protocol

from gp4u_protocol.messages import NodeFacts


class HardwareCatalogue(Protocol):
    """What is publicly known about GPU models (the market has it)."""

    def canonical(self, name: str, vram_mb: int) -> str | None:
        """The catalogue's name for a GPU that calls itself `name`, or None when the catalogue lacks it."""
        ...

    def findings(self, facts: NodeFacts) -> list[str]:
        """What contradicts the published figures, one sentence each; empty when the facts are plausible."""
        ...


class TokenSigner(Protocol):
    """Signs and checks short tokens (accounts has it)."""

    def sign(self, claims: dict[str, Any], *, audience: str, lifetime_s: int) -> str:
        """A token with these claims, for this audience only."""
        ...

    def verify(self, token: str, *, audience: str) -> dict[str, Any]:
        """The claims. Raises a DomainError of kind UNAUTHENTICATED for anything but a live token for `audience`."""
        ...
