"""Gateways and controllers of the simulation, around the production lease table and authority watch."""

from datetime import timedelta

from gp4u_protocol.lease import LEASE_TTL_S
from gp4u_protocol.lease_core import LeaseId
from gp4u_server.catalyst.health.authority import AuthorityWatch, authority_until
from gp4u_server.catalyst.health.lease_table import Change, LeaseTable

from tests.simulation.database import EPOCH_0, Database, PlacementRow
from tests.simulation.engine import DriftingClock, Process, World
from tests.simulation.node import Node

TICK_S = 0.25


class Gateway(Process):
    """One gateway process."""

    def __init__(self, world: World, name: str, database: Database) -> None:
        super().__init__(world)
        self.name = name
        self.database = database
        self.clock = DriftingClock.random(world)
        database.listeners.append(self._notified)
        self._begin()

    def _begin(self) -> None:
        early = "replace_before_ttl" in self.world.bugs
        self.table = LeaseTable(replace_s=3.0 if early else None)
        self.sessions: dict[str, tuple[Node, str]] = {}
        self.gateway_id = ""
        self._authority()
        self._tick()
        self._poll()

    def restart(self, down_s: float) -> None:
        """kill -9, and the supervisor starts it again."""
        if self.alive:
            self.world.note("%s dies", self.name)
            self.kill()
            self.world.after(down_s, self._up)

    def _up(self) -> None:
        self.revive()
        self.world.note("%s starts", self.name)
        self._begin()

    # --- loops -------------------------------------------------------------------------------------------

    def _authority(self) -> None:
        self.soon(2.0, self._authority)
        began = self.clock.read()
        if not self.gateway_id:
            fresh = f"{self.name}-{self.world.now:.3f}"

            def begun(_: bool) -> None:
                if not self.gateway_id:
                    self.gateway_id = fresh
                    self._holds(began)

            self.database.transact(self, self.database.begin_authority, begun, fresh)
            return
        mine = self.gateway_id

        def renewed(ok: bool) -> None:
            if mine != self.gateway_id:
                return
            if ok:
                self._holds(began)
            else:
                self.world.note("%s was taken over and begins anew", self.name)
                self.table.revoke_all()
                self.sessions.clear()
                self.gateway_id = ""

        self.database.transact(self, self.database.renew_authority, renewed, mine)

    def _holds(self, began: float) -> None:
        until = float("inf") if "no_authority" in self.world.bugs else authority_until(began)
        self.table.authority_renewed(until)

    def _tick(self) -> None:
        self.soon(TICK_S, self._tick)
        for change in self.table.tick(self.clock.read()):
            self._write(change)

    def _write(self, change: Change) -> None:
        if self.table.session_no(change.node_id) not in (change.session_no, None):
            return

        def written(ok: bool) -> None:
            if not ok:
                self.table.forget(change.node_id, change.session_no)
                self.sessions.pop(change.node_id, None)
            else:
                self._refresh(change.node_id)

        self.database.transact(self, self.database.change, written, change)

    def _notified(self, node_id: str) -> None:
        if self.world.random.random() < 0.8:
            self.soon(0.01, self._refresh, node_id)

    def _poll(self) -> None:
        self.soon(2.0, self._poll)
        asked = {node_id: self.table.session_no(node_id) for node_id in self.table.nodes}

        def answered(held: dict[str, tuple[int, int]]) -> None:
            for node_id, number in asked.items():
                if number is None or self.table.session_no(node_id) != number:
                    continue
                if node_id not in held or held[node_id][0] > number:
                    self.table.forget(node_id, number)
                    self.sessions.pop(node_id, None)
                else:
                    self._refresh(node_id)

        if asked:
            self.database.transact(self, self.database.held_by, answered, self.gateway_id)

    def _refresh(self, node_id: str) -> None:
        held = self.sessions.get(node_id)
        if held is None:
            return
        row = self.database.nodes[node_id]

        def answered(result: tuple[int, list[PlacementRow]]) -> None:
            if self.sessions.get(node_id) == held:
                version, live = result
                self.table.keep_only(node_id, {LeaseId(p.id, p.epoch) for p in live})
                node, session = held
                node.link.carry(False, node, node.desired, session, version, live)

        self.database.transact(self, lambda: (row.version, self.database.live(node_id)), answered)

    # --- agents ------------------------------------------------------------------------------------------

    def hello(self, node: Node) -> None:
        if not self.gateway_id or not self.table.has_authority(self.clock.read()):
            return
        mine = self.gateway_id

        def connected(result: tuple[int, int, list[PlacementRow], set[LeaseId]]) -> None:
            number, version, live, leases = result
            held = self.table.session_no(node.node_id)
            if mine != self.gateway_id or (held is not None and held > number):
                return
            session = f"{mine}/{number}"
            self.table.opened(node.node_id, session, number, leases, self.clock.read())
            self.sessions[node.node_id] = (node, session)
            node.link.carry(False, node, node.welcome, self, session, LEASE_TTL_S)
            node.link.carry(False, node, node.desired, session, version, live)

        self.database.transact(self, self.database.connect, connected, node.node_id, mine)

    def beat(self, node: Node, session: str, seq: int, reported: list[LeaseId]) -> None:
        result = self.table.beat(node.node_id, session, reported, self.clock.read())
        if result is None:
            node.link.carry(False, node, node.closed, session)
            return
        renewed, back = result
        node.link.carry(False, node, node.acked, session, seq, renewed)
        if back is not None:
            self._write(back)

    def claim(self, node: Node, session: str, seq: int, placement: PlacementRow) -> None:
        if not self.table.claim_received(node.node_id, session, self.clock.read()):
            return
        lease = LeaseId(placement.id, placement.epoch)

        def decided(ok: bool) -> None:
            if ok and self.table.granted(node.node_id, session, lease, self.clock.read()):
                node.link.carry(False, node, node.granted, session, seq, placement)

        self.database.transact(self, self.database.claim, decided, node.node_id, *lease)


