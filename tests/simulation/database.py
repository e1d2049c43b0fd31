"""The platform's truth in the simulation: rows, and the guards that the real use cases have.

Decisions come from `catalyst.jobs.decisions`, metering from `billing.metering`: the code that runs in production.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from gp4u_protocol.job_spec import Protection
from gp4u_protocol.lease import freeze_after_s
from gp4u_protocol.lease_core import LeaseId
from gp4u_server.billing.metering import Ended, Interrupted, Meter, Ran, Restored, observe
from gp4u_server.catalyst.health.lease_table import Change, NodeState
from gp4u_server.catalyst.jobs import decisions
from gp4u_server.catalyst.jobs.types import JobState

from tests.simulation.engine import Process, World

EPOCH_0 = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class PlacementRow:
    """One placement."""

    id: str
    job: "JobRow"
    epoch: int
    node_id: str
    saved_at_start: float
    saved_seq: float = -1.0
    claimed: bool = False
    live: bool = True
    running: bool = False
    interrupted_at: float | None = None
    offered_at: float = 0.0
    meter: Meter = field(default_factory=lambda: Meter(3_600_000, 80))


@dataclass
class JobRow:
    """One job. `saved` is the work in the last committed checkpoint."""

    id: str
    work_s: float
    state: JobState = JobState.QUEUED
    epoch: int = 0
    saved: float = 0.0
    placement: PlacementRow | None = None
    placements: list[PlacementRow] = field(default_factory=list)
    excluded: set[str] = field(default_factory=set)
    has_run: bool = False
    start_failures: int = 0
    due_at: float = 0.0
    attempts: int = 0


@dataclass
class NodeRow:
    """One node."""

    id: str
    session_no: int = 0
    gateway_id: str | None = None
    state: NodeState | None = None
    version: int = 0


class Database:
    """Atomic transactions with latency; stalls now and then."""

    def __init__(self, world: World, ttl_s: float) -> None:
        self.world = world
        self.ttl_s = ttl_s
        self.stalled_until = 0.0
        self.jobs: dict[str, JobRow] = {}
        self.nodes: dict[str, NodeRow] = {}
        self.placements: dict[str, PlacementRow] = {}
        self.gateways: dict[str, int] = {}  # standing authorities: id → counter of renewals
        self.renewed_at: dict[str, float] = {}
        self.stale_refused = 0
        self.listeners: list[Callable[[str], None]] = []

    def transact(
        self, process: Process, work: Callable[..., Any], then: Callable[[Any], None] | None, *arguments: Any
    ) -> None:
        """Run `work` after a latency, and `then` in the process after another. A caller that died has still
        committed: nobody can take that back."""
        life = process.life
        rng = self.world.random

        def execute() -> None:
            away_until = max(self.stalled_until, process.database_cut_until)
            if self.world.now < away_until:
                self.world.at(away_until, execute)
                return
            result = work(*arguments)
            if then is not None:
                self.world.after(0.001 + 0.005 * rng.random(), process.call, life, then, result)

        self.world.after(0.001 + 0.01 * rng.random(), execute)

    # --- gateways ----------------------------------------------------------------------------------------

    def begin_authority(self, gateway_id: str) -> bool:
        self.gateways[gateway_id] = 0
        self.renewed_at[gateway_id] = self.world.now
        return True

    def renew_authority(self, gateway_id: str) -> bool:
        if gateway_id not in self.gateways:
            return False
        self.gateways[gateway_id] += 1
        self.renewed_at[gateway_id] = self.world.now
        return True

    def take_over(self, gateway_id: str, seen: int) -> list[str]:
        if self.gateways.get(gateway_id) != seen:
            return []
        del self.gateways[gateway_id]
        self.world.note("gateway %s is taken over", gateway_id)
        lost = [node.id for node in self.nodes.values() if node.gateway_id == gateway_id]
        for node_id in lost:
            node = self.nodes[node_id]
            if node.state in (NodeState.ONLINE, NodeState.SUSPECT):
                silent = self.world.now - self.renewed_at[gateway_id]
                self.change(Change(node_id, node.session_no, NodeState.LOST, silent, node.state))
        return lost

    # --- nodes -------------------------------------------------------------------------------------------

    def connect(self, node_id: str, gateway_id: str) -> tuple[int, int, list[PlacementRow], set[LeaseId]]:
        node = self.nodes[node_id]
        before = node.gateway_id
        if before is not None and before != gateway_id:
            unwatched = self.world.now - self.renewed_at[before]
            if unwatched > freeze_after_s(self.ttl_s):
                self._interrupt(node_id, unwatched)
        self._restore(node_id)
        node.session_no += 1
        node.gateway_id = gateway_id
        node.state = NodeState.ONLINE
        live = self.live(node_id)
        return node.session_no, node.version, live, {LeaseId(p.id, p.epoch) for p in live if p.claimed}

    def live(self, node_id: str) -> list[PlacementRow]:
        return [p for job in self.jobs.values() if (p := job.placement) and p.node_id == node_id]

    def change(self, change: Change) -> bool:
        node = self.nodes[change.node_id]
        if node.session_no != change.session_no:
            return False
        if node.state is change.state:
            return True
        node.state = change.state
        self.world.note("%s is %s after %.2f s", node.id, change.state, change.silent_s)
        if change.state is NodeState.SUSPECT:
            self._interrupt(node.id, change.silent_s)
        elif change.state is NodeState.ONLINE:
            self._restore(node.id)
        else:
            for placement in self.live(node.id):
                last_beat = placement.interrupted_at
                if last_beat is None:
                    last_beat = self.world.now - change.silent_s
                self._end(placement, decisions.after_lost(self._facts(placement.job)), last_beat)
        return True

    def held_by(self, gateway_id: str) -> dict[str, tuple[int, int]]:
        return {
            node.id: (node.session_no, node.version)
            for node in self.nodes.values()
            if node.gateway_id == gateway_id
        }

    def _interrupt(self, node_id: str, silent_s: float) -> None:
        for placement in self.live(node_id):
            if placement.interrupted_at is None and placement.claimed:
                placement.interrupted_at = self.world.now - silent_s
                self._meter(placement, Interrupted(_instant(placement.interrupted_at)))

    def _restore(self, node_id: str) -> None:
        for placement in self.live(node_id):
            if placement.interrupted_at is not None:
                gap = self.world.now - placement.interrupted_at
                at = placement.interrupted_at if gap <= freeze_after_s(self.ttl_s) else self.world.now
                placement.interrupted_at = None
                if placement.running:
                    self._meter(placement, Restored(_instant(at)))

    # --- jobs --------------------------------------------------------------------------------------------

    def place(self, job_id: str) -> bool:
        job = self.jobs[job_id]
        if job.placement is not None or job.state.is_final or job.due_at > self.world.now:
            return False
        taken = {p.node_id for other in self.jobs.values() if (p := other.placement)}
        free = [
            node.id
            for node in self.nodes.values()
            if node.state is NodeState.ONLINE and node.id not in taken and node.id not in job.excluded
        ]
        if not free:
            job.attempts += 1
            job.due_at = self.world.now + min(2.0 ** min(job.attempts, 3), 4.0)
            if job.attempts > 2:
                job.excluded.clear()
            return False
        node_id = self.world.random.choice(sorted(free))
        job.epoch += 1
        job.attempts = 0
        placement = PlacementRow(
            f"{job.id}.{job.epoch}", job, job.epoch, node_id, job.saved, offered_at=self.world.now
        )
        floors = [i.ended_at for p in job.placements for i in p.meter.intervals if i.ended_at]
        if floors:
            placement.meter = Meter(3_600_000, 80, floor=max(floors))
        job.placement = placement
        job.placements.append(placement)
        job.state = JobState.STARTING
        self.placements[placement.id] = placement
        self.world.note("%s goes to %s", placement.id, node_id)
        self._node_changed(node_id)
        return True

    def claim(self, node_id: str, placement_id: str, epoch: int) -> bool:
        placement = self.placements[placement_id]
        if "no_epoch_check" not in self.world.bugs and not self._current(placement, epoch):
            self.stale_refused += 1
            return False
        placement.claimed = True
        return placement.node_id == node_id

    def commit_checkpoint(self, placement_id: str, epoch: int, work: float) -> bool:
        placement = self.placements[placement_id]
        if not self._current(placement, epoch):
            if "no_epoch_check" not in self.world.bugs:
                self.stale_refused += 1
                return False
            self.world.violated(f"stale checkpoint of {placement_id} accepted")
        if work <= placement.saved_seq:
            return True  # late, behind a newer one of the same run: the newest by (epoch, seq) stays
        placement.saved_seq = work
        if work < placement.job.saved:
            self.world.violated(f"{placement_id} saved {work:.2f} after {placement.job.saved:.2f}")
        placement.job.saved = work
        return True

    def report(self, placement_id: str, epoch: int, what: str) -> bool:
        """False: stale."""
        placement = self.placements[placement_id]
        if not self._current(placement, epoch):
            self.stale_refused += 1
            return False
        job, now = placement.job, self.world.now
        if what == "running" and not placement.running:
            placement.running = job.has_run = True
            job.state, job.start_failures = JobState.RUNNING, 0
            self._meter(placement, Ran(_instant(now)))
        elif what == "exited":
            self._end(placement, decisions.after_exit(self._facts(job), 0, None, None, None), now)
        elif what == "killed":
            self._end(placement, decisions.after_lost(self._facts(job)), now)
        return True

    def fail_unclaimed(self, after_s: float) -> int:
        stuck = [
            p
            for job in self.jobs.values()
            if (p := job.placement) and not p.claimed and p.offered_at < self.world.now - after_s
        ]
        for placement in stuck:
            verdict = decisions.after_start_failed(self._facts(placement.job), "not_claimed", None)
            self._end(placement, verdict, self.world.now)
            self._node_changed(placement.node_id)
        return len(stuck)

    def _current(self, placement: PlacementRow, epoch: int) -> bool:
        return placement.live and placement.epoch == epoch == placement.job.epoch

    def _facts(self, job: JobRow) -> decisions.JobFacts:
        return decisions.JobFacts(Protection.CATALYST, job.has_run, None, job.start_failures)

    def _end(self, placement: PlacementRow, verdict: decisions.Verdict, at: float) -> None:
        job = placement.job
        placement.live = False
        job.placement = None
        job.state, job.start_failures = verdict.state, verdict.start_failures
        if verdict.exclude_node:
            job.excluded.add(placement.node_id)
        if verdict.retry_after_s is not None:
            job.due_at = self.world.now + verdict.retry_after_s
        self._meter(placement, Ended(_instant(at)))
        self.world.note("%s ended: %s, job %s", placement.id, verdict.outcome, verdict.state)
        self._node_changed(placement.node_id)

    def _meter(self, placement: PlacementRow, event: Any) -> None:
        placement.meter, _ = observe(placement.meter, event)

    def _node_changed(self, node_id: str) -> None:
        self.nodes[node_id].version += 1
        for listener in self.listeners:
            listener(node_id)

    def check_bills(self) -> None:
        """No instant of a job is billed twice, and no billed interval is negative or open after the end."""
        for job in self.jobs.values():
            last_end = EPOCH_0
            for placement in job.placements:
                for interval in placement.meter.intervals:
                    end = interval.ended_at
                    if end is None:
                        if placement.live:
                            continue
                        self.world.violated(f"{placement.id} is over and still billed")
                    elif interval.started_at < last_end or end < interval.started_at:
                        self.world.violated(f"{placement.id} bills a second twice")
                    else:
                        last_end = end


def _instant(seconds: float) -> datetime:
    return EPOCH_0 + timedelta(seconds=seconds)
