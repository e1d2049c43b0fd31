"""The agent: what the gateway says on one side, placements on the other, reconciliation between them."""

import asyncio
import contextlib
import fcntl
import logging
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

from gp4u_protocol.lease_core import LeaseHolder, LeaseId
from gp4u_protocol.messages import (
    ActualState,
    AgentLife,
    AgentMessage,
    Claim,
    Desired,
    GatewayMessage,
    Granted,
    Heartbeat,
    HeartbeatAck,
    LogAck,
    LogChunk,
    NodeFacts,
    PlacementSpec,
    Refused,
    Report,
    ReportAck,
    StandbyReport,
    Token,
    Welcome,
)
from gp4u_protocol.transparent import TransparentFacts
from pydantic import ValidationError

from gp4u_agent import inside
from gp4u_agent.addresses import Addresses
from gp4u_agent.connection import Connection
from gp4u_agent.facts.collect import Sensors
from gp4u_agent.http import AgentHttp
from gp4u_agent.identity import Membership, NodeKey, StateDir
from gp4u_agent.job_process import end_leftovers, end_shim, remove_tree
from gp4u_agent.life import Life
from gp4u_agent.node_context import NodeContext
from gp4u_agent.placement import Placement, lease_clock
from gp4u_agent.placement_dir import PlacementDir
from gp4u_agent.reconcile import Phase, reconcile
from gp4u_agent.standby.keeper import StandbyKeeper
from gp4u_agent.telemetry.feed import TelemetryFeed

TICK_S = 0.5
REPORT_RESEND_S = 2.0
LIFELINE_VARIABLE = "GP4U_LIFELINE_FD"

log = logging.getLogger(__name__)


class AlreadyRunning(Exception):
    """Another agent works in this state folder."""


