"""Where a file is cut into blocks: on a fixed grid, or by its content.

Tensors are rewritten at the same offsets: a grid finds every block that stayed, at no cost. Text, logs and other structured files
get insertions, behind which a grid finds nothing; cut by content (FastCDC) the same bytes are cut at the same places wherever they
moved. `python -m bench.cutting` has the figures that the choice follows: what shrinks as text does is cut by its content.

A file is read in segments, several at once; a segment's end is always a cut, which costs a block or two per 8 MiB that moved.
FastCDC: W. Xia et al., "FastCDC: a Fast and Efficient Content-Defined Chunking Approach for Data Deduplication", USENIX ATC 2016.
"""

import os
from collections.abc import Iterator

from gp4u_protocol.checkpoint.compressing import Compressor
from gp4u_protocol.checkpoint.limits import KIB, block_bytes
from pyfastcdc import FastCDC

FILE_BYTES_MIN = 512 * KIB
"""Below it a grid has a block or two: nothing is gained."""
CUT_MIN, CUT_MEAN, CUT_MAX = 32 * KIB, 128 * KIB, 512 * KIB
_SAMPLES = 3
_SAMPLE_BYTES = 16 * KIB
_TEXT_SHRINKS_BELOW = 0.80


def is_cut_by_content(descriptor: int, size: int) -> bool:
    """Whether an open file of `size` bytes is better cut by its content: at three places it shrinks as text does, and less so as
    planes of numbers."""
    if size < FILE_BYTES_MIN or _has_holes(descriptor, size):
        return False
    compressor = Compressor()
    for number in range(_SAMPLES):
        at = (size - _SAMPLE_BYTES) * (number + 1) // (_SAMPLES + 1)
        sample = os.pread(descriptor, _SAMPLE_BYTES, at - at % 8)
        told = compressor.look(sample)
        if told.as_whole > _TEXT_SHRINKS_BELOW * len(sample) or told.as_planes < told.as_whole:
            return False
    return True


class Cutter:
    """Cuts one segment after another. Belongs to one thread."""

    def __init__(self) -> None:
        self._by_content = FastCDC(avg_size=CUT_MEAN, min_size=CUT_MIN, max_size=CUT_MAX)

    def by_content(self, view: memoryview) -> Iterator[tuple[int, int]]:
        """Begin and end of each block in `view`."""
        for chunk in self._by_content.cut_buf(view):
            yield chunk.offset, chunk.offset + chunk.length

    @staticmethod
    def on_grid(view: memoryview, file_bytes: int) -> Iterator[tuple[int, int]]:
        """Begin and end of each block in `view`, a segment of a file of `file_bytes`."""
        block = block_bytes(file_bytes)
        for begin in range(0, len(view), block):
            yield begin, min(begin + block, len(view))


def _has_holes(descriptor: int, size: int) -> bool:
    return os.fstat(descriptor).st_blocks * 512 < size
