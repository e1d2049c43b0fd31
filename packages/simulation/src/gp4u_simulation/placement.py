"""One placement on a node: preparing, running, checkpoints, its end, and the journal of what it reports.

Mirrors `gp4u_agent.placement`, `checkpointing` and `reports`. What stands on disk there survives the agent here, too:
whether it was started, whether it was proven, the journal.
"""

from typing import TYPE_CHECKING

from gp4u_agent.reconcile import Actual, Phase
from gp4u_protocol.lease_core import LeaseId

from gp4u_simulation.checkpoints import PACK_BYTES
from gp4u_simulation.jobs import FINAL, STOP_GRACE_S, Report, Told
from gp4u_simulation.rows import CheckpointRow
from gp4u_simulation.shim import Shim

if TYPE_CHECKING:
    from gp4u_simulation.agent import Node

CHECKPOINT_EVERY_S = 2.5
ANSWER_TIMEOUT_S = 3.0
FINAL_TRIES = 3
PREPARE_TRIES = 4
UNGRANTED_END_S = 6.0
PACKS_KEPT = 2
"""A manifest names its own pack and up to this many of the one before: deduplication."""


class Placement:
    """See module."""

    stores_first = True
    """Packs before the manifest's commit; a planted bug turns it round."""

    def __init__(self, node: "Node", lease: LeaseId, job_id: str) -> None:
        self.node = node
        self.world = node.world
        self.lease = lease
        self.job_id = job_id
        self.phase = Phase.CLAIMING
        self.is_granted = False
        self.claim_sent_at: float | None = None
        self.refused = False
        self.shim: Shim | None = None
        # On disk.
        self.pending: list[Report] = []
        self.next_seq = 1
        self.end_acknowledged = False
        self._started = False
        # In the agent's memory.
        self._killed = False
        self._stop_wanted = False
        self._attempt = 0
        self._work = 0.0
        self._known: dict[str, int] = {}
        self._snapshots = 0

    def actual(self) -> Actual:
        """As reconciliation sees it."""
        return Actual(
            self.job_id,
            self.phase,
            self.is_granted,
            self.claim_sent_at,
            self.refused,
            self.end_acknowledged,
        )

    # --- the journal -------------------------------------------------------------------------------------

    def _report(self, told: Told) -> None:
        report = Report(self.lease, self.next_seq, told)
        self.next_seq += 1
        self.pending.append(report)
        self.node.send_report(report)

    def acknowledge(self, seq: int) -> None:
        """Everything up to `seq` is known."""
        done = [report for report in self.pending if report.seq <= seq]
        self.pending = [report for report in self.pending if report.seq > seq]
        self.end_acknowledged = self.end_acknowledged or any(report.told in FINAL for report in done)

    def _ended(self, told: Told) -> None:
        self._report(told)
        self.phase = Phase.ENDED
        self.node.soon(0.0, self.node.converge)

    # --- orders ------------------------------------------------------------------------------------------

    def grant(self, deadline: float) -> None:
        """The claim was accepted."""
        self.refused = False
        if not self.is_granted:
            self.is_granted = True
            if self.shim is not None and self.phase in (Phase.RUNNING, Phase.STOPPING):
                self._recall()
        if self.shim is not None:
            self.shim.renew(deadline)

    def start(self) -> None:
        """The lease is held and nothing was started yet."""
        self.phase = Phase.PREPARING
        self._attempt += 1
        self._prepare(self._attempt, PREPARE_TRIES)

    def stop(self) -> None:
        """End it gracefully."""
        if self._stop_wanted:
            return
        self._stop_wanted = True
        if self.phase is Phase.RUNNING:
            self.phase = Phase.STOPPING
            self._later(STOP_GRACE_S * self.world.chance(), self._final, FINAL_TRIES)
        elif self.phase in (Phase.CLAIMING, Phase.PREPARING):
            self._attempt += 1
            self._ended(Told.STOPPED)

    def kill(self) -> None:
        """Another epoch owns the job, or nobody wants it any more."""
        if self.phase is Phase.ENDED or self._killed:
            return
        self._killed = True
        self._attempt += 1
        if self.shim is not None and not self.shim.gone:
            # Reaped a moment after the signal; until then reconciliation sees it alive.
            self._later(0.05 * self.world.chance(), self.shim.kill)
        elif self.phase is Phase.CLAIMING:
            self.phase = Phase.ENDED
            self.node.soon(0.0, self.node.converge)
        else:
            self._ended(Told.KILLED)

    # --- a life ------------------------------------------------------------------------------------------

    def _later(self, delay: float, action: object, *arguments: object) -> None:
        self.node.soon(delay, self._if_mine, action, arguments)

    def _if_mine(self, action: object, arguments: tuple[object, ...]) -> None:
        if self.node.placements.get(self.lease) is self:
            action(*arguments)  # type: ignore[operator]

    def _prepare(self, attempt: int, tries: int) -> None:
        """Files, then the restore point; a few tries, each with a time-out."""
        if attempt != self._attempt or self.phase is not Phase.PREPARING:
            return
        if tries == 0:
            self.world.counts["start_failures"] += 1
            self._ended(Told.START_FAILED)
            return
        asked = object()
        self._asked = asked

        def answered(answer: tuple[bool, CheckpointRow | None]) -> None:
            if attempt == self._attempt and self._asked is asked:
                self._asked = None
                current, point = answer
                if not current:
                    self.kill()
                else:
                    self._later(0.05 + 0.5 * self.world.chance(), self._restore, attempt, point)

        def over() -> None:
            if attempt == self._attempt and self._asked is asked:
                self._prepare(attempt, tries - 1)

        database = self.node.platform.database
        self._http(database.restore_point, answered, self.node.node_id, self.lease)
        self._later(ANSWER_TIMEOUT_S, over)

    def _restore(self, attempt: int, point: CheckpointRow | None) -> None:
        if attempt != self._attempt or self.phase is not Phase.PREPARING:
            return
        if point is not None:
            missing = [pack for pack in point.packs if pack not in self.node.platform.referee.objects]
            if missing:
                self.world.violated(
                    "every visible checkpoint restores", f"{point.id} cannot be read: {missing} is not there"
                )
            self.world.counts["restores"] += 1
            self._work = point.work
            self._known = dict(point.packs)
        self._started = True
        self._try_start(attempt)

    def _try_start(self, attempt: int) -> None:
        """The shim starts the job under a proven deadline; one that is past waits for the next renewal."""
        if attempt != self._attempt or self.phase is not Phase.PREPARING:
            return
        node = self.node
        deadline = node.holder.deadline(*self.lease)
        if deadline is None or deadline <= node.clock.read():
            self._later(0.25, self._try_start, attempt)
            return
        node.runs_begun += 1
        job = node.platform.referee.jobs[self.job_id]
        self.shim = Shim(
            self.world,
            node.platform.referee,
            node.clock,
            f"{node.node_id}/{self.lease.placement_id}#{node.runs_begun}",
            self.lease,
            work=self._work,
            work_s=job.work_s,
            deadline=deadline,
            told=self._shim_tells,
        )
        self.phase = Phase.RUNNING
        self._report(Told.RUNNING)
        self._later(CHECKPOINT_EVERY_S, self._interval)

    def _shim_tells(self) -> None:
        """The shim's word waits in its socket and in its files until an agent reads it."""
        self.node.soon(0.01, self.shim_ended)

    def shim_ended(self) -> None:
        """The job's process ended, was killed, or was lost."""
        shim = self.shim
        if shim is None or not shim.gone or self.phase in (Phase.ENDED, Phase.ENDING):
            return
        if self._killed:
            self._ended(Told.KILLED)
        elif not shim.finished:
            self._ended(Told.STOPPED if self._stop_wanted else Told.SHIM_LOST)
        else:
            self.phase = Phase.ENDING
            self._later(0.0, self._end, self.node.clock.read())

    def _end(self, since: float) -> None:
        """The last checkpoint needs the data key; then the end is told."""
        if self.phase is not Phase.ENDING:
            return
        if not self.is_granted and self.node.clock.read() - since < UNGRANTED_END_S:
            self._later(0.5, self._end, since)
            return
        self._final(FINAL_TRIES if self.is_granted else 0)

    # --- after a restart of the agent ---------------------------------------------------------------------

    def adopt(self) -> bool:
        """Go on with what is on disk. False: it never began."""
        if not self._started and not self.pending:
            return False
        self.is_granted = False
        self.refused = False
        self.claim_sent_at = None
        self._killed = self._stop_wanted = False
        self._attempt += 1
        if any(report.told in FINAL for report in self.pending) or self.end_acknowledged:
            self.phase = Phase.ENDED
        elif self.shim is None:
            self._ended(Told.SHIM_LOST)
        elif not self.shim.gone:
            self.phase = Phase.RUNNING
            if not any(report.told is Told.RUNNING for report in self.pending):
                self._report(Told.RUNNING)
            self._later(CHECKPOINT_EVERY_S, self._interval)
        elif self.shim.finished:
            self.phase = Phase.ENDING
            self._later(0.0, self._end, self.node.clock.read())
        else:
            self._ended(Told.SHIM_LOST)
        return True

    def machine_lost(self) -> None:
        """Power is gone: the job with it. What is on disk stays."""
        if self.shim is not None and not self.shim.gone:
            self.shim.lose()

    # --- checkpoints -------------------------------------------------------------------------------------

    def _interval(self) -> None:
        if self.phase is not Phase.RUNNING:
            return
        self._later(CHECKPOINT_EVERY_S, self._interval)
        if self.shim is not None and not self.shim.frozen and not self.shim.gone and self.is_granted:
            self._snapshot(self.shim.done_work(), lambda: None)

    def _final(self, tries: int) -> None:
        """The last one: before a stopped job is killed, or after it ended."""
        shim = self.shim
        if self.phase not in (Phase.STOPPING, Phase.ENDING) or shim is None:
            return
        if tries == 0:
            self._after_final()
            return
        state = {"over": False}

        def saved() -> None:
            if not state["over"]:
                state["over"] = True
                self._after_final()

        def over() -> None:
            if not state["over"]:
                state["over"] = True
                self._final(tries - 1)

        self._snapshot(shim.done_work(), saved)
        self._later(ANSWER_TIMEOUT_S, over)

    def _after_final(self) -> None:
        if self.phase is Phase.STOPPING and self.shim is not None and not self.shim.gone:
            self.shim.kill()
        elif self.phase is Phase.ENDING:
            self._ended(Told.STOPPED if self._stop_wanted else Told.EXITED)

    def _snapshot(self, work: float, saved: object) -> None:
        """Open and announce; put; commit. Every step may be lost, and is then given up: another snapshot follows."""
        node = self.node
        database, referee = node.platform.database, node.platform.referee
        node.platform.packs_made += 1
        pack_id = f"pack-{self.lease.placement_id}-{node.platform.packs_made}"
        named = dict.fromkeys(list(self._known)[-PACKS_KEPT:], PACK_BYTES)
        named[pack_id] = PACK_BYTES
        self._snapshots += 1
        mine = self._snapshots  # one at a time: whoever gave up waiting goes on with the next

        def opened(upload_id: str | None) -> None:
            if mine != self._snapshots:
                return
            if upload_id is None:
                self.refused = True
                node.converge()
                return
            if not self.stores_first:
                self._later(0.01, commit, upload_id)
            put_s = 0.05 + (0.3 if self.world.chance() < 0.9 else 4.0) * self.world.chance()
            # The store takes what was sent, whoever lives by then.
            self.world.after(put_s, put, upload_id)

        def put(upload_id: str) -> None:
            platform = node.platform
            if not node.powered or self.world.now < platform.store_down_until:
                self.world.counts["puts_failed"] += 1
                return
            referee.objects.add(pack_id)
            if mine == self._snapshots:
                self._later(0.01, commit, upload_id)

        def commit(upload_id: str) -> None:
            node.link.carry(True, node.platform.api, check, upload_id)

        def check(upload_id: str) -> None:
            # At the api, before any transaction: the store may be slow.
            if database.checkpoints.check_stored(named):
                self._arrived(
                    database.commit,
                    committed,
                    (node.node_id, self.lease, upload_id, work, named),
                    node.life,
                )
            else:
                self.world.counts["commits_without_objects"] += 1

        def committed(row: CheckpointRow | bool | None) -> None:
            if row is None:
                self.refused = True
                node.converge()
            elif isinstance(row, CheckpointRow):
                self._known = dict(row.packs)
                referee.acknowledged(self.job_id, row.work)
                saved()  # type: ignore[operator]

        self._http(database.open_upload, opened, node.node_id, self.lease, pack_id)

    def _recall(self) -> None:
        """An adopted run learns from the newest checkpoint what the store has."""
        point = self.node.platform.database.checkpoints.restore_point(
            self.node.platform.database.jobs.rows[self.job_id]
        )
        self._known = dict(point.packs) if point is not None else {}

    # --- requests ----------------------------------------------------------------------------------------

    def _http(self, work: object, then: object, *arguments: object) -> None:
        """A request over the node's link to an api process: it may arrive very late, or twice."""
        api = self.node.platform.api
        self.node.link.carry(True, api, self._arrived, work, then, arguments, self.node.life)

    def _arrived(self, work: object, then: object, arguments: tuple[object, ...], life: int) -> None:
        node = self.node

        def answer(result: object) -> None:
            if life == node.life:
                node.link.carry(False, node, then, result)  # type: ignore[arg-type]

        node.platform.database.transact(node.platform.api, work, answer, None, *arguments)  # type: ignore[arg-type]
