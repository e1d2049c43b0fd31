"""Use cases of jobs in the simulated database, around production's fencing, coverage and verdicts."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from gp4u_protocol.job_spec import Protection
from gp4u_protocol.lease import freeze_after_s
from gp4u_protocol.lease_core import LeaseId
from gp4u_protocol.messages import DesiredRun
from gp4u_server.billing.metering import Interrupted, Ran, Restored
from gp4u_server.catalyst.health import decisions as health
from gp4u_server.catalyst.jobs import coverage, decisions, fencing
from gp4u_server.catalyst.jobs.types import JobState, Outcome

from gp4u_simulation.money import Money
from gp4u_simulation.referee import Referee
from gp4u_simulation.rows import JobRow, NodeRow, PlacementRow
from gp4u_simulation.world import World

UNCLAIMED_AFTER = timedelta(seconds=8)
STOP_GRACE_S = 1.0
STOP_OVERDUE = timedelta(seconds=20)
"""Production waits 90 s; a seed is over by then."""


class Told(StrEnum):
    """What a node reports."""

    RUNNING = "running"
    EXITED = "exited"
    STOPPED = "stopped"
    KILLED = "killed"
    SHIM_LOST = "shim_lost"
    START_FAILED = "start_failed"


FINAL = frozenset(Told) - {Told.RUNNING}


class Report(NamedTuple):
    """One numbered report of one placement."""

    lease: LeaseId
    seq: int
    told: Told


class Jobs:
    """Everything runs inside a transaction; `now` is the database's wall clock."""

    def __init__(self, world: World, referee: Referee, money: Money, nodes: dict[str, NodeRow]) -> None:
        self.world = world
        self.referee = referee
        self.money = money
        self.nodes = nodes
        self.rows: dict[str, JobRow] = {}
        self.placements: dict[str, PlacementRow] = {}
        # What the transaction will notify when it commits.
        self.changed: list[str] = []
        self.work_changed = False

    def live_on(self, node_id: str) -> list[PlacementRow]:
        """Live placements of a node."""
        return [p for job in self.rows.values() if (p := job.placement) and p.node_id == node_id]

    def current(self, placement_id: str, epoch: int, node_id: str) -> PlacementRow | None:
        """The fence of every write of a node."""
        row = self.placements.get(placement_id)
        if row is None or row.node_id != node_id:
            return None
        passes = fencing.is_current(
            epoch, placement_epoch=row.epoch, job_epoch=row.job.epoch, ended=not row.live
        )
        if not passes:
            self.world.counts["stale_refused"] += 1
            return None
        return row

    # --- placing -----------------------------------------------------------------------------------------

    def place(self, job_id: str, seen_epoch: int, now: datetime) -> None:
        """Give a waiting job its next placement on any free node: which one is the router's business, not ours."""
        job = self.rows[job_id]
        if not fencing.may_place(job.state, seen_epoch=seen_epoch, epoch=job.epoch):
            return
        if job.next_attempt_at > now:
            return
        taken = {p.node_id for other in self.rows.values() if (p := other.placement)}
        free = [n.id for n in self.nodes.values() if n.state == "online" and n.id not in taken]
        if not free:
            job.attempts += 1
            job.next_attempt_at = now + timedelta(seconds=min(0.5 * 2.0**job.attempts, 4.0))
            return
        node_id = free[int(self.world.chance() * len(free))]
        placement_id = f"{job.id}.{job.epoch + 1}"
        placement = PlacementRow(
            placement_id, job, job.epoch + 1, node_id, now, LeaseId(placement_id, job.epoch + 1)
        )
        if not self.money.open_meter(job, placement):
            self.referee.jobs[job.id].money_gone = True
            self.request_stop(job, "wallet_empty", now)
            return
        job.epoch += 1
        job.attempts = 0
        job.placement = self.placements[placement_id] = placement
        job.placements.append(placement)
        job.state = JobState.STARTING
        self.referee.placed(job.id, placement_id, job.epoch)
        self.world.note("%s goes to %s", placement_id, node_id)
        self._node_changed(node_id)

    def fail_unclaimed(self, now: datetime) -> None:
        """Take placements away from nodes that do not claim them."""
        for job in self.rows.values():
            placement = job.placement
            if placement is None or placement.claimed or placement.created_at >= now - UNCLAIMED_AFTER:
                continue
            self.world.counts["unclaimed"] += 1
            self._end(placement, decisions.after_start_failed(self.facts(job), "not_claimed", None), now, now)

    def end_overdue_stops(self, now: datetime) -> None:
        """End placements whose node does not confirm a stop."""
        for job in self.rows.values():
            placement = job.placement
            if (
                placement is None
                or placement.stop_requested_at is None
                or placement.stop_requested_at >= now - STOP_OVERDUE
            ):
                continue
            self.world.counts["stops_overdue"] += 1
            past_grace_s = (now - placement.stop_requested_at).total_seconds() - STOP_GRACE_S
            verdict = decisions.after_stopped(self.facts(job), job.stop_reason)
            self._end(placement, verdict, now, now, over_s=max(0.0, past_grace_s))

    def request_stop(self, job: JobRow, reason: str, now: datetime) -> None:
        """End the job gracefully: at once when nothing of it was claimed."""
        if job.state.is_final or job.stop_reason is not None:
            return
        job.stop_reason = reason
        self.world.note("%s is told to stop: %s", job.id, reason)
        placement = job.placement
        if placement is not None and placement.claimed:
            job.state = JobState.STOPPING
            placement.desired = DesiredRun.STOP
            placement.stop_requested_at = now
            self._node_changed(placement.node_id)
            return
        verdict = decisions.after_stopped(self.facts(job), reason)
        if placement is not None:
            self._end(placement, verdict, now, now)
        else:
            self._apply(job, verdict, now)

    # --- the node's side ---------------------------------------------------------------------------------

    def record_claim(self, node_id: str, lease: LeaseId) -> bool:
        """The node takes the placement. False: stale."""
        placement = self.current(lease.placement_id, lease.epoch, node_id)
        if placement is None:
            return False
        self.referee.accepted("a claim", placement.id, lease.epoch)
        placement.claimed = True
        return True

    def record_report(self, node_id: str, report: Report, now: datetime, over_s: float = 0.0) -> bool:
        """Apply a report once. `over_s`: since a heartbeat first said that its process was over. False: stale."""
        placement = self.placements[report.lease.placement_id]
        job = placement.job
        if placement.node_id != node_id:
            return False
        fate = fencing.judge_report(
            report.lease.epoch,
            report.seq,
            placement_epoch=placement.epoch,
            job_epoch=job.epoch,
            ended=not placement.live,
            last_seq=placement.report_seq,
        )
        if fate is not fencing.ReportFate.APPLY:
            self.world.counts["stale_refused"] += fate is fencing.ReportFate.STALE
            return fate is fencing.ReportFate.REPEATED
        placement.report_seq = report.seq
        self.referee.accepted(f"the report {report.told}", placement.id, report.lease.epoch)
        facts, told = self.facts(job), report.told
        if told is Told.RUNNING:
            self._runs(placement, now)
        elif told is Told.EXITED:
            self._end(placement, decisions.after_exit(facts, 0, None, None, None), now, now, over_s=over_s)
        elif told is Told.STOPPED:
            self._end(placement, decisions.after_stopped(facts, None), now, now, over_s=over_s)
        elif told is Told.START_FAILED:
            self._end(placement, decisions.after_start_failed(facts, "fetch_failed", None), now, now)
        else:
            self._end(placement, decisions.after_lost(facts), now, now, over_s=over_s)
        return True

    def _runs(self, placement: PlacementRow, now: datetime) -> None:
        placement.claimed = True
        if placement.running_at is not None:
            return
        job = placement.job
        placement.running_at = placement.metered_from = now
        job.has_run = True
        job.start_failures = 0
        if job.stop_reason is None:
            job.state = JobState.RUNNING
        self.money.observe(placement.id, Ran(now), now)

    # --- health ------------------------------------------------------------------------------------------

    def write(self, node_id: str, write: health.Write, silent_s: float, ttl_s: float, now: datetime) -> None:
        """What a change of liveness means for the node's placements."""
        for placement in self.live_on(node_id):
            if write is health.Write.LOST:
                self._lost(placement, silent_s, now)
            elif write is health.Write.RESTORED:
                self._restored(placement, freeze_after_s(ttl_s), now)
            else:
                self._interrupted(placement, silent_s, now)

    def _interrupted(self, placement: PlacementRow, silent_s: float, now: datetime) -> None:
        if placement.interrupted_at is not None or not placement.claimed:
            return
        self.world.counts["interruptions"] += 1
        self.referee.placements[placement.id].silences += 1
        until = coverage.covered_until(now, silent_s, placement.metered_from)
        placement.interrupted_at = until
        if placement.metered_from is not None:
            placement.metered_from = None
            self.money.observe(placement.id, Interrupted(until), now)

    def _restored(self, placement: PlacementRow, bridge_s: float, now: datetime) -> None:
        if placement.interrupted_at is None:
            return
        at = coverage.counts_again_at(placement.interrupted_at, now, bridge_s)
        placement.interrupted_at = None
        if placement.running_at is not None:
            placement.metered_from = at
            self.money.observe(placement.id, Restored(at), now)

    def _lost(self, placement: PlacementRow, silent_s: float, now: datetime) -> None:
        last_beat = coverage.last_beat_at(
            now,
            silent_s,
            interrupted_at=placement.interrupted_at,
            since=placement.metered_from or placement.created_at,
        )
        self._end(placement, decisions.after_lost(self.facts(placement.job)), last_beat, now)

    # --- inside ------------------------------------------------------------------------------------------

    @staticmethod
    def facts(job: JobRow) -> decisions.JobFacts:
        """What a verdict depends on."""
        return decisions.JobFacts(
            protection=Protection.CATALYST,
            has_run=job.has_run,
            stop_reason=job.stop_reason,
            start_failures=job.start_failures,
        )

    def _end(
        self,
        placement: PlacementRow,
        verdict: decisions.Verdict,
        at: datetime,
        now: datetime,
        *,
        over_s: float = 0.0,
    ) -> None:
        job = placement.job
        at = coverage.ended_at(
            at,
            over_s,
            metered_from=placement.metered_from,
            running_at=placement.running_at,
            created_at=placement.created_at,
        )
        placement.live = False
        placement.metered_from = None
        job.placement = None
        job.state = verdict.state
        lost = verdict.outcome is Outcome.LOST
        self.referee.ended(placement.id, lost=lost)
        saved_until = placement.checkpoint_at or placement.running_at
        self.money.end(placement.id, at, lost=lost, saved_until=saved_until)
        self.world.counts[f"ended_{verdict.outcome}"] += 1
        self.world.note("%s ended: %s, job %s", placement.id, verdict.outcome, verdict.state)
        self._apply(job, verdict, now)
        self._node_changed(placement.node_id)

    def _apply(self, job: JobRow, verdict: decisions.Verdict, now: datetime) -> None:
        job.start_failures = verdict.start_failures
        job.state = verdict.state
        if verdict.state.is_final:
            self.referee.job_ended(job.id, verdict.state)
            self.world.over = all(row.state.is_final for row in self.rows.values())
        else:
            job.next_attempt_at = now + timedelta(seconds=verdict.retry_after_s or 0.0)
            self.work_changed = True

    def _node_changed(self, node_id: str) -> None:
        self.nodes[node_id].version += 1
        self.changed.append(node_id)
