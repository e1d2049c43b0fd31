"""A job as server-sent events. Truth is read from PostgreSQL; Valkey only says when to look, and carries metrics."""

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from pydantic import BaseModel

from gp4u_server.catalyst.jobs.reading import JobReader
from gp4u_server.catalyst.jobs.schemas import JobOut
from gp4u_server.foundation.streams import Streams, Subscription
from gp4u_server.kit.db import Database

POLL_S = 1.5
"""How late a change is seen when its wake-up got lost."""
COMMENT_S = 15.0
ADMITTED_S = 3.0
"""How long somebody whose session or key was ended may still see what happens."""
LINGER_S = 1.0
"""After the final state one more look: the last output may have come a moment behind the exit."""
LOG_PAGE_BYTES = 65_536
EVENTS_PAGE = 200


@dataclass(frozen=True)
class LiveJobs:
    """Streams of single jobs. Each read is a transaction of its own; nothing is held open in between."""

    database: Database
    reader: JobReader
    streams: Streams

    async def follow(
        self,
        renter_id: str | None,
        job_id: str,
        *,
        after_event: int,
        log_offset: int,
        admitted: Callable[[], Awaitable[bool]],
    ) -> AsyncIterator[str]:
        """Frames until the job has ended and everything was sent, or until the reader is not `admitted` any more."""
        shown: str | None = None
        final_since: float | None = None
        said_at = asked_at = time.monotonic()
        async with self.streams.listen(job_id) as subscription:
            while True:
                if time.monotonic() - asked_at >= ADMITTED_S:
                    asked_at = time.monotonic()
                    if not await admitted():
                        return
                async with self.database.transaction() as session:
                    job = await self.reader.job(session, renter_id, job_id)
                    events = await self.reader.timeline(session, renter_id, job_id, after_event, EVENTS_PAGE)
                    page = await self.reader.log(session, renter_id, job_id, log_offset, LOG_PAGE_BYTES)
                frames: list[str] = []
                for event in events:
                    frames.append(_frame("timeline", event, event.id))
                    after_event = event.id
                if (now_shown := _comparable(job)) != shown:
                    shown = now_shown
                    frames.append(_frame("job", job))
                more = len(events) == EVENTS_PAGE
                if page.next_offset > log_offset:
                    more = more or page.next_offset - log_offset >= LOG_PAGE_BYTES // 2
                    log_offset = page.next_offset
                    frames.append(_frame("log", page))
                for frame in frames:
                    yield frame
                now = time.monotonic()
                if frames:
                    said_at = now
                elif now - said_at >= COMMENT_S:
                    said_at = now
                    yield ": still here\n\n"
                if more:
                    continue
                if job.state.is_final:
                    final_since = final_since if final_since is not None else now
                    if now - final_since >= LINGER_S and not frames:
                        yield "event: end\ndata: {}\n\n"
                        return
                async for metrics in _metrics_until_woken(
                    subscription, POLL_S if final_since is None else 0.25
                ):
                    said_at = time.monotonic()
                    yield metrics


async def _metrics_until_woken(subscription: Subscription, wait_s: float) -> AsyncIterator[str]:
    """Passes metrics on; ends when something else happened or the time is over."""
    until = time.monotonic() + wait_s
    while (left := until - time.monotonic()) > 0:
        message = await subscription.wait(left)
        if message is None:
            if not subscription.is_open:
                return
            continue
        if message.get("topic") != "job.metrics":
            return
        yield f"event: metrics\ndata: {json.dumps(message.get('payload'), separators=(',', ':'))}\n\n"


def _frame(event: str, body: BaseModel, event_id: int | None = None) -> str:
    head = f"id: {event_id}\n" if event_id is not None else ""
    return f"{head}event: {event}\ndata: {body.model_dump_json()}\n\n"


def _comparable(job: JobOut) -> str:
    return job.model_dump_json(exclude={"running_s", "progress"})
