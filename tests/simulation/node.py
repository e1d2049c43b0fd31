"""A node: an agent and its shims. The lease numbers come from `gp4u_protocol.lease_core`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gp4u_protocol.lease_core import (
    Effect,
    JobExited,
    Kill,
    LeaseHolder,
    LeaseId,
    Renew,
    ShimEvent,
    ShimState,
    Tick,
    shim_begin,
    shim_step,
)

from tests.simulation.database import Database, PlacementRow
from tests.simulation.engine import DriftingClock, Link, Process, World

if TYPE_CHECKING:
    from tests.simulation.platform import Gateway, Platform

CHECKPOINT_EVERY_S = 2.0
TIMER_LATE_S_MAX = 0.1
"""Of the quarter second that the protocol allows for a shim's timer and the freeze."""


@dataclass
class Run:
    """A shim with its job."""

    placement: PlacementRow
    lease: LeaseId
    state: ShimState
    work: float
    resumed_at: float | None = None
    finished: bool = False
    acknowledged: bool = False
    timer_at: float = float("inf")

    @property
    def over(self) -> bool:
        return self.state.killed or self.state.exited


class Node(Process):
    """The agent process; its shims live in `runs` and outlive it."""

    def __init__(self, world: World, node_id: str, database: Database, platform: "Platform") -> None:
        super().__init__(world)
        self.node_id = node_id
        self.database = database
        self.platform = platform
        self.clock = DriftingClock.random(world)
        self.link = Link(world, loss=world.random.choice((0.0, 0.0, 0.02, 0.1)))
        self.runs: dict[LeaseId, Run] = {}
        self.powered = True
        self._boot()

    def _boot(self) -> None:
        self.lease = LeaseHolder()
        self.session: str | None = None
        self.gateway: Gateway | None = None
        self.version = -1
        self.seq = 0
        self.heard_at = self.clock.read()
        self.starting: set[LeaseId] = set()
        self.soon(self.world.random.random(), self._dial)
        self.soon(self.world.random.random(), self._beat)

    # --- faults ------------------------------------------------------------------------------------------

    def crash_agent(self, down_s: float) -> None:
        """The agent dies; its shims go on. It is started again and adopts them."""
        if self.alive:
            self.world.note("%s: agent dies", self.node_id)
            self.kill()
            self.world.after(down_s, self._restart, self.life)

    def crash(self, down_s: float) -> None:
        """The machine dies with everything on it, and boots again later."""
        self.world.note("%s: machine dies", self.node_id)
        self.kill()
        self.powered = False
        for run in self.runs.values():
            self._stop_counting(run)
        self.runs.clear()
        self.world.after(down_s, self._restart, self.life)

    def _restart(self, life: int) -> None:
        if life != self.life or self.alive:
            return
        self.revive()
        self.powered = True
        self.world.note("%s: agent starts", self.node_id)
        self._boot()
        for lease, run in self.runs.items():
            if not run.over:
                self.lease.adopt(*lease)

    # --- talking -----------------------------------------------------------------------------------------

    def _dial(self) -> None:
        if self.session is None or self.clock.read() - self.heard_at > 6.0:
            # Dropped before the next Hello: a node has one session at a time.
            self.session = None
            gateway = self.world.random.choice(self.platform.gateways)
            self.link.carry(True, gateway, gateway.hello, self)
        self.soon(1.0 + self.world.random.random(), self._dial)

    def welcome(self, gateway: "Gateway", session: str, ttl_s: float) -> None:
        self.session, self.gateway, self.version = session, gateway, -1
        self.heard_at = self.clock.read()
        self.lease.begin_session(session, ttl_s)

    def closed(self, session: str) -> None:
        """The gateway closed this connection: dial again at once."""
        if session == self.session:
            self.session = None
            gateway = self.world.random.choice(self.platform.gateways)
            self.link.carry(True, gateway, gateway.hello, self)

    def _beat(self) -> None:
        self.soon(1.0 / self.clock.rate, self._beat)
        if self.session is None or self.gateway is None:
            return
        self.seq += 1
        self.lease.heartbeat_sent(self.seq, self.clock.read())
        reported = [lease for lease, run in self.runs.items() if not run.over]
        gateway = self.gateway
        self.link.carry(True, gateway, gateway.beat, self, self.session, self.seq, reported)
        for run in list(self.runs.values()):
            self._report_end(run)

    def acked(self, session: str, seq: int, renewed: list[LeaseId]) -> None:
        if session != self.session:
            return
        self.heard_at = self.clock.read()
        if "deadline_from_receipt" in self.world.bugs:
            self.lease.heartbeat_sent(seq, self.clock.read())
        for renewal in self.lease.heartbeat_acked(session, seq, renewed):
            run = self.runs.get(LeaseId(renewal.placement_id, renewal.epoch))
            if run is not None:
                self._shim(run, Renew(renewal.deadline))

    def desired(self, session: str, version: int, placements: list[PlacementRow]) -> None:
        if session != self.session or version < self.version:
            return
        self.version = version
        self.heard_at = self.clock.read()
        wanted = {LeaseId(p.id, p.epoch): p for p in placements}
        for lease, run in list(self.runs.items()):
            if lease not in wanted:
                self.lease.release(*lease)
                self._shim(run, Kill())
                del self.runs[lease]
        for lease, placement in wanted.items():
            if lease in self.runs or lease in self.starting:
                continue
            if "pushed_start" in self.world.bugs:
                self.lease.adopt(*lease)
                self._start(lease, placement, self.clock.read() + 4.75)
                continue
            self.seq += 1
            self.lease.claim_sent(self.seq, placement.id, placement.epoch, self.clock.read())
            gateway = self.gateway
            assert gateway is not None
            self.link.carry(True, gateway, gateway.claim, self, session, self.seq, placement)

    def granted(self, session: str, seq: int, placement: PlacementRow) -> None:
        lease = LeaseId(placement.id, placement.epoch)
        if "deadline_from_receipt" in self.world.bugs:
            self.lease.claim_sent(seq, placement.id, placement.epoch, self.clock.read())
        renewal = self.lease.claim_granted(session, seq, placement.id, placement.epoch)
        if renewal is None or lease in self.starting or lease in self.runs:
            return
        self.starting.add(lease)
        self.soon(0.05 + 0.5 * self.world.random.random(), self._fetched, lease, placement)

    def _fetched(self, lease: LeaseId, placement: PlacementRow) -> None:
        self.starting.discard(lease)
        deadline = self.lease.deadline(*lease)
        if deadline is not None and deadline > self.clock.read() and lease not in self.runs:
            self._start(lease, placement, deadline)

    # --- shims -------------------------------------------------------------------------------------------

    def _start(self, lease: LeaseId, placement: PlacementRow, deadline: float) -> None:
        state, effects = shim_begin(deadline, self.clock.read())
        run = Run(placement, lease, state, placement.saved_at_start)
        self.runs[lease] = run
        if Effect.FREEZE not in effects:
            self._count(run)
        self._arm(run)
        self._tell_running(run)
        self.soon(CHECKPOINT_EVERY_S, self._checkpoint, run)

    def _tell_running(self, run: Run) -> None:
        if not run.over and not run.placement.running:
            self._http(self.database.report, None, run.placement.id, run.placement.epoch, "running")
            self.soon(1.0, self._tell_running, run)

    def _shim(self, run: Run, event: ShimEvent) -> None:
        run.state, effects = shim_step(run.state, event, self.clock.read())
        for effect in effects:
            if effect is Effect.THAW:
                self._count(run)
            else:
                self._stop_counting(run)
                self.world.note("%s: %s %s", self.node_id, effect, run.placement.id)
        self._arm(run)

    def _arm(self, run: Run) -> None:
        """The shim's own timer; it needs no agent. A planted bug lets it depend on the agent."""
        wake_at = run.state.wake_at
        if wake_at is None or run.state.frozen_since is not None:
            return
        true = self.clock.true_time(wake_at) + TIMER_LATE_S_MAX * self.world.random.random()
        if true < run.timer_at or run.timer_at <= self.world.now:
            run.timer_at = true
            self.world.at(true, self._timer, run, true)

    def _timer(self, run: Run, armed: float) -> None:
        if run.timer_at != armed or self.runs.get(run.lease) is not run or not self.powered:
            return
        if "freeze_in_agent" in self.world.bugs and (not self.alive or self.world.now < self.paused_until):
            return
        run.timer_at = float("inf")
        self._shim(run, Tick())

    def _count(self, run: Run) -> None:
        """The job runs from now on: the invariants are checked at this very instant."""
        if run.finished:
            return
        job = run.placement.job
        run.resumed_at = self.world.now
        self.world.note("%s: runs %s", self.node_id, run.placement.id)
        self.platform.starts_running(job.id, run.placement)
        remaining = max(0.0, job.work_s - run.work)
        self.world.after(remaining, self._finish, run, run.resumed_at)

    def _stop_counting(self, run: Run) -> None:
        if run.resumed_at is not None:
            run.work += self.world.now - run.resumed_at
            run.resumed_at = None
            self.platform.stops_running(run.placement.job.id, run.placement)

    def _finish(self, run: Run, resumed_at: float) -> None:
        if run.resumed_at != resumed_at:
            return
        self._stop_counting(run)
        run.finished = True
        run.state, _ = shim_step(run.state, JobExited(), self.clock.read())
        self.world.note("%s: %s has finished", self.node_id, run.placement.id)

    def _report_end(self, run: Run) -> None:
        if run.finished and not run.acknowledged:

            def answered(_: bool) -> None:
                run.acknowledged = True

            self._http(self.database.report, answered, run.placement.id, run.placement.epoch, "exited")

    def _checkpoint(self, run: Run) -> None:
        if run.over or self.runs.get(run.lease) is not run:
            return
        self.soon(CHECKPOINT_EVERY_S, self._checkpoint, run)
        if run.resumed_at is not None:
            work = run.work + self.world.now - run.resumed_at
            self._http(self.database.commit_checkpoint, None, run.placement.id, run.placement.epoch, work)

    def _http(self, work: object, then: object, *arguments: object) -> None:
        """A request over the node's link to the api: it may arrive very late, or twice."""
        api = self.platform.api
        copies = 2 if self.world.random.random() < 0.05 else 1
        for _ in range(copies):
            self.link.carry(True, api, self._arrived, work, then, arguments, self.life)

    def _arrived(self, work: object, then: object, arguments: tuple[object, ...], life: int) -> None:
        def answer(result: object) -> None:
            if then is not None and life == self.life:
                self.link.carry(False, self, then, result)  # type: ignore[arg-type]

        self.database.transact(self.platform.api, work, answer, *arguments)  # type: ignore[arg-type]
