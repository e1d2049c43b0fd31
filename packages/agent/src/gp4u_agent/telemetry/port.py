"""What readings of GPUs are taken from."""

from collections.abc import Set
from dataclasses import dataclass
from typing import Protocol

from gp4u_protocol.telemetry import DeviceSample


@dataclass(frozen=True)
class XidSeen:
    """One XID, and when it was seen (monotonic seconds)."""

    code: int
    uuid: str | None
    at_s: float
    detail: str = ""


class DeviceSampler(Protocol):
    """Called in a thread that is not the event loop's; may block, may raise."""

    def sample(self, busy: Set[str]) -> list[DeviceSample]:
        """Readings of each GPU now. `busy`: UUIDs of those that jobs hold."""
        ...

    def xids(self) -> list[XidSeen]:
        """XIDs since the last call, without waiting for any."""
        ...


class NoDevices:
    """A machine without GPUs."""

    def sample(self, busy: Set[str]) -> list[DeviceSample]:
        """See DeviceSampler."""
        return []

    def xids(self) -> list[XidSeen]:
        """See DeviceSampler."""
        return []
