"""A slow disk for chosen processes: the kernel's block throttle (cgroup v1 `blkio`), so that whatever they write and wait for
takes as long as on a disk that does so many writes a second. What they only read from memory is as fast as ever.

    with SlowDisk(folder, "postgres", writes_per_s=20, bytes_per_s=300_000) as disk:
        disk.take(pids)
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

BLKIO = Path("/sys/fs/cgroup/blkio")
_LIMITS = ("blkio.throttle.write_bps_device", "blkio.throttle.write_iops_device")


def why_not(folder: Path) -> str | None:
    """The reason why the disk below `folder` cannot be slowed here; None when it can."""
    if not (BLKIO / _LIMITS[0]).exists():
        return "this kernel has no block throttle in cgroup v1"
    if _device(folder) is None:
        return f"{folder} lies on no disk of its own"
    if not os.access(BLKIO, os.W_OK):
        return f"{BLKIO} cannot be written"
    return None


class SlowDisk:
    """One group of processes and its limits. What its processes start belongs to it as well."""

    def __init__(self, folder: Path, name: str, *, writes_per_s: int, bytes_per_s: int) -> None:
        device = _device(folder)
        assert device is not None, why_not(folder)
        self._device = device
        # `folder` is below the lab's own, whose name says whose rig this is.
        self._group = BLKIO / f"{folder.name}-{name}"
        self._limits = dict(zip(_LIMITS, (bytes_per_s, writes_per_s), strict=True))

    def __enter__(self) -> "SlowDisk":
        self._group.mkdir()
        for file, limit in self._limits.items():
            (self._group / file).write_text(f"{self._device} {limit}")
        for file, limit in self._limits.items():
            read = (self._group / file).read_text().split()
            assert read == [self._device, str(limit)], f"{file} reads {read}"
        return self

    def take(self, pids: Iterable[int]) -> None:
        """From now on these are slow, and what they start."""
        for pid in pids:
            with suppress(ProcessLookupError, OSError):
                (self._group / "cgroup.procs").write_text(str(pid))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._limits:
            (self._group / file).write_text(f"{self._device} 0")
        for pid in (self._group / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError, OSError):
                (BLKIO / "cgroup.procs").write_text(pid)
        self._group.rmdir()


def _device(folder: Path) -> str | None:
    """`major:minor` of the whole disk that `folder` lies on."""
    number = folder.stat().st_dev
    entry = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    if not entry.exists():
        return None
    disk = entry.resolve()
    if (disk / "partition").exists():
        disk = disk.parent
    return (disk / "dev").read_text().strip()
