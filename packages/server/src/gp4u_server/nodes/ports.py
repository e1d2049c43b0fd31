"""What nodes need from outside."""

from typing import Protocol

from gp4u_protocol.messages import NodeFacts


class HardwareCatalogue(Protocol):
    """What is publicly known about GPU models (the market has it)."""

    def canonical(self, name: str, vram_mb: int) -> str | None:
        """The catalogue's name for a GPU that calls itself `name`, or None when the catalogue lacks it."""
        ...

    def findings(self, facts: NodeFacts) -> list[str]:
        """What contradicts the published figures, one sentence each; empty when the facts are plausible."""
        ...
