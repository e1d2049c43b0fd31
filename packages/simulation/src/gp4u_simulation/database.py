"""The platform's truth: atomic transactions with latency, sometimes away, sometimes with a lost answer.

The guards that production writes as SQL conditions stand here by hand: a node's session number, the gateway row's last
value, one live placement a job. Everything that production decides in Python is called, not copied.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from gp4u_protocol.lease import LEASE_TTL_S
from gp4u_protocol.lease_core import LeaseId
from gp4u_server.catalyst.health import decisions as health
from gp4u_server.catalyst.health.lease_table import Change, NodeState, TtlNote

from gp4u_simulation.checkpoints import Checkpoints
from gp4u_simulation.jobs import Jobs
from gp4u_simulation.money import Money
from gp4u_simulation.referee import Referee
from gp4u_simulation.rows import CheckpointRow, GatewayRow, NodeRow, PlacementRow
from gp4u_simulation.world import Process, World

EPOCH_0 = datetime(2026, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
TRANSACTION_S_MAX = 10.0
"""Connections to the database give up after this long (`kit.db`)."""
CONNECT_S_MAX = 4.0
"""A handshake's transaction must give up after this long: before its agent gives up waiting (5 s) and begins a session
elsewhere, which a late one would supersede while the other gateway still renews. See docs/design/leases.md."""


class Connected(NamedTuple):
    """A node's new session."""

    session_no: int
    version: int
    live: list[PlacementRow]
    claimed: set[LeaseId]
    ttl_s: float


Seen = tuple[int, int] | None


