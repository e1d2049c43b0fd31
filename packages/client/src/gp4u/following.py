"""Following a job live: server-sent events with reconnection, and a plain listing when the stream is unavailable."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import httpx2

from gp4u.api import ApiClient, ApiError

FINAL_STATES = frozenset({"done", "failed", "stopped"})
RECONNECT_S = 0.5


@dataclass(frozen=True)
class Update:
    """One thing that happened: a `job` document, a `timeline` entry, `metrics`, or a piece of the `log`."""

    kind: Literal["job", "timeline", "log", "metrics"]
    data: dict[str, Any]


def follow(api: ApiClient, job_id: str, *, log_offset: int = 0) -> Iterator[Update]:
    """Every update of the job until it has ended and everything was delivered.

    A broken connection is taken up again where it stopped: nothing is shown twice or left out. Raises ApiError
    when the job does not exist or the server stays away.
    """
    last_event_id = "0"
    failures = 0
    while True:
        try:
            with api.stream(
                f"/jobs/{job_id}/stream", last_event_id=last_event_id, log_offset=log_offset
            ) as events:
                for event in events:
                    failures = 0
                    if event.event == "end":
                        return
                    if event.event not in {"job", "timeline", "log", "metrics"}:
                        continue
                    data = json.loads(event.data)
                    if event.event == "timeline":
                        last_event_id = str(data["id"])
                    elif event.event == "log":
                        log_offset = data["next_offset"]
                    yield Update(event.event, data)  # type: ignore[arg-type]
        except (httpx2.TransportError, ApiError) as error:
            if isinstance(error, ApiError):
                if error.status == 401:
                    api.get(f"/jobs/{job_id}")  # rotates the tokens, or raises for good
                elif error.status not in {0, 502, 503}:
                    raise
            failures += 1
            if failures > 60:
                raise
        time.sleep(RECONNECT_S)
