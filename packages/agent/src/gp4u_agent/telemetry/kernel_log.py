"""XIDs from the kernel's log. The only witness of a GPU that the library cannot reach any more.

The driver writes `NVRM: Xid (PCI:0000:3b:00): 79, pid=1234, name=python, GPU has fallen off the bus.` (older drivers write
`NVRM: Xid (0000:3b:00): 79, …`). /dev/kmsg gives one record a read, from the moment that it was opened (we go to its
end first): what happened before the agent started is not news.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from gp4u_agent.telemetry.port import XidSeen

KMSG = Path("/dev/kmsg")
RECORD_BYTES_MAX = 8_192
RECORDS_MAX = 2_000
_XID = re.compile(
    r"NVRM: Xid \((?:PCI:)?([0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2})[^)]*\): (\d+)(?:, ?(.*))?"
)


def parse(record: str) -> tuple[str, int, str] | None:
    """PCI address (`0000:3b:00`, lower case), number and the driver's words of a record about an XID."""
    found = _XID.search(record)
    if found is None:
        return None
    domain, _, rest = found.group(1).partition(":")
    return f"{int(domain, 16):04x}:{rest}".lower(), int(found.group(2)), (found.group(3) or "").strip()


class KernelLog:
    """Reads what is new, without waiting. Without the right to read the log it finds nothing (`readable` says so)."""

    def __init__(self, uuids_by_pci: Mapping[str, str], path: Path = KMSG) -> None:
        self._uuids = uuids_by_pci
        try:
            self._fd: int | None = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(self._fd, 0, os.SEEK_END)
        except OSError:
            self._fd = None

    @property
    def readable(self) -> bool:
        """Whether this agent may read the kernel's log."""
        return self._fd is not None

    def take(self, now_s: float) -> list[XidSeen]:
        """XIDs logged since the last call."""
        found: list[XidSeen] = []
        for _ in range(RECORDS_MAX if self._fd is not None else 0):
            assert self._fd is not None
            try:
                record = os.read(self._fd, RECORD_BYTES_MAX)
            except BlockingIOError:
                break
            except BrokenPipeError:
                continue  # the log ran over: the next read goes on behind what is lost
            except OSError:
                break
            if not record:
                break
            if (told := parse(record.decode("utf-8", "replace"))) is not None:
                pci, code, words = told
                found.append(XidSeen(code, self._uuids.get(pci), now_s, words))
        return found