class Database:
    """Rows, use cases, and the way to them."""

    def __init__(self, world: World, referee: Referee) -> None:
        self.world = world
        self.referee = referee
        self.nodes: dict[str, NodeRow] = {}
        self.gateways: dict[str, GatewayRow] = {}
        self.money = Money(referee)
        self.jobs = Jobs(world, referee, self.money, self.nodes)
        self.checkpoints = Checkpoints(referee)
        self.stalled_until = 0.0
        self.flaky_until = 0.0
        self.rows_held_until: dict[str, float] = {}  # node → somebody else has its row locked
        self.wall_offset_s = 0.0
        self.node_listeners: list[Callable[[str], None]] = []
        self.work_listeners: list[Callable[[], None]] = []
        self._began = 0  # transactions, numbered in the order of their beginning; they end in any order
        self._in_progress: set[int] = set()

    # --- transactions ------------------------------------------------------------------------------------

    def now(self) -> datetime:
        """The database's wall clock. It may be stepped; nothing may depend on it."""
        return EPOCH_0 + timedelta(seconds=self.world.now + self.wall_offset_s)

    def transact(
        self,
        process: Process,
        work: Callable[..., Any],
        then: Callable[[Any], None] | None,
        failed: Callable[[], None] | None,
        *arguments: Any,
    ) -> None:
        """Run `work` after a latency, and `then` in the process after another. A caller that died has still
        committed. `failed`: the connection broke, and whether it committed is unknown."""
        world = self.world
        until = world.now + (CONNECT_S_MAX if work == self.connect else TRANSACTION_S_MAX)
        delay = 0.001 + 0.01 * world.chance()
        self._began += 1
        self._in_progress.add(self._began)
        world.after(
            delay, self._execute, self._began, until, process, process.life, work, then, failed, arguments
        )

    def _execute(
        self,
        number: int,
        until: float,
        process: Process,
        life: int,
        work: Callable[..., Any],
        then: Callable[[Any], None] | None,
        failed: Callable[[], None] | None,
        arguments: tuple[Any, ...],
    ) -> None:
        world = self.world
        away_until = max(self.stalled_until, process.database_cut_until)
        if world.now < away_until:
            if away_until < until:
                world.at(
                    away_until, self._execute, number, until, process, life, work, then, failed, arguments
                )
            else:
                self._in_progress.discard(number)
                world.counts["transactions_timed_out"] += 1
                world.at(until, self._give_up, process, life, failed)
            return
        self._in_progress.discard(number)
        if work == self.record_change and world.now < self.rows_held_until.get(arguments[0].node_id, 0.0):
            self._give_up(process, life, failed)  # lock_timeout
            return
        broken = world.now < self.flaky_until and world.chance() < 0.5
        if broken and world.chance() < 0.5:
            world.counts["transactions_aborted"] += 1
        else:
            before = [node.watched for node in self.nodes.values()]
            result = work(*arguments)
            for node, was in zip(self.nodes.values(), before, strict=True):
                if node.watched != was:
                    node.changed_in = number
            self._notify()
            if not broken:
                if then is not None and life == process.life:
                    process.soon(0.001 + 0.005 * world.chance(), then, result)
                return
            world.counts["answers_lost"] += 1
        self._give_up(process, life, failed)

    @staticmethod
    def _give_up(process: Process, life: int, failed: Callable[[], None] | None) -> None:
        if failed is not None and life == process.life:
            process.soon(0.005, failed)

    def _notify(self) -> None:
        jobs = self.jobs
        if jobs.changed:
            for node_id in jobs.changed:
                for told in self.node_listeners:
                    told(node_id)
            jobs.changed.clear()
        if jobs.work_changed:
            jobs.work_changed = False
            for woken in self.work_listeners:
                woken()

    # --- gateways ----------------------------------------------------------------------------------------

    def begin_authority(self, gateway_id: str) -> None:
        """A gateway starts."""
        self.gateways[gateway_id] = GatewayRow(self.now())

    def renew_authority(self, gateway_id: str) -> bool:
        """The gateway lives. False: it was taken over."""
        row = self.gateways[gateway_id]
        if row.ended:
            return False
        row.renewed_at = max(self.now(), row.renewed_at + MICROSECOND)
        return True

    def standing(self) -> tuple[dict[str, datetime], dict[str, float]]:
        """Gateways that have not ended → when each last renewed, and the longest TTL of their nodes."""
        ttls_s: dict[str, float] = {}
        for node in self.nodes.values():
            if node.gateway_id is not None:
                ttls_s[node.gateway_id] = max(node.lease_ttl_s, ttls_s.get(node.gateway_id, 0.0))
        return {key: row.renewed_at for key, row in self.gateways.items() if not row.ended}, ttls_s

    def take_over(self, gateway_id: str, seen: datetime) -> list[Change]:
        """End a gateway whose row still says what was seen; the losses are written one by one."""
        row = self.gateways[gateway_id]
        if row.ended or row.renewed_at != seen:
            return []
        row.ended = True
        self.world.counts["takeovers"] += 1
        self.world.note("gateway %s is taken over", gateway_id)
        return self.losses_of(gateway_id)

    def losses_of(self, gateway_id: str) -> list[Change]:
        """Losses that remain to be written for an ended gateway."""
        silent_s = max(0.0, (self.now() - self.gateways[gateway_id].renewed_at).total_seconds())
        return [
            Change(node.id, node.session_no, NodeState.LOST, silent_s, node.state)
            for node in self.nodes.values()
            if node.gateway_id == gateway_id and node.state in (NodeState.ONLINE, NodeState.SUSPECT)
        ]

    def ended_gateways(self) -> list[str]:
        """Gateways that ended, and may still have nodes to their name."""
        return [key for key, row in self.gateways.items() if row.ended]

    # --- nodes -------------------------------------------------------------------------------------------

    def connect(self, node_id: str, gateway_id: str, silent_s: float | None) -> Connected:
        """The node proved its key to this gateway."""
        node = self.nodes[node_id]
        unwatched_s = silent_s
        if node.gateway_id is not None and node.gateway_id != gateway_id:
            before = self.gateways[node.gateway_id].renewed_at
            unwatched_s = (self.now() - before).total_seconds()
            for placement in self.jobs.live_on(node_id):
                self.referee.handed_over(placement.id)
        for write in health.writes_of_connecting(unwatched_s, node.lease_ttl_s):
            self.jobs.write(node_id, write, unwatched_s or 0.0, node.lease_ttl_s, self.now())
        node.session_no += 1
        node.gateway_id = gateway_id
        if node.state is not NodeState.ONLINE:
            self.jobs.work_changed = True
        node.state = NodeState.ONLINE
        live = self.jobs.live_on(node_id)
        return Connected(
            node.session_no, node.version, live, {p.lease for p in live if p.claimed}, node.lease_ttl_s
        )

    def note_ttl(self, note: TtlNote) -> bool:
        """A node's leases are about to last so long, or can last no longer. False: a newer session has the node."""
        node = self.nodes[note.node_id]
        if node.session_no != note.session_no:
            return False
        self.world.counts["ttls_longer" if note.ttl_s > node.lease_ttl_s else "ttls_shorter"] += 1
        node.lease_ttl_s = note.ttl_s
        return True

    def record_change(self, change: Change) -> bool:
        """Write one change of a lease table. False: a newer session has the node."""
        node = self.nodes[change.node_id]
        if node.session_no != change.session_no:
            self.world.counts["changes_refused"] += 1
            return False
        if node.state is not change.state:
            self.world.counts[f"node_{change.state}"] += 1
            self.world.note("%s is %s after %.2f s", node.id, change.state, change.silent_s)
        node.state = change.state
        for write in health.writes_of(change):
            self.jobs.write(change.node_id, write, change.silent_s, change.ttl_s or LEASE_TTL_S, self.now())
        if change.state is NodeState.ONLINE:
            self.jobs.work_changed = True
        return True

    @property
    def horizon(self) -> int:
        """Every transaction with a smaller number has ended."""
        return min(self._in_progress, default=self._began + 1)

    def look(self, gateway_id: str, since: int, asked: list[str]) -> tuple[int, dict[str, Seen]]:
        """What changed since an earlier horizon, the nodes `asked` for, and the next horizon. Of a node: (session number,
        desired version), None where its newest session is another gateway's."""
        return self.horizon, {
            node.id: (node.session_no, node.version) if node.gateway_id == gateway_id else None
            for node in self.nodes.values()
            if node.changed_in >= since or node.id in asked
        }

    def wanted(self, node_id: str) -> tuple[int, list[PlacementRow]]:
        """The body of `Desired`."""
        return self.nodes[node_id].version, self.jobs.live_on(node_id)

    # --- checkpoints -------------------------------------------------------------------------------------

    def open_upload(self, node_id: str, lease: LeaseId, pack_id: str) -> str | None:
        """Open an upload and announce its pack. None: stale."""
        placement = self.jobs.current(lease.placement_id, lease.epoch, node_id)
        if placement is None:
            return None
        self.referee.accepted("an upload", placement.id, lease.epoch)
        return self.checkpoints.open(placement, pack_id, self.now()).id

    def commit(
        self, node_id: str, lease: LeaseId, upload_id: str, work: float, named: dict[str, int]
    ) -> CheckpointRow | bool | None:
        """The row; False: refused, a whole snapshot may be tried again; None: stale."""
        placement = self.jobs.current(lease.placement_id, lease.epoch, node_id)
        if placement is None:
            return None
        return self.checkpoints.commit(placement, upload_id, work, named, self.now()) or False

    def restore_point(self, node_id: str, lease: LeaseId) -> tuple[bool, CheckpointRow | None]:
        """(still current?, what to start from)."""
        placement = self.jobs.current(lease.placement_id, lease.epoch, node_id)
        if placement is None:
            return False, None
        return True, self.checkpoints.restore_point(placement.job)

    # --- the controllers' steps ---------------------------------------------------------------------------

    def due_jobs(self) -> list[tuple[str, int]]:
        """Jobs that wait for a placement and whose time has come, with the epoch that was seen."""
        now = self.now()
        return [
            (job.id, job.epoch)
            for job in self.jobs.rows.values()
            if job.placement is None and not job.state.is_final and job.next_attempt_at <= now
        ]

    def place(self, job_id: str, seen_epoch: int) -> None:
        """See Jobs.place."""
        self.jobs.place(job_id, seen_epoch, self.now())

    def enforce_limits(self) -> None:
        """Offers that nobody claims, stops that nobody confirms."""
        self.jobs.fail_unclaimed(self.now())
        self.jobs.end_overdue_stops(self.now())

    def request_stop(self, job_id: str) -> None:
        """The renter wants the job to end."""
        self.referee.jobs[job_id].stop_asked = True
        self.jobs.request_stop(self.jobs.rows[job_id], "by_renter", self.now())

    def meter(self) -> None:
        """Post every meter that is due."""
        now = self.now()
        for booking_id in self.money.due(now):
            row = self.money.meters[booking_id]
            gateway_id = self.nodes[row.node_id].gateway_id
            vouched = self.gateways[gateway_id].renewed_at if gateway_id else None
            if self.money.post_due(booking_id, now, vouched):
                self.referee.jobs[row.job.id].money_gone = True
                self.world.counts["wallets_empty"] += 1
                self.jobs.request_stop(row.job, "wallet_empty", now)

    def collect(self, process: Process) -> None:
        """Mark and take, then delete outside the transaction."""
        for job in self.jobs.rows.values():
            for pack_id in self.checkpoints.collect(job, self.now()):
                process.soon(0.01 + 0.3 * self.world.chance(), self.referee.object_gone, pack_id)
