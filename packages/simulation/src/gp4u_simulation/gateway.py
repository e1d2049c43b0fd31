"""A gateway process: production's `LeaseTable`, authority and gateway decisions; the loops of `gateway.hub` around them."""

from collections import deque
from typing import TYPE_CHECKING

from gp4u_protocol.lease import LEASE_TTL_MAX_S, LEASE_TTL_S
from gp4u_protocol.lease_core import LeaseId
from gp4u_server.catalyst.health import authority
from gp4u_server.catalyst.health.lease_table import Change, LeaseTable, NodeState, TtlNote
from gp4u_server.catalyst.health.link_quality import Ttl
from gp4u_server.gateway import decisions
from gp4u_server.gateway.decisions import PollVerdict
from gp4u_server.gateway.poll_cursor import PollCursor

from gp4u_simulation.database import Connected, Database, Seen
from gp4u_simulation.jobs import Report
from gp4u_simulation.rows import PlacementRow
from gp4u_simulation.world import Clock, Process, World

if TYPE_CHECKING:
    from gp4u_simulation.agent import Node

TICK_S = 0.25
NOTE_S = 1.0
SHRINK_EVERY_S = 2.0
"""Production lets a TTL shrink a second every thirty; a seed is over by then."""
POLL_S = 2.0
WRITE_RETRY_S = 0.25
AUTHORITY_RETRY_S = 0.25
NOTIFICATIONS_LOST = 0.2
WILD = 0.3


class Session:
    """One agent's connection."""

    def __init__(self, node: "Node", session_id: str, number: int, version: int) -> None:
        self.node = node
        self.id = session_id
        self.number = number
        self.version = version
        self.wanted: dict[LeaseId, PlacementRow] = {}
        self.desired_sent_at = 0.0


