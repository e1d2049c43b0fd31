"""Following a job live: server-sent events, taken up again where a broken connection stopped."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast

import httpx2

from gp4u.api import ApiClient
from gp4u.async_api import AsyncApiClient
from gp4u.wire import ApiError, ServerEvent

FINAL_STATES = frozenset({"done", "failed", "stopped"})
RECONNECT_S = 0.5
FAILURES_MAX = 60
TIMELINE_PAGE = 500
"""Entries that are read at once; the platform gives no more."""
Kind = Literal["job", "timeline", "log", "metrics"]
_KINDS = frozenset({"job", "timeline", "log", "metrics"})


@dataclass(frozen=True)
class Update:
    """One thing that happened: a `job` document, a `timeline` entry, `metrics`, or a piece of the `log`."""

    kind: Kind
    data: dict[str, Any]


class Position:
    """How far a job was followed: where the next connection starts, and when to give up."""

    def __init__(self, job_id: str, log_offset: int) -> None:
        self.path = f"/jobs/{job_id}/stream"
        self.last_event_id = "0"
        self.log_offset = log_offset
        self._failures = 0

    def take(self, event: ServerEvent) -> Update | None:
        """What the event tells, None for one of a kind that is not known here."""
        self._failures = 0
        if event.event not in _KINDS:
            return None
        data = json.loads(event.data)
        if event.event == "timeline":
            self.last_event_id = str(data["id"])
        elif event.event == "log":
            self.log_offset = data["next_offset"]
        return Update(cast("Kind", event.event), data)

    def broken(self, error: httpx2.TransportError | ApiError) -> bool:
        """Count a broken connection; True when only new tokens can help. Raises `error` when it is for good."""
        signed_out = isinstance(error, ApiError) and error.status == 401
        if isinstance(error, ApiError) and not signed_out and error.status not in {0, 502, 503}:
            raise error
        self._failures += 1
        if self._failures > FAILURES_MAX:
            raise error
        return signed_out


def follow(api: ApiClient, job_id: str, *, log_offset: int = 0) -> Iterator[Update]:
    """Every update of the job until it has ended and everything was delivered.

    A broken connection is taken up again where it stopped: nothing is shown twice or left out. Raises ApiError
    when the job does not exist or the server stays away.
    """
    at = Position(job_id, log_offset)
    while True:
        try:
            with api.stream(at.path, last_event_id=at.last_event_id, log_offset=at.log_offset) as events:
                for event in events:
                    if event.event == "end":
                        return
                    update = at.take(event)
                    if update is not None:
                        yield update
        except (httpx2.TransportError, ApiError) as error:
            if at.broken(error):
                api.get(f"/jobs/{job_id}")  # rotates the tokens, or raises for good
        time.sleep(RECONNECT_S)


async def follow_async(api: AsyncApiClient, job_id: str, *, log_offset: int = 0) -> AsyncIterator[Update]:
    """`follow` for programs with an event loop."""
    at = Position(job_id, log_offset)
    while True:
        try:
            async with api.stream(
                at.path, last_event_id=at.last_event_id, log_offset=at.log_offset
            ) as events:
                async for event in events:
                    if event.event == "end":
                        return
                    update = at.take(event)
                    if update is not None:
                        yield update
        except (httpx2.TransportError, ApiError) as error:
            if at.broken(error):
                await api.get(f"/jobs/{job_id}")
        await asyncio.sleep(RECONNECT_S)


def read_timeline(api: ApiClient, job_id: str) -> list[dict[str, Any]]:
    """Everything that happened to the job so far, oldest first. Raises ApiError."""
    events: list[dict[str, Any]] = []
    while True:
        page = api.get(f"/jobs/{job_id}/events", **_after(events))
        events += page
        if len(page) < TIMELINE_PAGE:
            return events


async def read_timeline_async(api: AsyncApiClient, job_id: str) -> list[dict[str, Any]]:
    """What `read_timeline` answers."""
    events: list[dict[str, Any]] = []
    while True:
        page = await api.get(f"/jobs/{job_id}/events", **_after(events))
        events += page
        if len(page) < TIMELINE_PAGE:
            return events


def _after(events: list[dict[str, Any]]) -> dict[str, int]:
    return {"after": events[-1]["id"] if events else 0, "limit": TIMELINE_PAGE}
