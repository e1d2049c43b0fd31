"""The job's output on disk: a byte stream kept by offset, in segments, the oldest of which are dropped at a cap.

The stream is always valid UTF-8 without NUL, whatever the job writes, so that an offset in it means the same to the
agent, the gateway and the database.
"""

import codecs
import os
from pathlib import Path

SEGMENT_BYTES = 1 << 20
SEGMENTS_MAX = 32


class OutputLog:
    """Appends to the log folder. One writer: the shim.

    A disk that is full ends neither the shim nor the job: what cannot be written is dropped, counted in `dropped_bytes`, and a
    note stands in its place as soon as there is room again.
    """

    def __init__(
        self, folder: Path, segment_bytes: int = SEGMENT_BYTES, segments_max: int = SEGMENTS_MAX
    ) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._segments_max = segments_max
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self.end = 0
        self.dropped_bytes = 0
        self._untold_bytes = 0
        self._segment_start = 0
        self._fd = self._open(0)

    def append(self, raw: bytes, final: bool = False) -> None:
        """Add what the job wrote. `final`: nothing more comes. Never raises for a full or failing disk."""
        clean = self._decode(raw, final).replace("\0", "\ufffd").encode()
        if not clean and not self._untold_bytes:
            return
        note = ""
        if self._untold_bytes:
            note = f"\n[gp4u: {self._untold_bytes} bytes of output were dropped here: the node's disk was full]\n"
        try:
            self._next_segment_when_due()
            self._write(note.encode() + clean)
            self._untold_bytes = 0
        except OSError:
            self.dropped_bytes += len(clean)
            self._untold_bytes += len(clean)

    def close(self) -> None:
        """Flush the decoder's rest and close the file."""
        self.append(b"", final=True)
        os.close(self._fd)

    def _write(self, piece: bytes) -> None:
        """All of it or nothing: an offset must go on meaning the same place. Raises OSError."""
        left = memoryview(piece)
        try:
            while left:
                left = left[os.write(self._fd, left) :]
        except OSError:
            os.ftruncate(self._fd, self.end - self._segment_start)
            raise
        self.end += len(piece)

    def _next_segment_when_due(self) -> None:
        if self.end - self._segment_start < self._segment_bytes:
            return
        for old in sorted(self._folder.iterdir())[: 1 - self._segments_max]:
            old.unlink()  # first, so that there is room for the next
        following = self._open(self.end)
        os.close(self._fd)
        self._fd, self._segment_start = following, self.end

    def _open(self, start: int) -> int:
        return os.open(self._folder / f"{start:015d}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def read_from(folder: Path, offset: int, bytes_max: int) -> tuple[int, bytes]:
    """(offset of the first byte, whole characters) at `offset` or, where that was dropped, at the oldest kept byte."""
    segments = sorted(int(name) for name in os.listdir(folder)) if folder.is_dir() else []
    for start in reversed(segments):
        if start <= offset or start == segments[0]:
            begin = max(offset, start)
            with open(folder / f"{start:015d}", "rb") as file:
                file.seek(begin - start)
                piece = file.read(bytes_max)
            later = [other for other in segments if other > start]
            if not piece and later and begin >= later[0]:
                continue
            return begin, _whole_characters(piece)
    return offset, b""


def _whole_characters(piece: bytes) -> bytes:
    """`piece` without a cut character at its end."""
    for back in range(1, min(4, len(piece)) + 1):
        byte = piece[-back]
        if byte < 0x80:
            return piece
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return piece if back >= length else piece[:-back]
    return piece
