"""`python -m tests.unit.checkpoints.memory_probe FOLDER MIB`: saves and restores so much, and says what memory that took at most.

A process of its own, so that the peak is the engine's. The store is a folder, and slow: what waits to be sent is then at its most.
"""

import asyncio
import json
import mmap
import os
import sys
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from tests.unit.checkpoints.platform import Platform
from tests.unit.checkpoints.scene import Node

PUT_S = 0.1
FILES = 8


@dataclass
class Files(MutableMapping[str, bytes]):
    """Objects as files: what the test's store holds is not counted."""

    folder: Path

    def _path(self, name: str) -> Path:
        return self.folder / name.replace("/", "_")

    def __getitem__(self, name: str) -> bytes:
        try:
            with self._path(name).open("rb") as file:
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # type: ignore[return-value]
        except FileNotFoundError:
            raise KeyError(name) from None

    def __setitem__(self, name: str, content: bytes) -> None:
        self._path(name).write_bytes(content)

    def __delitem__(self, name: str) -> None:
        self._path(name).unlink()

    def __iter__(self) -> Iterator[str]:
        return (path.name for path in self.folder.iterdir())

    def __len__(self) -> int:
        return sum(1 for _ in self.folder.iterdir())


def status(name: str) -> int:
    """A line of this process's status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def begin() -> int:
    """Forget the peak so far; answers what is used now. Mapped files (the test's store) are not counted: RssAnon."""
    Path("/proc/self/clear_refs").write_text("5")
    return status("VmRSS")


async def slowly(when: str, call: str, _number: int) -> None:
    """The network of this store."""
    if when == "before" and call.startswith("PUT "):
        await asyncio.sleep(PUT_S)


async def run(root: Path, mib: int) -> dict[str, int]:
    """Peaks over what was there before, in bytes."""
    (root / "store").mkdir()
    platform = Platform(objects=Files(root / "store"), fault=slowly)  # type: ignore[arg-type]
    node = Node(platform, root / "one")
    node.folder.mkdir()
    for number in range(FILES):
        with (node.folder / f"weights-{number}").open("wb") as file:
            for _ in range(mib // FILES):
                file.write(os.urandom(1 << 20))
    before = begin()
    assert await node.engine.snapshot("interval") is not None
    snapshot = status("VmHWM") - before
    other = Node(platform, root / "two")
    before = begin()
    await other.engine.restore()
    return {"snapshot": snapshot, "restore": status("VmHWM") - before}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2])))))