class Agent:
    """One node's agent. `run` returns only by an exception."""

    def __init__(
        self,
        state: StateDir,
        key: NodeKey,
        membership: Membership,
        sensors: Sensors,
        runtime: str | None,
        *,
        containers: bool,
        gateways: Addresses,
        apis: Addresses,
    ) -> None:
        self._state = state
        self._sensors = sensors
        self._key = key
        self._runtime = runtime
        self._containers = containers
        self._membership = membership
        self._gateways = gateways
        self._http = AgentHttp(apis)
        self._holder = LeaseHolder()
        self._connection = Connection(self, key, membership, gateways)
        self._placements: dict[LeaseId, Placement] = {}
        self._standbys = StandbyKeeper(self._http, state.standbys, self._send)
        self._desired: list[PlacementSpec] | None = None
        self._session_id = ""
        self._claim_seq = 0
        self._absent_reported: dict[LeaseId, float] = {}
        self._reports_sent_at = 0.0
        self._runs_kept = self._runs_gone = 0
        self._health = sensors.health(set())
        self._telemetry = TelemetryFeed(
            sensors.sampler(),
            sensors.folder,
            busy=self._busy,
            send=self._connection.send,
            connected=lambda: self._connection.connected,
        )
        self._wake = asyncio.Event()
        self._forgetting: dict[LeaseId, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Work until cancelled. Raises SessionRefused, AlreadyRunning."""
        lock = self._lock()
        self._life = Life(self._state.path / "run.json")
        self._context = NodeContext(
            http=self._http,
            placements_dir=self._state.placements,
            cache_dir=self._state.cache,
            inside_dir=_install_inside(self._state.path / "inside"),
            runtime=self._runtime or "",
            send=self._send,
            deadline=self._holder.deadline,
            changed=self._wake.set,
            standbys=self._standbys,
            sign=self._key.sign,
            transparent=self._sensors.facts().transparent or TransparentFacts(),
        )
        self._watch_lifeline()
        self._adopt_all()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._connection.run())
                tasks.create_task(self._converge())
                tasks.create_task(self._feel())
                tasks.create_task(self._standbys.run())
                tasks.create_task(self._telemetry.run())
        except* Exception as failed:
            raise failed.exceptions[0] from None
        finally:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                self._life.ended()  # whoever started us ends us
            for placement in self._placements.values():
                await placement.close()
            await self._http.close()
            os.close(lock)

    # --- the connection's side ----------------------------------------------------------------------------

    def facts(self) -> NodeFacts:
        """See SessionOwner."""
        return self._sensors.facts()

    def life(self) -> AgentLife:
        """See SessionOwner."""
        return self._life.said(runs_kept=self._runs_kept, runs_gone=self._runs_gone)

    def welcomed(self, welcome: Welcome) -> None:
        """See SessionOwner."""
        log.info("connected, session %s", welcome.session_id)
        self._life.session_began()
        self._session_id = welcome.session_id
        self._holder.begin_session(welcome.session_id, welcome.lease_ttl_s)
        self._http.token = welcome.http_token
        self._learn_addresses(welcome)
        self._telemetry.welcomed(welcome.telemetry_every_s)
        self._desired = None
        self._reports_sent_at = 0.0
        for placement in self._placements.values():
            placement.claim_sent_at = None
        self._wake.set()

    def _learn_addresses(self, welcome: Welcome) -> None:
        news = self._gateways.told(welcome.gateways), self._http.addresses.told(welcome.apis)
        if not any(news):
            return
        self._membership = replace(
            self._membership, gateway_urls=self._gateways.learned, api_urls=self._http.addresses.learned
        )
        try:
            self._state.save_membership(self._membership)
        except OSError as error:  # a full disk takes no job's lease away
            log.warning("the marketplace's addresses could not be kept: %s", error)

    def left(self) -> None:
        """See SessionOwner."""
        log.info("disconnected")
        self._desired = None

    def beat(self, seq: int) -> AgentMessage:
        """See SessionOwner."""
        self._holder.heartbeat_sent(seq, lease_clock())
        self._telemetry.link.sent(seq, time.monotonic())
        for placement in self._placements.values():
            placement.renew_status()
        statuses = [placement.status() for placement in self._placements.values()]
        return Heartbeat(seq=seq, acked_seq=self._holder.acked_seq, health=self._health, placements=statuses)

    def heard(self, message: GatewayMessage) -> None:
        """See SessionOwner."""
        if isinstance(message, HeartbeatAck):
            self._telemetry.link.answered(message.seq, time.monotonic())
            self._connection.acknowledged(message.seq, message.ttl_s)
            renewed = [(key.placement_id, key.epoch) for key in message.renewed]
            for renewal in self._holder.heartbeat_acked(
                self._session_id, message.seq, renewed, message.ttl_s
            ):
                placement = self._placements.get(LeaseId(renewal.placement_id, renewal.epoch))
                if placement is not None:
                    placement.renew(renewal.deadline)
        elif isinstance(message, Desired):
            self._desired = list(message.placements)
            self._standbys.told(message.standbys)
            self._wake.set()
        elif isinstance(message, Granted):
            self._granted(message)
        elif isinstance(message, Refused):
            self._refuse(LeaseId(message.placement_id, message.epoch), message.code)
        elif isinstance(message, ReportAck):
            self._report_acknowledged(message)
        elif isinstance(message, LogAck):
            placement = self._placements.get(LeaseId(message.placement_id, message.epoch))
            if placement is not None:
                placement.log_acknowledged(message)
        elif isinstance(message, Token):
            self._http.token = message.http_token

    def _granted(self, message: Granted) -> None:
        renewal = self._holder.claim_granted(
            self._session_id, message.seq, message.placement_id, message.epoch, message.ttl_s
        )
        placement = self._placements.get(LeaseId(message.placement_id, message.epoch))
        if renewal is not None and placement is not None:
            placement.grant(message.data_key, renewal.deadline)
            self._wake.set()

    def _refuse(self, lease: LeaseId, code: str) -> None:
        placement = self._placements.get(lease)
        if placement is not None:
            log.info("%s epoch %s: refused, %s", *lease, code)
            placement.refused = True
            self._wake.set()

    def _report_acknowledged(self, ack: ReportAck) -> None:
        lease = LeaseId(ack.placement_id, ack.epoch)
        placement = self._placements.get(lease)
        if placement is None:
            return
        placement.journal.acknowledge(ack.seq)
        if ack.stale:
            placement.journal.acknowledge(placement.journal.next_seq)
            self._refuse(lease, "stale")
        self._wake.set()

    def _send(self, message: Report | LogChunk | StandbyReport) -> None:
        self._connection.send(lambda: message)

    # --- reconciliation -----------------------------------------------------------------------------------

    async def _converge(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), TICK_S)
            self._wake.clear()
            self._life.tick()
            self._resend_reports()
            self._carry_out()

    def _carry_out(self) -> None:
        now = lease_clock()
        actual = {lease: placement.actual() for lease, placement in self._placements.items()}
        plan = reconcile(self._desired, actual, now)
        wanted = {LeaseId(spec.placement_id, spec.epoch): spec for spec in self._desired or []}
        for lease in plan.kill:
            self._holder.release(*lease)
            self._placements[lease].kill("superseded")
        for lease, spec in wanted.items():
            if lease in self._placements:
                self._placements[lease].notified(spec.notice)
        for lease in plan.stop:
            self._placements[lease].spec = wanted[lease]
            self._placements[lease].stop()
        for lease in plan.forget:
            self._forget(lease)
        for lease in plan.claim:
            self._claim(wanted[lease], now)
        for lease in plan.start:
            self._placements[lease].start()
        for lease in plan.report_absent:
            self._report_absent(lease, wanted[lease], now)

    def _claim(self, spec: PlacementSpec, now: float) -> None:
        lease = LeaseId(spec.placement_id, spec.epoch)
        if lease in self._forgetting:
            return  # wanted again: its folder is just being removed
        if not (self._runtime if spec.image is None else self._containers):
            self._report_once(
                lease,
                ActualState.START_FAILED,
                now,
                reason="agent_error",
                detail=f"This node can run no jobs{'' if spec.image is None else ' with an image'}.",
            )
            return
        placement = self._placements.get(lease)
        if placement is None:
            placement = self._placements[lease] = Placement(self._context, spec)
        placement.claim_sent_at = now
        self._claim_seq += 1
        claim = Claim(seq=self._claim_seq, placement_id=spec.placement_id, epoch=spec.epoch)

        def send_now() -> AgentMessage:
            self._holder.claim_sent(claim.seq, claim.placement_id, claim.epoch, lease_clock())
            return claim

        self._connection.send(send_now)

    def _report_absent(self, lease: LeaseId, spec: PlacementSpec, now: float) -> None:
        self._report_once(lease, ActualState.STOPPED, now, reason=spec.stop_reason, detail=None)

    def _report_once(
        self, lease: LeaseId, state: ActualState, now: float, *, reason: str | None, detail: str | None
    ) -> None:
        """Say something of a placement that is not here; repeated while the server goes on asking."""
        if now - self._absent_reported.get(lease, float("-inf")) < REPORT_RESEND_S:
            return
        self._absent_reported = {k: at for k, at in self._absent_reported.items() if now - at < 60}
        self._absent_reported[lease] = now
        # Far above any number that an earlier life of this placement may have used here.
        self._send(
            Report(
                seq=1_000_000,
                placement_id=lease.placement_id,
                epoch=lease.epoch,
                state=state,
                reason=reason,
                detail=detail,
            )
        )

    def _resend_reports(self) -> None:
        now = lease_clock()
        if not self._connection.connected or now - self._reports_sent_at < REPORT_RESEND_S:
            return
        self._reports_sent_at = now
        for placement in self._placements.values():
            for report in placement.journal.pending:
                self._send(report)

    def _forget(self, lease: LeaseId) -> None:
        placement = self._placements.pop(lease)
        self._holder.release(*lease)
        task = self._forgetting[lease] = asyncio.create_task(placement.forget())
        task.add_done_callback(lambda _: self._forgotten(lease))

    def _forgotten(self, lease: LeaseId) -> None:
        del self._forgetting[lease]
        self._wake.set()

    # --- the machine's side -------------------------------------------------------------------------------

    def _adopt_all(self) -> None:
        """Take over what an earlier run of this agent left: its shims did not notice that it was gone."""
        for path in sorted(self._state.placements.iterdir()):
            folder = PlacementDir(path)
            document = folder.read(folder.placement) or {}
            try:
                spec = PlacementSpec.model_validate(document.get("spec"))
            except ValidationError:
                spec = None
            if spec is None:
                end_shim(folder)
                end_leftovers(path.name)
                remove_tree(path)
                continue
            placement = Placement(self._context, spec)
            self._placements[placement.lease] = placement
            if not document.get("started"):
                continue  # it never began; it is claimed anew if still wanted, and its reports go on counting
            self._holder.adopt(*placement.lease)
            log.info("%s epoch %s: found again", *placement.lease)
            placement.adopt()
            if placement.phase is Phase.RUNNING:
                self._runs_kept += 1
            else:
                self._runs_gone += 1

    async def _feel(self) -> None:
        """Readings are taken beside the heartbeat: a slow sensor must not delay the lease."""
        while True:
            try:
                self._health = await asyncio.to_thread(self._sensors.health, self._busy())
            except Exception:
                # A driver that fails says nothing of the other GPUs' jobs: their leases must go on.
                log.exception("the sensors failed")
            await asyncio.sleep(1.0)

    def _busy(self) -> set[str]:
        """Devices that jobs hold."""
        return {
            uuid
            for placement in self._placements.values()
            if placement.phase is not Phase.ENDED
            for uuid in placement.spec.device_uuids
        }

    def _watch_lifeline(self) -> None:
        """When whoever started us holds the other end of a pipe and dies, we go too (our shims watch it themselves)."""
        lifeline = os.environ.get(LIFELINE_VARIABLE)
        if lifeline:
            asyncio.get_running_loop().add_reader(int(lifeline), lambda: os._exit(1))

    def _lock(self) -> int:
        fd = os.open(self._state.path / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise AlreadyRunning(f"Another agent works in {self._state.path}.") from None
        os.ftruncate(fd, 0)
        os.write(fd, str(os.getpid()).encode())
        return fd


def _install_inside(target: Path) -> Path:
    """A copy of what jobs find under /gp4u, readable and runnable whatever the installer's modes were."""
    target.mkdir(exist_ok=True, mode=0o755)
    os.chmod(target, 0o755)  # noqa: S103 - every job reads it, whoever it runs as
    for source in (inside.COMMAND, inside.HELPER):
        temporary = target / f".{source.name}"
        shutil.copyfile(source, temporary)
        os.chmod(temporary, 0o755)  # noqa: S103
        os.replace(temporary, target / source.name)
    return target