class Controller(Process):
    """One controller process."""

    def __init__(self, world: World, database: Database) -> None:
        super().__init__(world)
        self.database = database
        self.clock = DriftingClock.random(world)
        self._begin()

    def _begin(self) -> None:
        # The planted bug: after a restart nobody waits for the leases that may still run.
        hasty = "no_wait_after_restart" in self.world.bugs
        self.watch = AuthorityWatch(window_s=-2.7) if hasty else AuthorityWatch()
        self._place()
        self._look()

    def restart(self, down_s: float) -> None:
        """kill -9, and the supervisor starts it again."""
        if self.alive:
            self.world.note("controller dies")
            self.kill()
            self.world.after(down_s, self._up)

    def _up(self) -> None:
        self.revive()
        self._begin()

    def _place(self) -> None:
        self.soon(0.3, self._place)
        database = self.database
        for job in database.jobs.values():
            if job.placement is None and not job.state.is_final:
                database.transact(self, database.place, None, job.id)
        database.transact(self, database.fail_unclaimed, None, 8.0)

    def _look(self) -> None:
        self.soon(1.0, self._look)
        began = self.clock.read()

        def read(rows: dict[str, int]) -> None:
            ended = self.clock.read()
            stamps = {key: EPOCH_0 + timedelta(microseconds=count) for key, count in rows.items()}
            for gateway_id in self.watch.observe(stamps, began, ended):
                self.database.transact(self, self.database.take_over, None, gateway_id, rows[gateway_id])

        self.database.transact(self, lambda: dict(self.database.gateways), read)


class Platform:
    """Everything of ours, and the referee."""

    def __init__(self, world: World, nodes: int, jobs: int, gateways: int | None = None) -> None:
        self.world = world
        self.database = Database(world, LEASE_TTL_S)
        self.api = Process(world)
        self.gateways: list[Gateway] = [
            Gateway(world, f"gw{number}", self.database)
            for number in range(gateways or world.random.choice((1, 1, 2)))
        ]
        self.controller = Controller(world, self.database)
        self.running: dict[str, set[str]] = {job_id: set() for job_id in map("job{}".format, range(jobs))}
        self.nodes = [Node(world, f"node{number}", self.database, self) for number in range(nodes)]

    def starts_running(self, job_id: str, placement: PlacementRow) -> None:
        """The referee: nothing else of this job may run now, and this run must be the newest."""
        others = self.running[job_id]
        if others:
            self.world.violated(f"{placement.id} runs beside {', '.join(sorted(others))}")
        others.add(placement.id)
        if placement.epoch != placement.job.epoch:
            self.world.violated(f"{placement.id} runs although epoch {placement.job.epoch} exists")

    def stops_running(self, job_id: str, placement: PlacementRow) -> None:
        """The referee hears that a run stands still."""
        self.running[job_id].discard(placement.id)
