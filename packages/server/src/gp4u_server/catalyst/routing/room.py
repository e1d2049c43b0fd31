"""Making room: which interruptible runs an on-demand job may have moved away. Pure.

Only where nothing else fits: the job's own limits all hold on a node, and nothing but free GPUs is missing there. An
interruptible run yields only to an on-demand job that pays at least as much for a GPU and hour. Of the runs of a node the
youngest go first, for they have the least behind them; of several nodes the one where the fewest have to go, then the
cheapest to finish. Runs that have notice already, or end anyway, are not asked again: their GPUs come free by themselves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gp4u_protocol.job_spec import BookingKind

from gp4u_server.catalyst.jobs.notice import LiveRun
from gp4u_server.catalyst.routing.decisions import Candidate, Limit, Need


@dataclass(frozen=True)
class Room:
    """GPUs of one node that are kept for a job: some may be free, the others are held by runs that get notice."""

    candidate: Candidate
    device_uuids: tuple[str, ...]
    leaving: tuple[str, ...]


def may_make_room(need: Need, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Offers that lack nothing but free GPUs, for a job that may ask for room; the best first."""
    if need.spec.kind is not BookingKind.ON_DEMAND:
        return []
    return [
        candidate
        for candidate in candidates
        if candidate.failed and all(limit is Limit.GPUS_FREE for limit, _ in candidate.failed)
    ]


def room_for(
    need: Need,
    candidates: Sequence[Candidate],
    runs: Mapping[str, Sequence[LiveRun]],
    free: Mapping[str, Sequence[str]],
) -> Room | None:
    """The room to make, or None. `runs` and `free`: of each node what lives there, and its free GPUs' UUIDs."""
    gpus = need.spec.resources.gpus
    rooms = [
        room
        for candidate in may_make_room(need, candidates)
        if (room := _room_on(candidate, gpus, runs, free)) is not None
    ]
    return min(
        rooms,
        key=lambda room: (
            len(room.leaving),
            room.candidate.expected_cost_micros,
            room.candidate.offer.id,
        ),
        default=None,
    )


def _room_on(
    candidate: Candidate, gpus: int, runs: Mapping[str, Sequence[LiveRun]], free: Mapping[str, Sequence[str]]
) -> Room | None:
    node_id = candidate.offer.node_id
    devices = list(free.get(node_id, ()))[:gpus]
    yields = [
        run
        for run in runs.get(node_id, ())
        if run.kind is BookingKind.INTERRUPTIBLE
        and run.notice_reason is None
        and not run.is_stopping
        and run.rate_per_gpu_micros * gpus <= candidate.rate_per_hour_micros
    ]
    leaving = []
    for run in sorted(yields, key=lambda run: (run.created_at, run.job_id), reverse=True):
        if len(devices) >= gpus:
            break
        devices += run.device_uuids
        leaving.append(run.job_id)
    if len(devices) < gpus or not leaving:
        return None
    return Room(candidate, tuple(devices[:gpus]), tuple(leaving))
