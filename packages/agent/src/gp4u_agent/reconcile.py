"""What to do next, from what is wanted and what is: pure, so that every case can be tested.

`reconcile(desired, actual, now)` is called whenever either changed and at every beat. It never waits and never remembers:
a lost message, a restart or a repeated Desired lead to the same plan again, and carrying a plan out twice does no harm.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gp4u_protocol.lease_core import LeaseId
from gp4u_protocol.messages import DesiredRun, PlacementSpec

CLAIM_RETRY_S = 1.0
"""Seconds after which an unanswered claim is sent again."""


class Phase(StrEnum):
    """Where a placement stands on this machine."""

    CLAIMING = "claiming"  # no lease yet; nothing was started
    PREPARING = "preparing"  # lease held; files and checkpoint are being fetched
    RUNNING = "running"  # its shim lives
    STOPPING = "stopping"  # told to end; final checkpoint under way
    ENDING = "ending"  # its process ended; last checkpoint and last output under way
    ENDED = "ended"  # nothing of it runs; its end may still have to be reported


ALIVE = frozenset({Phase.PREPARING, Phase.RUNNING, Phase.STOPPING, Phase.ENDING})


@dataclass(frozen=True)
class Actual:
    """One placement on this machine, as reconciliation sees it.

    Attributes:
        granted: whether the gateway granted it to this run of the agent (and gave its data key).
        claim_sent_at: when the last claim was sent in this session, seconds of the lease clock.
        refused: the gateway refused it or called it stale: it must not run.
        end_acknowledged: its end was reported and acknowledged.
    """

    job_id: str
    phase: Phase
    granted: bool = False
    claim_sent_at: float | None = None
    refused: bool = False
    end_acknowledged: bool = False


@dataclass(frozen=True)
class Plan:
    """What to do, in this order: kills before everything, because two epochs of one job must not meet."""

    kill: list[LeaseId] = field(default_factory=list)
    stop: list[LeaseId] = field(default_factory=list)
    claim: list[LeaseId] = field(default_factory=list)
    start: list[LeaseId] = field(default_factory=list)
    report_absent: list[LeaseId] = field(default_factory=list)
    forget: list[LeaseId] = field(default_factory=list)


def reconcile(desired: Iterable[PlacementSpec] | None, actual: Mapping[LeaseId, Actual], now: float) -> Plan:
    """The plan. `desired` None: not told yet in this session, so nothing is ended and nothing begun.

    * wanted, not here: claim it; but not while an older epoch of its job is still alive here (that one is killed first).
    * here and granted, not begun: start it.
    * here but not granted to this run of the agent (after a restart): claim it again; the shim minds the deadline meanwhile.
    * wanted to stop: stop it; when nothing of it is here, say so, or the server would ask forever.
    * here and not wanted, refused, or of an older epoch: kill it; where nothing was begun there is nothing to kill, nor any end to tell:
      forgotten at once, it is claimed anew if it is wanted after all.
    * ended and nobody asks for it any more, or its end was acknowledged: forget it.
    """
    if desired is None:
        return Plan()
    plan = Plan()
    wanted = {LeaseId(spec.placement_id, spec.epoch): spec for spec in desired}
    newest_epoch: dict[str, int] = {}
    for spec in wanted.values():
        newest_epoch[spec.job_id] = max(spec.epoch, newest_epoch.get(spec.job_id, 0))
    for lease, placement in actual.items():
        newest_epoch[placement.job_id] = max(lease.epoch, newest_epoch.get(placement.job_id, 0))

    jobs_alive: set[str] = set()
    for lease, placement in sorted(actual.items()):
        superseded = lease.epoch < newest_epoch[placement.job_id]
        unwanted = lease not in wanted or superseded or placement.refused
        if placement.phase is Phase.ENDED:
            if lease not in wanted or placement.end_acknowledged:
                plan.forget.append(lease)
        elif lease not in wanted and placement.phase is Phase.CLAIMING:
            plan.forget.append(lease)
        elif unwanted:
            plan.kill.append(lease)
            if placement.phase in ALIVE:
                jobs_alive.add(placement.job_id)
        elif placement.phase in ALIVE:
            jobs_alive.add(placement.job_id)

    for lease, spec in sorted(wanted.items()):
        here = actual.get(lease)
        if spec.epoch < newest_epoch[spec.job_id]:
            continue  # an old order, overtaken by what is here or by another one beside it
        if here is None:
            if spec.desired is DesiredRun.STOP:
                plan.report_absent.append(lease)
            elif spec.job_id not in jobs_alive:
                plan.claim.append(lease)
        elif here.refused or here.phase is Phase.ENDED:
            continue
        elif spec.desired is DesiredRun.STOP:
            if here.phase is Phase.RUNNING and not here.granted:
                _claim_if_due(plan, lease, here, now)  # the final checkpoint needs the data key
            if here.phase in (Phase.CLAIMING, Phase.PREPARING, Phase.RUNNING):
                plan.stop.append(lease)
        elif not here.granted and here.phase is not Phase.PREPARING:
            _claim_if_due(plan, lease, here, now)
        elif here.phase is Phase.CLAIMING:
            plan.start.append(lease)
    return plan


def _claim_if_due(plan: Plan, lease: LeaseId, here: Actual, now: float) -> None:
    if here.claim_sent_at is None or now >= here.claim_sent_at + CLAIM_RETRY_S:
        plan.claim.append(lease)
