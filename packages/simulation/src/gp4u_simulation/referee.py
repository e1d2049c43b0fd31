"""What users were promised, checked against what physically happened. Knows nothing of how production decides.

It keeps books of its own: who really runs, which placement the database made last, which bytes really lie in the store,
which answers reached whom, which money really moved.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction

from gp4u_simulation.world import World

WAKE_EXCUSE_S = 0.25
"""A machine that slept as a whole wakes with its job running; its shim's timer ends that within this time."""
OVERBILLED_S_MAX = 13.5
OVERBILLED_PER_SILENCE_S_MAX = 8.0
"""How much more than it truly ran a placement may be billed: a node that dies is known by its last beat, which may have
been on its way for six seconds; a pause shorter than half of the longest lease (7.5 s) is not told apart from running, nor
one that ends within the lease from one in which the job went on. However often a node goes from one gateway to another before
either has written its silence, that counts as one. Outages of ours are counted apart (docs/design/leases.md)."""

ONE_RUN = "one run of a job at a time"
NEWEST_RUNS = "only the newest epoch starts"
NO_STALE_WRITE = "no stale write is accepted"
JOB_ENDS = "every acknowledged job reaches its end"
ENDS_RIGHT = "a job ends as it really ended"
RESTORABLE = "every visible checkpoint restores"
NOTHING_LOST = "no resume before the last acknowledged step"
BILLED_ONCE = "no second is billed twice"
BILLED_RUN = "only time that ran is billed"
LOST_FREE = "lost work is not charged"
BALANCED = "the ledger balances"
PRICED = "a bill is the price of its time"
OUR_OUTAGE = "an outage of ours moves no job"

MICROSECOND = timedelta(microseconds=1)


@dataclass
class PlacementBook:
    """What the referee knows of one placement."""

    id: str
    job_id: str
    epoch: int
    live: bool = True
    ran_s: float = 0.0
    silences: int = 0
    handed_over: bool = False
    process_over_at: float | None = None  # its process ended by itself, or was killed
    charged: int = 0  # to owner and platform, refunds taken off
    lost: bool = False
    saved_work: float = 0.0
    saved_at: datetime | None = None  # the database's time when its furthest work was committed
    ran_from: datetime | None = None
    money_short: bool = False


@dataclass
class JobBook:
    """What the referee knows of one job."""

    id: str
    work_s: float
    newest: PlacementBook | None = None
    acknowledged: float = 0.0
    finished: bool = False
    stop_asked: bool = False
    money_gone: bool = False
    running: dict[str, bool] = field(default_factory=dict)  # run → excused


@dataclass
class CheckpointBook:
    """One visible checkpoint."""

    id: str
    job_id: str
    work: float
    packs: tuple[str, ...]


