"""Which time of a placement the lease covers: what interruptions, returns and losses do to its clock. Pure.

All instants are the database's; silences are counted on gateways' monotonic clocks.
"""

from datetime import datetime, timedelta


def covered_until(now: datetime, silent_s: float, metered_from: datetime | None) -> datetime:
    """The node has been silent for `silent_s`: running time is confirmed until then, and never ends before it began."""
    last_beat = now - timedelta(seconds=silent_s)
    return last_beat if metered_from is None else max(last_beat, metered_from)


def counts_again_at(interrupted_at: datetime, now: datetime, bridge_s: float) -> datetime:
    """The node is back. Within `bridge_s` of silence its lease never ran out, so that time was run and counts; after a
    longer one the job was frozen, and counting goes on from now."""
    silent_ms = max(0, round((now - interrupted_at).total_seconds() * 1000))
    return interrupted_at if silent_ms <= bridge_s * 1000 else now


def last_beat_at(
    now: datetime, silent_s: float, *, interrupted_at: datetime | None, since: datetime
) -> datetime:
    """Until when a lost placement counts as alive. `since`: when its metered time, or else its row, began."""
    last_beat = now - timedelta(seconds=silent_s) if interrupted_at is None else interrupted_at
    return max(last_beat, since)


def ended_at(
    now: datetime,
    over_s: float,
    *,
    metered_from: datetime | None,
    running_at: datetime | None,
    created_at: datetime,
) -> datetime:
    """When a placement's time ended whose process was over for `over_s` at `now`.

    That may be before beats went missing and came back, so time that counted since is taken back. A wall clock that was stepped
    takes nothing back.
    """
    latest = max(now, metered_from or created_at)
    return max(latest - timedelta(seconds=over_s), running_at or created_at)
