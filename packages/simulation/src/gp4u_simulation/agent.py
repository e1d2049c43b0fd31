"""A node: its agent around production's `LeaseHolder` and `reconcile`, its shims, its machine.

Messages, timers and the order of steps mirror `gp4u_agent.agent`, `placement` and `connection`, which are asyncio over
sockets and processes; every decision in them is production's own.
"""

from typing import TYPE_CHECKING

from gp4u_agent import reconcile as agent_decisions
from gp4u_agent.reconcile import Plan
from gp4u_protocol.lease import HEARTBEAT_INTERVAL_S
from gp4u_protocol.lease_core import SILENT_BEATS, LeaseHolder, LeaseId, link_patience_s
from gp4u_protocol.messages import PlacementSpec

from gp4u_simulation.jobs import Report, Told
from gp4u_simulation.placement import Placement
from gp4u_simulation.world import Clock, Link, Process, World

if TYPE_CHECKING:
    from gp4u_simulation.gateway import Gateway
    from gp4u_simulation.platform import Platform

TICK_S = 0.5
REPORT_RESEND_S = 2.0
HANDSHAKE_TIMEOUT_S = 5.0
ABSENT_SEQ = 1_000_000
EMPTY_PLAN = Plan()


class Node(Process):
    """The agent process; placements keep on disk what outlives it, shims live beside it."""

    def __init__(self, world: World, node_id: str, platform: "Platform") -> None:
        super().__init__(world)
        self.node_id = node_id
        self.platform = platform
        self.clock = Clock(world)
        self.link = Link(
            world, loss=world.random.choice((0.0, 0.0, 0.02, 0.1)), copies=world.random.choice((0.0, 0.02))
        )
        self.placements: dict[LeaseId, Placement] = {}
        self.powered = True
        self.runs_begun = 0
        self.asleep_until = 0.0
        self.dialled = 0
        self._begin()

    def _begin(self) -> None:
        self.holder = LeaseHolder()
        self.session: str | None = None
        self.had_session = False
        self.dials_next: list[Gateway] = []  # the next addresses of its list; then chance says
        self._patience_s = SILENT_BEATS * HEARTBEAT_INTERVAL_S
        self.gateway: Gateway | None = None
        self._desired: list[PlacementSpec] | None = None
        self._claim_seq = 0
        self._unanswered: dict[int, float] = {}
        self._reports_sent_at = float("-inf")
        self._absent_at: dict[LeaseId, float] = {}
        self.soon(0.1 + 0.4 * self.world.chance(), self._dial)
        self.soon(TICK_S, self._tick)

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
        for placement in self.placements.values():
            placement.machine_lost()
        self.world.after(down_s, self._restart, self.life)

    def crash_shim(self) -> None:
        """A shim dies and takes its job along; the agent notices."""
        for placement in self.placements.values():
            if placement.shim is not None and not placement.shim.gone:
                self.world.note("%s: the shim of %s dies", self.node_id, placement.lease.placement_id)
                placement.shim.lose()
                self.soon(0.05, placement.shim_ended)
                return

    def sleep(self, seconds: float) -> None:
        """The machine is paused as a whole: agent, shims and jobs."""
        if not self.powered:
            return
        self.pause(seconds)
        self.asleep_until = self.paused_until
        for placement in self.placements.values():
            if placement.shim is not None:
                placement.shim.sleep()
                self.world.after(seconds, self._wake, placement, placement.shim)

    def _wake(self, placement: Placement, shim: object) -> None:
        if self.world.now < self.asleep_until:
            self.world.at(self.asleep_until, self._wake, placement, shim)
        elif placement.shim is shim and placement.shim is not None and not placement.shim.gone:
            placement.shim.wake()

    def _restart(self, life: int) -> None:
        if life != self.life or self.alive:
            return
        if self.world.now < self.asleep_until and self.powered:
            self.world.at(self.asleep_until, self._restart, life)
            return
        self.asleep_until = 0.0
        self.revive()
        self.powered = True
        self.world.counts["agent_restarts"] += 1
        self.world.note("%s: agent starts", self.node_id)
        self._begin()
        for lease, placement in list(self.placements.items()):
            if placement.adopt():
                self.holder.adopt(*lease)
            else:
                del self.placements[lease]  # it never began; it is claimed anew if still wanted

    # --- the session -------------------------------------------------------------------------------------

    def _dial(self) -> None:
        """One session at a time: the old one was dropped before."""
        self.dialled += 1
        self.session = None
        self._desired = None
        gateways = self.platform.gateways
        gateway = (
            self.dials_next.pop(0) if self.dials_next else gateways[int(self.world.chance() * len(gateways))]
        )
        self.link.carry(True, gateway, gateway.hello, self, self.dialled)
        self.soon(HANDSHAKE_TIMEOUT_S, self._handshake_over, self.dialled)

    def challenged(self, gateway: "Gateway", dialled: int) -> None:
        """Prove the key: a session begins only where both directions work."""
        if dialled == self.dialled and self.session is None:
            self.link.carry(True, gateway, gateway.prove, self, dialled)

    def _handshake_over(self, dialled: int) -> None:
        if dialled == self.dialled and self.session is None:
            self._dial()

    def _drop(self) -> None:
        self.session = None
        self._desired = None
        self.dialled += 1
        self.soon(0.1 + 0.5 * self.world.chance(), self._dial)

    def welcome(
        self, gateway: "Gateway", dialled: int, session: str, ttl_s: float, specs: list[PlacementSpec]
    ) -> None:
        """The gateway serves us, and says at once what it wants: one stream keeps the two in order."""
        if dialled != self.dialled or self.session is not None:
            return
        self.session, self.gateway = session, gateway
        self.had_session = True
        self.holder.begin_session(session, ttl_s)
        self._desired = specs
        self._reports_sent_at = float("-inf")
        self._unanswered.clear()
        for placement in self.placements.values():
            placement.claim_sent_at = None
        self._beat(session, 1)
        self.converge()

    def closed(self, session: str) -> None:
        """The gateway closed this connection."""
        if session == self.session:
            self._drop()

    def _beat(self, session: str, seq: int) -> None:
        if session != self.session:
            return
        now = self.clock.read()
        oldest = min(self._unanswered.values(), default=now)
        if now - oldest > self._patience_s:
            self._drop()
            return
        self._unanswered[seq] = now
        self.holder.heartbeat_sent(seq, now)
        gateway = self.gateway
        assert gateway is not None
        self.link.carry(
            True, gateway, gateway.beat, self, session, seq, self.holder.acked_seq, self._reported()
        )
        self.soon(HEARTBEAT_INTERVAL_S / self.clock.rate, self._beat, session, seq + 1)

    def _reported(self) -> dict[LeaseId, float | None]:
        """Each placement here → for how long its process is over, by our clock; None: it is not."""
        return {
            lease: placement.shim.over_s() if placement.shim is not None and placement.shim.gone else None
            for lease, placement in self.placements.items()
        }

    def acked(self, session: str, seq: int, renewed: list[LeaseId], ttl_s: float) -> None:
        """A heartbeat was answered. What belongs to another session is the holder's to see."""
        if session == self.session:
            self._patience_s = link_patience_s(HEARTBEAT_INTERVAL_S, ttl_s)
            for known in [known for known in self._unanswered if known <= seq]:
                del self._unanswered[known]
        for renewal in self.holder.heartbeat_acked(session, seq, renewed, ttl_s):
            placement = self.placements.get(LeaseId(renewal.placement_id, renewal.epoch))
            if placement is not None and placement.shim is not None:
                placement.shim.renew(renewal.deadline)

    def desired(self, session: str, specs: list[PlacementSpec]) -> None:
        """The wanted state."""
        if session == self.session:
            self._desired = specs
            self.converge()

    def granted(self, session: str, seq: int, lease: LeaseId, ttl_s: float) -> None:
        """A claim was accepted. What is stale is the holder's to see."""
        renewal = self.holder.claim_granted(session, seq, lease.placement_id, lease.epoch, ttl_s)
        placement = self.placements.get(lease)
        if renewal is not None and placement is not None:
            placement.grant(renewal.deadline)
            self.converge()

    def refused(self, session: str, lease: LeaseId) -> None:
        """It must not run."""
        placement = self.placements.get(lease)
        if session == self.session and placement is not None:
            placement.refused = True
            self.converge()

    def report_acked(self, session: str, lease: LeaseId, seq: int, stale: bool) -> None:
        """A report was applied, or came too late."""
        placement = self.placements.get(lease)
        if session != self.session or placement is None:
            return
        placement.acknowledge(seq if not stale else placement.next_seq)
        if stale:
            placement.refused = True
        self.converge()

    def send_report(self, report: Report) -> None:
        """Through the session, if there is one; it is sent again until acknowledged."""
        if self.session is not None and self.gateway is not None and self.alive:
            self.link.carry(True, self.gateway, self.gateway.report, self, self.session, report)

    # --- reconciliation ----------------------------------------------------------------------------------

    def _tick(self) -> None:
        self.soon(TICK_S, self._tick)
        now = self.clock.read()
        if self.session is not None and now - self._reports_sent_at >= REPORT_RESEND_S:
            self._reports_sent_at = now
            for placement in self.placements.values():
                for report in placement.pending:
                    self.send_report(report)
        self.converge()

    def converge(self) -> None:
        """Carry out what production's reconciliation says."""
        if self._desired is None and not self.placements:
            return
        now = self.clock.read()
        actual = {lease: placement.actual() for lease, placement in self.placements.items()}
        plan = agent_decisions.reconcile(self._desired, actual, now)
        if plan == EMPTY_PLAN:
            return
        wanted = {LeaseId(spec.placement_id, spec.epoch): spec for spec in self._desired or []}
        for lease in plan.kill:
            self.holder.release(*lease)
            self.placements[lease].kill()
        for lease in plan.stop:
            self.placements[lease].stop()
        for lease in plan.forget:
            self.holder.release(*lease)
            del self.placements[lease]
        for lease in plan.claim:
            self._claim(wanted[lease], now)
        for lease in plan.start:
            self.placements[lease].start()
        for lease in plan.report_absent:
            if now - self._absent_at.get(lease, float("-inf")) >= REPORT_RESEND_S:
                self._absent_at[lease] = now
                self.send_report(Report(lease, ABSENT_SEQ, Told.STOPPED))

    def _claim(self, spec: PlacementSpec, now: float) -> None:
        lease = LeaseId(spec.placement_id, spec.epoch)
        placement = self.placements.get(lease)
        if placement is None:
            placement = self.placements[lease] = Placement(self, lease, spec.job_id)
        placement.claim_sent_at = now
        self._claim_seq += 1
        self.holder.claim_sent(self._claim_seq, spec.placement_id, spec.epoch, now)
        if self.session is not None and self.gateway is not None:
            self.link.carry(
                True, self.gateway, self.gateway.claim, self, self.session, self._claim_seq, lease
            )