class Referee:
    """Judge of one world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.jobs: dict[str, JobBook] = {}
        self.placements: dict[str, PlacementBook] = {}
        self.objects: set[str] = set()
        self.visible: dict[str, CheckpointBook] = {}
        self.balances: dict[str, int] = {}
        self._keys: set[str] = set()
        self._since: dict[str, float] = {}

    # --- runs --------------------------------------------------------------------------------------------

    def run_begins(self, placement_id: str, run: str, *, excused: bool = False) -> None:
        """The job's process runs from this instant on."""
        book = self.placements[placement_id]
        job = self.jobs[book.job_id]
        self._since[run] = self.world.now
        job.running[run] = excused
        if excused:
            self.world.counts["woke_past_deadline"] += 1
            return
        self._judge_runs(job, run)
        if book is not job.newest:
            newest = job.newest.epoch if job.newest else 0
            self.world.violated(NEWEST_RUNS, f"{placement_id} runs although epoch {newest} exists")

    def excuse_ends(self, placement_id: str, run: str) -> None:
        """The time that a woken machine has to stop its job is over."""
        job = self.jobs[self.placements[placement_id].job_id]
        if job.running.get(run):
            job.running[run] = False
            self._judge_runs(job, run)

    def _judge_runs(self, job: JobBook, run: str) -> None:
        others = [other for other, excused in job.running.items() if other != run and not excused]
        if others:
            self.world.violated(ONE_RUN, f"{run} runs beside {', '.join(others)}")

    def run_stops(self, placement_id: str, run: str) -> None:
        """The job's process stands still, or is gone."""
        book = self.placements[placement_id]
        if self.jobs[book.job_id].running.pop(run, None) is not None:
            book.ran_s += self.world.now - self._since.pop(run)

    def process_over(self, placement_id: str) -> None:
        """The job's process is no more."""
        book = self.placements[placement_id]
        if book.process_over_at is None:
            book.process_over_at = self.world.now

    def resumed(self, placement_id: str, work: float) -> None:
        """A run starts with this much work done."""
        job = self.jobs[self.placements[placement_id].job_id]
        if work < job.acknowledged - 1e-9:
            self.world.violated(
                NOTHING_LOST, f"{placement_id} resumes at {work:.3f}, {job.acknowledged:.3f} was acknowledged"
            )

    def handed_over(self, placement_id: str) -> None:
        """Its node left one gateway for another, and neither saw how long it was between them."""
        self.placements[placement_id].handed_over = True

    # --- rows --------------------------------------------------------------------------------------------

    def placed(self, job_id: str, placement_id: str, epoch: int) -> None:
        """A placement row was inserted."""
        job = self.jobs[job_id]
        if job.newest is not None and job.newest.live:
            self.world.violated(ONE_RUN, f"{placement_id} is placed while {job.newest.id} is live")
        job.newest = self.placements[placement_id] = PlacementBook(placement_id, job_id, epoch)
        self.world.counts["placements"] += 1
        self.world.counts["failovers"] += epoch > 1

    def ended(self, placement_id: str, *, lost: bool) -> None:
        """A placement row was closed."""
        book = self.placements[placement_id]
        book.live = False
        book.lost = lost

    def accepted(self, what: str, placement_id: str, epoch: int) -> None:
        """The database took a node's write under this epoch."""
        book = self.placements[placement_id]
        if not book.live or book.epoch != epoch or self.jobs[book.job_id].newest is not book:
            self.world.violated(NO_STALE_WRITE, f"{what} of {placement_id} was accepted after its end")

    # --- checkpoints -------------------------------------------------------------------------------------

    def committed(
        self, checkpoint_id: str, placement_id: str, work: float, packs: Iterable[str], at: datetime
    ) -> None:
        """A checkpoint became visible."""
        book = self.placements[placement_id]
        if work >= book.saved_work:
            book.saved_work, book.saved_at = work, at
        self.visible[checkpoint_id] = CheckpointBook(checkpoint_id, book.job_id, work, tuple(packs))
        self.world.counts["checkpoints"] += 1
        self._judge_restorable(checkpoint_id)

    def withdrawn(self, checkpoint_id: str) -> None:
        """A checkpoint is visible no more."""
        del self.visible[checkpoint_id]
        self.world.counts["checkpoints_expired"] += 1

    def acknowledged(self, job_id: str, work: float) -> None:
        """A job was told that this much is saved."""
        job = self.jobs[job_id]
        job.acknowledged = max(job.acknowledged, work)

    def object_gone(self, name: str) -> None:
        """Collection deleted an object."""
        self.objects.discard(name)
        self.world.counts["packs_collected"] += 1
        for checkpoint in self.visible.values():
            if name in checkpoint.packs:
                self.world.violated(RESTORABLE, f"{checkpoint.id} needs {name}, which was collected")

    def _judge_restorable(self, checkpoint_id: str) -> None:
        missing = [pack for pack in self.visible[checkpoint_id].packs if pack not in self.objects]
        if missing:
            self.world.violated(RESTORABLE, f"{checkpoint_id} is visible without {', '.join(missing)}")

    # --- money -------------------------------------------------------------------------------------------

    def transferred(self, key: str, legs: Sequence[tuple[str, int]], booking_id: str | None) -> None:
        """Money moved."""
        if key in self._keys:
            self.world.violated(BALANCED, f"the transfer {key} was made twice")
        self._keys.add(key)
        if sum(amount for _, amount in legs) != 0:
            self.world.violated(BALANCED, f"the transfer {key} does not balance")
        for account, amount in legs:
            after = self.balances.get(account, 0) + amount
            self.balances[account] = after
            kind = account.split(":", 1)[0]
            if kind in ("wallet", "hold") and after < 0:
                self.world.violated(BALANCED, f"{account} is at {after}")
            if booking_id is not None and kind in ("earnings", "platform"):
                self.placements[booking_id].charged += amount

    # --- the end -----------------------------------------------------------------------------------------

    def job_ended(self, job_id: str, state: str) -> None:
        """The platform says that a job is over."""
        job = self.jobs[job_id]
        if state == "done" and not job.finished:
            self.world.violated(ENDS_RIGHT, f"{job_id} is done, but its command never finished")
        if state == "stopped" and not (job.stop_asked or job.money_gone):
            self.world.violated(ENDS_RIGHT, f"{job_id} was stopped, and nobody had asked for it")
        if state == "failed":
            self.world.violated(ENDS_RIGHT, f"{job_id} failed, and its command never does")

    def bill(
        self,
        placement_id: str,
        intervals: Sequence[tuple[datetime, datetime | None]],
        rate_per_hour_micros: int,
        floor: datetime,
        *,
        outage_s: float,
    ) -> datetime:
        """One placement's intervals when all is over, placement by placement; answers where the next may begin."""
        book = self.placements[placement_id]
        billed = timedelta()
        kept = timedelta()
        cut = None
        if book.lost and intervals:
            cut = max(book.saved_at or intervals[0][0], intervals[0][0])
        for start, end in intervals:
            if end is None:
                self.world.violated(BILLED_ONCE, f"{placement_id} is over and still billed")
                continue
            if start < floor or end < start:
                self.world.violated(
                    BILLED_ONCE, f"{placement_id} bills {start.time()}-{end.time()} after {floor.time()}"
                )
            floor = end
            billed += end - start
            kept += max(timedelta(), (end if cut is None else min(end, cut)) - start)
        price = round(Fraction(rate_per_hour_micros * (kept // MICROSECOND), 3_600_000_000))
        if book.charged > price:
            promise = LOST_FREE if cut is not None else PRICED
            self.world.violated(promise, f"{placement_id} costs {book.charged} for time worth {price}")
        if book.charged < price and not book.money_short:
            self.world.violated(PRICED, f"{placement_id} costs {book.charged}, its time is worth {price}")
        over_s = kept.total_seconds() - book.ran_s
        silences = book.silences + book.handed_over
        if over_s > OVERBILLED_S_MAX + OVERBILLED_PER_SILENCE_S_MAX * silences + outage_s:
            self.world.violated(
                BILLED_RUN,
                f"{placement_id} bills {kept.total_seconds():.2f} s and ran {book.ran_s:.2f} s",
            )
        self.world.counts["seconds_billed"] += round(billed.total_seconds())
        self.world.counts["refunds"] += cut is not None and kept < billed
        return floor

    def settle(self, *, deposited: int) -> None:
        """Nothing is held any more, and no money appeared or vanished."""
        for account, balance in self.balances.items():
            if account.startswith("hold:") and balance:
                self.world.violated(BALANCED, f"{account} still holds {balance}")
        total = sum(self.balances.values())
        if total != deposited:
            self.world.violated(BALANCED, f"{total} micro-units stand for {deposited} paid in")
