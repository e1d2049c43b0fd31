"""Why a chosen offer cannot be booked, and when it can. Pure.

A booking of a chosen offer is made at once or not at all, and nobody is told to leave for it: whoever wants interruptible
runs to make room, and to wait for their notice, sends the job without choosing an offer.
"""

from collections.abc import Sequence
from datetime import datetime

from gp4u_protocol.job_spec import BookingKind

from gp4u_server.catalyst.jobs.notice import LiveRun
from gp4u_server.catalyst.routing.decisions import PASSING, Candidate, Limit, Need
from gp4u_server.catalyst.routing.errors import RequirementsNotMet
from gp4u_server.catalyst.routing.room import room_for
from gp4u_server.kit.errors import DomainError
from gp4u_server.market.errors import OfferTaken


def is_busy(candidate: Candidate) -> bool:
    """Whether nothing but free GPUs is missing."""
    return bool(candidate.failed) and all(limit is Limit.GPUS_FREE for limit, _ in candidate.failed)


def free_by(gpus: int, free: int, runs: Sequence[LiveRun]) -> datetime | None:
    """When so many GPUs are free at the latest: each run ends with its own longest duration. None: not by these runs."""
    for run in sorted(runs, key=lambda run: run.ends_by):
        free += len(run.device_uuids)
        if free >= gpus:
            return run.ends_by
    return None


def refusal(
    candidate: Candidate, need: Need, free_uuids: Sequence[str], runs: Sequence[LiveRun], notice_s: float
) -> DomainError | None:
    """What to answer to whoever chose this offer; None when it fits. `free_uuids` and `runs`: of its node and GPU model,
    asked for only where it `is_busy`."""
    lasting = [sentence for limit, sentence in candidate.failed if limit not in (*PASSING, Limit.NOT_LISTED)]
    if lasting:
        return RequirementsNotMet(f"This offer cannot run the job: {'; '.join(lasting)}.")
    if not candidate.failed:
        return None
    said = f"This offer cannot be booked now: {candidate.excluded_because}."
    if not is_busy(candidate):
        return OfferTaken(said)
    extra: dict[str, object] = {}
    at = free_by(need.spec.resources.gpus, len(free_uuids), runs)
    if at is not None:
        said += f" It comes free by {at:%Y-%m-%d %H:%M} UTC at the latest."
        extra["free_by"] = at.isoformat()
    if need.spec.kind is BookingKind.ON_DEMAND:
        node_id = candidate.offer.node_id
        room = room_for(need, [candidate], {node_id: runs}, {node_id: free_uuids})
        if room is not None:
            said += (
                f" Interruptible bookings hold it, which make room with {notice_s:.0f} s of notice for jobs that choose no"
                " offer: send yours with POST /jobs (`gp4u run` without an offer)."
            )
            extra["makes_room"] = True
    return OfferTaken(said, **extra)
