"""A control loop that one controller at a time runs."""

from dataclasses import dataclass

from gp4u_server.controller.runner import ControlLoop
from gp4u_server.foundation.turns import Turns


@dataclass(frozen=True)
class InTurn:
    """Wraps a loop whose work is the same whoever does it, and costs as often as it is done."""

    loop: ControlLoop
    turns: Turns

    @property
    def name(self) -> str:
        return self.loop.name

    @property
    def interval_s(self) -> float:
        return self.loop.interval_s

    @property
    def channels(self) -> tuple[str, ...]:
        """What wakes the loop inside."""
        return tuple(getattr(self.loop, "channels", ()))

    async def run_once(self) -> int:
        """The loop's round, when it is our turn; else 0."""
        return await self.loop.run_once() if await self.turns.is_mine(self.loop.name) else 0
