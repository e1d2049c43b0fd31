"""A job's output: one stream of bytes across all its placements.

At most 10 MiB a job are kept: the first 5 MiB (how it began, with the configuration it printed) and the last 5 MiB
(why it ended). What falls out between them leaves a hole, offsets go on, and a reader is told how much is missing.
"""

from dataclasses import dataclass

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.jobs.models import Job, JobLogChunk, Placement

LOG_HEAD_BYTES = 5 << 20
LOG_TAIL_BYTES = 5 << 20
LOG_PAGE_BYTES_MAX = 1 << 20
_CHUNKS_A_READ = 64


@dataclass(frozen=True)
class LogPage:
    """A piece of output. Pass `next_offset` to go on."""

    text: str
    next_offset: int


async def append_log(session: AsyncSession, job: Job, placement: Placement, offset: int, text: str) -> int:
    """Store what is new of a chunk and return the byte offset that is expected next.

    The caller holds the job's row lock. A chunk sent twice is cut to its new part; one that leaves a gap is not
    stored, and the returned offset tells the agent to send from there.
    """
    raw = text.encode("utf-8", "replace")
    expected = placement.log_next_offset
    if offset > expected or offset + len(raw) <= expected:
        return expected
    fresh = raw[expected - offset :].decode("utf-8", "replace").replace("\0", "\ufffd")
    placement.log_next_offset = offset + len(raw)
    start = job.log_bytes
    job.log_bytes = start + len(fresh.encode())
    await session.execute(
        insert(JobLogChunk).values(
            job_id=job.id,
            start_offset=start,
            end_offset=job.log_bytes,
            placement_id=placement.id,
            text=fresh,
        )
    )
    if job.log_bytes > LOG_HEAD_BYTES + LOG_TAIL_BYTES:
        await session.execute(
            delete(JobLogChunk).where(
                JobLogChunk.job_id == job.id,
                JobLogChunk.start_offset >= LOG_HEAD_BYTES,
                JobLogChunk.end_offset <= job.log_bytes - LOG_TAIL_BYTES,
            )
        )
    return placement.log_next_offset


async def read_log(session: AsyncSession, job_id: str, offset: int, limit_bytes: int) -> LogPage:
    """Output from byte `offset` on, at most `limit_bytes` and never half a character."""
    limit_bytes = min(max(limit_bytes, 4), LOG_PAGE_BYTES_MAX)
    statement = (
        select(JobLogChunk.start_offset, JobLogChunk.text)
        .where(JobLogChunk.job_id == job_id, JobLogChunk.end_offset > offset)
        .order_by(JobLogChunk.start_offset)
        .limit(_CHUNKS_A_READ)
    )
    parts: list[str] = []
    position, taken = offset, 0
    for start, text in await session.execute(statement):
        if start > position:
            parts.append(f"\n[{start - position} bytes of output were not kept]\n")
            position = start
        raw = text.encode()[position - start :]
        piece = raw[: limit_bytes - taken]
        if len(piece) < len(raw):
            piece = _whole_characters(piece)
        parts.append(piece.decode("utf-8", "replace"))
        position += len(piece)
        taken += len(piece)
        if len(piece) < len(raw) or taken >= limit_bytes:
            break
    return LogPage("".join(parts), position)


def _whole_characters(raw: bytes) -> bytes:
    """`raw` without the beginning of a character at its end."""
    for back in range(1, min(4, len(raw)) + 1):
        byte = raw[-back]
        if byte & 0b1100_0000 != 0b1000_0000:
            width = 1 if byte < 0x80 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return raw if width <= back else raw[:-back]
    return raw