class Gateway(Process):
    """See module."""

    def __init__(self, world: World, name: str, database: Database, *, wild_ttls: bool = False) -> None:
        super().__init__(world)
        self.name = name
        self.database = database
        self.wild_ttls = wild_ttls  # chance asks for TTLs, not the link: whatever is asked for must be safe
        self.clock = Clock(world)
        self._lives = 0
        database.node_listeners.append(self._notified)
        self._begin()

    def _begin(self) -> None:
        self.table = LeaseTable(shrink_every_s=SHRINK_EVERY_S)
        self.sessions: dict[str, Session] = {}
        self.gateway_id = ""
        self.over_since: dict[tuple[str, LeaseId], float] = {}
        self.ran_at: dict[tuple[str, LeaseId], float] = {}
        self.losses = decisions.UnwrittenLosses()
        self.cursor = PollCursor()
        self._writing: dict[str, deque[tuple[Change, float]]] = {}
        self._authority()
        self._tick()
        self.soon(POLL_S, self._poll)
        self.soon(NOTE_S, self._note_ttls)

    def restart(self, down_s: float) -> None:
        """kill -9, and the supervisor starts it again."""
        if not self.alive:
            return
        self.world.note("%s dies", self.name)
        for session in self.sessions.values():
            # The kernel closes its sockets.
            session.node.link.carry(False, session.node, session.node.closed, session.id)
        self.kill()
        self.world.after(down_s, self._up)

    def _up(self) -> None:
        self.revive()
        self.world.counts["gateway_restarts"] += 1
        self.world.note("%s starts", self.name)
        self._begin()

    # --- authority ---------------------------------------------------------------------------------------

    def _authority(self) -> None:
        began = self.clock.read()
        mine = self.gateway_id
        answered = [False]

        def again() -> None:
            if not answered[0]:
                answered[0] = True
                self.soon(AUTHORITY_RETRY_S, self._authority)

        def begun(_: None) -> None:
            if not answered[0]:
                answered[0] = True
                self.gateway_id = fresh
                self.cursor = PollCursor()
                self.cursor.begin(horizon)
                self._holds(began)

        def renewed(ok: bool) -> None:
            if answered[0]:
                return
            answered[0] = True
            if ok:
                self._holds(began)
                return
            self.world.note("%s was taken over and begins anew", self.name)
            self.table.revoke_all()
            for session in self.sessions.values():
                session.node.link.carry(False, session.node, session.node.closed, session.id)
            self.sessions.clear()
            self.gateway_id = ""
            self._authority()

        self.soon(authority.AUTHORITY_RENEW_S * 2, again)
        if mine:
            self.database.transact(self, self.database.renew_authority, renewed, again, mine)
            return
        self._lives += 1
        fresh = f"{self.name}.{self._lives}"
        horizon = self.database.horizon
        self.database.transact(self, self.database.begin_authority, begun, again, fresh)

    def _holds(self, began: float) -> None:
        lapsed = self.table.lapse(self.clock.read())
        self.table.authority_renewed(authority.authority_until(began))
        for change in lapsed:
            self.world.counts["authority_lapses"] += 1
            self._write(change)
        self.soon(authority.AUTHORITY_RENEW_S, self._authority)

    # --- time --------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        self.soon(TICK_S, self._tick)
        was_held = self.table.holds_back
        for change in self.table.tick(self.clock.read()):
            self._write(change)
        self.world.counts["mass_holds"] += self.table.holds_back and not was_held

    def _note_ttls(self) -> None:
        """One round of notes after another, as production's loop does."""
        self._write_notes(self.table.notes_due(self.clock.read()))

    def _write_notes(self, notes: list[TtlNote]) -> None:
        if not notes:
            self.soon(NOTE_S, self._note_ttls)
            return
        note = notes.pop()

        def written(ok: bool) -> None:
            if ok:
                self.table.noted(note)
            self._write_notes(notes)

        def failed() -> None:
            self._write_notes(notes)

        self.database.transact(self, self.database.note_ttl, written, failed, note)

    def _write(self, change: Change) -> None:
        """Changes of one node are written in order."""
        self.losses.declared(change)
        queue = self._writing.setdefault(change.node_id, deque())
        queue.append((change, self.clock.read()))
        if len(queue) == 1:
            self._write_next(change.node_id)

    def _write_next(self, node_id: str) -> None:
        queue = self._writing[node_id]
        change, since = queue[0]

        def done() -> None:
            self.losses.settled(change)
            queue.popleft()
            if queue:
                self._write_next(node_id)

        def written(ok: bool) -> None:
            if not ok:
                self._superseded(node_id, change.session_no)
            else:
                session = self.sessions.get(node_id)
                if change.state is NodeState.LOST and session is None:
                    self.table.forget(node_id, change.session_no)
                if session is not None and change.state is not NodeState.SUSPECT:
                    self._refresh(node_id)
            done()

        def failed() -> None:
            self.soon(WRITE_RETRY_S, self._write_next, node_id)

        if not decisions.still_true(change, self.table.session_no(node_id)):
            done()
            return
        late = decisions.aged(change, self.clock.read() - since)
        self.database.transact(self, self.database.record_change, written, failed, late)

    def _superseded(self, node_id: str, session_no: int) -> None:
        if self.table.session_no(node_id) != session_no:
            return
        self.table.forget(node_id, session_no)
        session = self.sessions.pop(node_id, None)
        if session is not None:
            session.node.link.carry(False, session.node, session.node.closed, session.id)

    # --- the wanted state --------------------------------------------------------------------------------

    def _notified(self, node_id: str) -> None:
        if node_id in self.sessions and self.world.chance() >= NOTIFICATIONS_LOST:
            self.soon(0.01, self._refresh, node_id)

    def _poll(self) -> None:
        self.soon(POLL_S, self._poll)
        asked = {node_id: self.table.session_no(node_id) for node_id in self.table.nodes}
        mine, cursor = self.gateway_id, self.cursor
        if not mine:
            return

        def answered(found: tuple[int, dict[str, Seen]]) -> None:
            if mine != self.gateway_id:
                return
            horizon, seen = found
            cursor.changes_read(horizon)
            for node_id, row in seen.items():
                number, session = asked.get(node_id), self.sessions.get(node_id)
                verdict = decisions.judge_poll(
                    number,
                    self.table.session_no(node_id),
                    row,
                    session.version if session is not None else None,
                )
                if verdict is PollVerdict.NOTHING and number == self.table.session_no(node_id):
                    cursor.settled(node_id)
                    continue
                cursor.look_again(node_id)
                if verdict is PollVerdict.SUPERSEDED and number is not None:
                    self._superseded(node_id, number)
                elif verdict is PollVerdict.REFRESH:
                    self._refresh(node_id)

        # Without the round over all nodes: what changed and what is unsettled must do.
        by_id = cursor.by_id(list, 0)
        self.database.transact(self, self.database.look, answered, None, mine, cursor.since or 0, by_id)

    def _refresh(self, node_id: str) -> None:
        session = self.sessions.get(node_id)
        if session is None:
            return

        def answered(result: tuple[int, list[PlacementRow]]) -> None:
            if self.sessions.get(node_id) is not session:
                return
            session.version, live = result
            session.wanted = {placement.lease: placement for placement in live}
            self.table.keep_only(node_id, session.wanted)
            self._send_desired(session)

        self.database.transact(self, self.database.wanted, answered, None, node_id)

    def _send_desired(self, session: Session) -> None:
        session.desired_sent_at = self.clock.read()
        specs = [placement.spec() for placement in session.wanted.values()]
        session.node.link.carry_surely(False, session.node, session.node.desired, session.id, specs)

    # --- agents ------------------------------------------------------------------------------------------

    def hello(self, node: "Node", dialled: int) -> None:
        """An agent dials in: challenge it."""
        node.link.carry(False, node, node.challenged, self, dialled)

    def prove(self, node: "Node", dialled: int) -> None:
        """It proved its key: open its session. A socket that was closed meanwhile brings no proof."""
        if dialled != node.dialled or node.session is not None:
            return
        if not self.gateway_id or not self.table.has_authority(self.clock.read()):
            return
        mine = self.gateway_id
        held = self.table.session_no(node.node_id) is not None
        silent_s = self.table.silent_s(node.node_id, self.clock.read()) if held else None

        def connected(result: Connected) -> None:
            newer = self.table.session_no(node.node_id)
            if mine != self.gateway_id or (newer is not None and newer > result.session_no):
                return
            session = Session(node, f"{mine}/{result.session_no}", result.session_no, result.version)
            session.wanted = {placement.lease: placement for placement in result.live}
            ttl_s = self.table.opened(
                node.node_id,
                session.id,
                result.session_no,
                result.claimed,
                self.clock.read(),
                noted_s=result.ttl_s,
                resumed=node.had_session,
            )
            self.sessions[node.node_id] = session
            self.cursor.look_again(node.node_id)
            self.world.counts["sessions"] += 1
            session.desired_sent_at = self.clock.read()
            specs = [placement.spec() for placement in result.live]
            node.link.carry(False, node, node.welcome, self, dialled, session.id, ttl_s, specs)

        self.database.transact(self, self.database.connect, connected, None, node.node_id, mine, silent_s)

    def _session(self, node: "Node", session_id: str) -> Session | None:
        session = self.sessions.get(node.node_id)
        return session if session is not None and session.id == session_id else None

    def beat(
        self,
        node: "Node",
        session_id: str,
        seq: int,
        acked_seq: int | None,
        reported: dict[LeaseId, float | None],
    ) -> None:
        """A heartbeat: answered from memory."""
        now = self.clock.read()
        result = self.table.beat(node.node_id, session_id, reported, now, seq, acked_seq)
        if result is None:
            node.link.carry(False, node, node.closed, session_id)
            return
        renewed, back, ttl_s = result
        for lease, over_s in reported.items():
            if over_s is None:
                self.ran_at[session_id, lease] = now
            elif (session_id, lease) not in self.over_since:
                told = now - over_s
                self.over_since[session_id, lease] = max(told, self.ran_at.get((session_id, lease), told))
        node.link.carry(False, node, node.acked, session_id, seq, renewed, ttl_s)
        if self.wild_ttls and self.world.chance() < WILD:
            self._ask_wildly(node.node_id)
        if back is not None:
            self._write(back)
        session = self._session(node, session_id)
        if session is not None and decisions.desired_is_due(
            session.wanted.keys(), reported, now - session.desired_sent_at
        ):
            self._send_desired(session)

    def _ask_wildly(self, node_id: str) -> None:
        """From one end to the other: a lease of fifteen seconds, and answers of five after it, or the other way round."""
        chance = self.world.chance
        ttl_s = LEASE_TTL_S if chance() < 0.5 else LEASE_TTL_MAX_S - int(6 * chance())
        self.table.ask_for(node_id, Ttl(ttl_s, "by chance"))

    def claim(self, node: "Node", session_id: str, seq: int, lease: LeaseId) -> None:
        """A claim: a sign of life, then the database's to decide."""
        number = self.table.session_no(node.node_id)
        if not self.table.claim_received(node.node_id, session_id, self.clock.read()):
            return
        if self.losses.bars(node.node_id, number):
            self.world.counts["claims_barred"] += 1
            return

        def decided(ok: bool) -> None:
            if not ok:
                node.link.carry(False, node, node.refused, session_id, lease)
            elif self.table.granted(node.node_id, session_id, lease, self.clock.read()):
                self.world.counts["grants"] += 1
                node.link.carry(
                    False, node, node.granted, session_id, seq, lease, self.table.ttl_of(node.node_id)
                )

        self.database.transact(self, self.database.jobs.record_claim, decided, None, node.node_id, lease)

    def report(self, node: "Node", session_id: str, report: Report) -> None:
        """A report: not acknowledged unless applied, so the agent sends it again."""
        if self._session(node, session_id) is None:
            return

        def applied(ok: bool) -> None:
            node.link.carry(False, node, node.report_acked, session_id, report.lease, report.seq, not ok)

        def work() -> bool:
            since = self.over_since.get((session_id, report.lease))
            over_s = 0.0 if since is None else self.clock.read() - since
            return self.database.jobs.record_report(node.node_id, report, self.database.now(), over_s)

        self.database.transact(
            self,
            work,
            applied,
            None,
        )
