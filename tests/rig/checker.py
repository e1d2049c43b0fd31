"""Judges a history by what users were promised. Knows nothing of how the product decides, only what happened.

    python -m tests.rig.checker HISTORY.jsonl

Every invariant is one function of `Facts`, and each says in its first line what was promised. Verdicts depend on the order of
events, never on how long they took; the two bounds that are times are wide and written down below.
"""

import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.rig.history import Record, read

FINAL = ("done", "failed", "stopped")
WAKE_EXCUSE_S = 2.0
"""A machine that was paused as a whole wakes with its job running, until its shim's timer ends that (docs/design/leases.md,
assumption 2). Its effects carry an old epoch. Only what is said so soon after a recorded wake-up is excused."""
BILLED_BEYOND_RUN_S = 30.0
"""How much more than the time between its first and its last word a run may be billed: its start and its end are known to the
platform a report later, and a dead node by its last beat."""
ROUNDING_MICROS = 1
SAVED_LATER_S = 2.0
"""How much later than its row says a checkpoint may have been committed: the row's time is that of its transaction's begin."""


@dataclass(frozen=True)
class Violation:
    """A promise that was broken, and by what."""

    promise: str
    detail: str

    def __str__(self) -> str:
        return f"{self.promise}: {self.detail}"


@dataclass
class Run:
    """One process of a job, as it spoke of itself."""

    job: str
    epoch: int
    id: str
    words: list[Record] = field(default_factory=list)

    @property
    def began_at(self) -> float:
        return float(self.words[0]["at"])

    @property
    def last_at(self) -> float:
        return float(self.words[-1]["at"])

    def __str__(self) -> str:
        return f"{self.job} epoch {self.epoch} (run {self.id}, on {self.words[0].get('host')})"


class Facts:
    """A history, sorted by who and when."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.records = sorted(records, key=lambda record: record["at"])

    @cached_property
    def runs(self) -> dict[str, list[Run]]:
        """Every run of every job, by when it began."""
        found: dict[tuple[str, str], Run] = {}
        for record in self.records:
            if record["kind"] == "run":
                key = record["job"], record["run"]
                found.setdefault(key, Run(record["job"], record["epoch"], record["run"])).words.append(record)
        by_job: dict[str, list[Run]] = defaultdict(list)
        for run in found.values():
            by_job[run.job].append(run)
        return {job: sorted(runs, key=lambda run: run.began_at) for job, runs in by_job.items()}

    @cached_property
    def accepted(self) -> dict[str, Record]:
        """Jobs that a renter was told to have."""
        return {record["job"]: record for record in self.told("accepted")}

    def told(self, what: str) -> list[Record]:
        """What people were answered, of one kind."""
        return [record for record in self.records if record["kind"] == "told" and record["what"] == what]

    def faults(self, what: str) -> list[Record]:
        """What was done to the platform, of one kind."""
        return [record for record in self.records if record["kind"] == "fault" and record["what"] == what]

    def noted(self, what: str) -> list[Record]:
        """What a scenario says of itself."""
        return [record for record in self.records if record["kind"] == "note" and record["what"] == what]

    @cached_property
    def database(self) -> dict[str, list[dict[str, Any]]]:
        """The rows at the end, by table."""
        found = [record for record in self.records if record["kind"] == "database"]
        return found[-1]["tables"] if found else {}

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Rows of one table at the end."""
        return self.database.get(table, [])

    def rows_by_job(self, table: str) -> dict[str, list[dict[str, Any]]]:
        """The same, for the jobs that this history accepted."""
        found: dict[str, list[dict[str, Any]]] = {job: [] for job in self.accepted}
        for row in self.rows(table):
            if row["job_id"] in found:
                found[row["job_id"]].append(row)
        return found

    def acknowledged(self, job: str, before: float = float("inf")) -> int:
        """The furthest step that the job was told is saved. What a restored backup took away is not counted."""
        steps = [
            word["step"]
            for run in self.runs.get(job, ())
            for word in run.words
            if word["what"] == "acknowledged"
            and word["at"] < before
            and not self._forgotten(word["at"], before)
        ]
        return max(steps, default=0)

    def _forgotten(self, at: float, before: float) -> bool:
        return any(
            fault["backup_at"] < at < fault["at"] < before for fault in self.faults("database_restored")
        )

    @cached_property
    def damaged_on_purpose(self) -> set[str]:
        """Jobs whose stored bytes were changed: the newest of what they were told is saved cannot be read any more."""
        return {fault["job"] for fault in self.faults("store_damaged")}

    def excused(self, run: Run, at: float) -> bool:
        """Whether the run's machine had just woken from a pause as a whole."""
        nodes = {
            row["node_name"]
            for row in self.rows("placements")
            if row["job_id"] == run.job and row["epoch"] == run.epoch
        }
        return any(
            wake["target"] in nodes and wake["at"] <= at <= wake["at"] + WAKE_EXCUSE_S
            for wake in self.faults("machine_wakes")
        )


Verdicts = Iterator[str]


def one_run_at_a_time(facts: Facts) -> Verdicts:
    """Of a job, one process runs at a time: an older run says nothing any more once a newer one has begun."""
    for runs in facts.runs.values():
        for older, newer in _pairs(runs):
            late = [
                word
                for word in older.words
                if word["at"] > newer.began_at and not facts.excused(older, word["at"])
            ]
            if late:
                yield (
                    f"{older} still says {late[0]['what']} {late[0]['at'] - newer.began_at:.3f} s after {newer} began"
                    f" ({len(late)} words)"
                )


def newest_epoch_runs(facts: Facts) -> Verdicts:
    """Epochs only grow: no run begins under an older one than a run before it."""
    for runs in facts.runs.values():
        for older, newer in _pairs(runs):
            # A database that came back from a backup has forgotten epochs, and counts on from those it knows.
            restored = any(
                older.began_at < fault["at"] < newer.began_at for fault in facts.faults("database_restored")
            )
            if newer.epoch < older.epoch and not restored and not facts.excused(newer, newer.began_at):
                yield f"{newer} began after {older}"


def over_is_over(facts: Facts) -> Verdicts:
    """A job that its renter was told has ended runs no more."""
    for record in facts.told("state"):
        if record["state"] in FINAL:
            for run in facts.runs.get(record["job"], ()):
                if run.last_at > record["at"] and not facts.excused(run, run.last_at):
                    yield f"{run} speaks {run.last_at - record['at']:.3f} s after it was told {record['state']}"


def never_behind_what_was_saved(facts: Facts) -> Verdicts:
    """A job never resumes before the last step that it was told is saved."""
    for job, runs in facts.runs.items():
        if job in facts.damaged_on_purpose:
            continue  # the scenario says itself what must become of it
        for run in runs:
            for word in run.words:
                if word["what"] == "began" and word["step"] < facts.acknowledged(job, word["at"]):
                    saved = facts.acknowledged(job, word["at"])
                    yield f"{run} begins at step {word['step']}, step {saved} was acknowledged"


def restored_as_saved(facts: Facts) -> Verdicts:
    """A job finds the bytes that it had written."""
    for runs in facts.runs.values():
        for run in runs:
            for word in run.words:
                if word["what"] == "damaged":
                    yield f"{run}: {word['detail']}"


def visible_checkpoints_restore(facts: Facts) -> Verdicts:
    """Every checkpoint that is listed can be read back, byte for byte."""
    for record in facts.records:
        if record["kind"] == "read" and not record["ok"]:
            yield f"{record['checkpoint']} of {record['job']}: {record['detail']}"


def saved_is_listed(facts: Facts) -> Verdicts:
    """What a job was told is saved is still there at the end, or something newer is."""
    read_back: dict[str, int] = defaultdict(int)
    for record in facts.records:
        if record["kind"] == "read" and record["ok"]:
            read_back[record["job"]] = max(read_back[record["job"]], record["step"])
    for job in facts.accepted.keys() - facts.damaged_on_purpose:
        saved = facts.acknowledged(job)
        if saved > read_back[job]:
            yield f"{job} was told that step {saved} is saved; the newest that can be read is {read_back[job]}"


def no_stale_write(facts: Facts) -> Verdicts:
    """Nothing of an old epoch is accepted once a newer one exists, and one placement of a job is live at a time."""
    saved = facts.rows_by_job("checkpoints")
    for job, placements in facts.rows_by_job("placements").items():
        ordered = sorted(placements, key=lambda row: row["epoch"])
        for before, after in pairwise(ordered):
            if before["epoch"] == after["epoch"]:
                yield f"{job} has two placements of epoch {after['epoch']}"
            if before["ended_at"] is None or before["ended_at"] > after["created_at"]:
                yield f"{job}: epoch {after['epoch']} was placed while epoch {before['epoch']} was live"
        for checkpoint in saved[job]:
            newer = [
                row["epoch"]
                for row in ordered
                if row["epoch"] > checkpoint["epoch"] and row["created_at"] < checkpoint["committed_at"]
            ]
            if newer:
                yield f"{checkpoint['id']} of {job}, epoch {checkpoint['epoch']}, was taken beside epoch {newer[0]}"


def every_job_ends(facts: Facts) -> Verdicts:
    """Every job that was acknowledged exists once and reaches its end."""
    names: dict[str, int] = defaultdict(int)
    for row in facts.rows("jobs"):
        names[row["name"]] += 1
    states = {row["id"]: row["state"] for row in facts.rows("jobs")}
    for job, record in facts.accepted.items():
        if states.get(job) is None:
            yield f"{job} was acknowledged and does not exist"
        elif states[job] not in FINAL:
            yield f"{job} is {states[job]} at the end"
        if names[f"count-{record['seed']}"] > 1:
            yield f"one submission made {names['count-' + record['seed']]} jobs like {job}"


def ends_as_it_ended(facts: Facts) -> Verdicts:
    """A job is `done` when its command came to its end, `stopped` when somebody asked, `failed` when it failed."""
    finished = {
        run.job
        for runs in facts.runs.values()
        for run in runs
        if any(word["what"] == "finished" for word in run.words)
    }
    asked = {record["job"] for record in facts.told("stop_asked")}
    may_fail = {record["job"] for record in facts.noted("may_fail")}
    for row in facts.rows("jobs"):
        job, state = row["id"], row["state"]
        if job not in facts.accepted:
            continue
        if state == "done" and job not in finished:
            yield f"{job} is done, and its command never came to its end"
        if state == "stopped" and job not in asked:
            yield f"{job} was stopped ({row['reason']}), and nobody had asked"
        if state == "failed" and job not in may_fail:
            yield f"{job} failed ({row['reason']}), and its command never does"


def no_second_twice(facts: Facts) -> Verdicts:
    """No second of a job is billed twice, and none after its end."""
    states = {row["id"]: row["state"] for row in facts.rows("jobs")}
    for job, intervals in facts.rows_by_job("usage_intervals").items():
        end = None
        for row in sorted(intervals, key=lambda row: (row["started_at"], row["epoch"], row["seq"])):
            what = f"{job} epoch {row['epoch']} interval {row['seq']}"
            if row["ended_at"] is None:
                if states.get(job) in FINAL:
                    yield f"{what} is open, and the job is {states[job]}"
                continue
            if row["ended_at"] < row["started_at"]:
                yield f"{what} ends before it begins"
            if end is not None and row["started_at"] < end - 1e-6:
                yield f"{what} begins {end - row['started_at']:.6f} s before the one before it ended"
            end = max(end or 0.0, row["ended_at"])


def only_running_time_is_billed(facts: Facts) -> Verdicts:
    """A run is billed for the time that it ran, give or take a report."""
    for job, intervals in facts.rows_by_job("usage_intervals").items():
        billed: dict[int, float] = defaultdict(float)
        for row in intervals:
            if row["ended_at"] is not None:
                billed[row["epoch"]] += row["ended_at"] - row["started_at"]
        for epoch, seconds in billed.items():
            ran = sum(run.last_at - run.began_at for run in facts.runs.get(job, ()) if run.epoch == epoch)
            if seconds > ran + BILLED_BEYOND_RUN_S:
                yield f"{job} epoch {epoch} is billed for {seconds:.1f} s and ran for {ran:.1f} s"


def bills(facts: Facts) -> Iterator[tuple[str, str, int, Fraction, str | None]]:
    """Each settled booking: job, booking, what it costs, what its time is worth, how its placement ended."""
    seconds: dict[str, Fraction] = defaultdict(Fraction)
    for row in facts.rows("usage_intervals"):
        if row["ended_at"] is not None:
            seconds[row["booking_id"]] += round((row["ended_at"] - row["started_at"]) * 1_000_000)
    outcomes = {(row["job_id"], row["epoch"]): row["outcome"] for row in facts.rows("placements")}
    for job, meters in facts.rows_by_job("meters").items():
        for row in meters:
            if row["settled_at"] is not None:
                price = seconds[row["booking_id"]] * row["rate_per_hour_micros"] / 3_600_000_000
                cost = row["charged_micros"] - row["refunded_micros"]
                yield job, row["booking_id"], cost, price, outcomes.get((job, row["epoch"]))


def bill_is_the_price(facts: Facts) -> Verdicts:
    """What a job costs is the price of its billed time, or less: work that was lost is given back."""
    for job, booking, cost, price, _ in bills(facts):
        if cost > price + ROUNDING_MICROS:
            yield f"{job}: {booking} costs {cost}, its time is worth {float(price):.1f}"


def no_second_unbilled(facts: Facts) -> Verdicts:
    """Every confirmed second is paid for, unless its work was lost with its node or by a move."""
    for job, booking, cost, price, outcome in bills(facts):
        if outcome not in ("lost", "moved") and cost < price - ROUNDING_MICROS:
            yield f"{job}: {booking} ({outcome}) costs {cost}, its time is worth {float(price):.1f}"


def lost_work_is_given_back(facts: Facts) -> Verdicts:
    """Of a run that was lost with its node, nobody pays for the time after its last checkpoint."""
    rows = facts.rows_by_job("checkpoints")
    intervals = facts.rows_by_job("usage_intervals")
    for job, meters in facts.rows_by_job("meters").items():
        outcomes = {row["epoch"]: row["outcome"] for row in facts.rows("placements") if row["job_id"] == job}
        for meter in meters:
            epoch = meter["epoch"]
            if meter["settled_at"] is None or outcomes.get(epoch) != "lost":
                continue
            mine = [row for row in rows[job] if row["epoch"] == epoch]
            told = [
                word["step"]
                for run in facts.runs.get(job, ())
                for word in run.words
                if run.epoch == epoch and word["what"] == "acknowledged"
            ]
            if max(told, default=0) > max((row["step"] or 0 for row in mine), default=0):
                continue  # its newest checkpoint was collected since
            saved_until = max((row["committed_at"] + SAVED_LATER_S for row in mine), default=0.0)
            worth = sum(
                (
                    Fraction(max(0.0, min(row["ended_at"], saved_until) - row["started_at"]))
                    for row in intervals[job]
                    if row["booking_id"] == meter["booking_id"] and row["ended_at"] is not None
                ),
                Fraction(0),
            )
            cost = meter["charged_micros"] - meter["refunded_micros"]
            if cost > worth * meter["rate_per_hour_micros"] / 3_600 + ROUNDING_MICROS:
                yield f"{job} epoch {epoch} costs {cost}, and {float(worth):.3f} s of it were saved"


def the_books_balance(facts: Facts) -> Verdicts:
    """Every transfer sums to nothing, every account is the sum of its entries, nobody's wallet is below zero."""
    transfers: dict[tuple[str, str], int] = defaultdict(int)
    accounts: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in facts.rows("ledger_entries"):
        transfers[row["transfer_id"], row["currency"]] += row["amount_micros"]
        accounts[row["account"], row["currency"]].append(row)
    for (transfer, _), total in transfers.items():
        if total != 0:
            yield f"transfer {transfer} sums to {total}"
    balances = {
        (row["name"], row["currency"]): row["balance_micros"] for row in facts.rows("ledger_accounts")
    }
    for account, entries in accounts.items():
        balance = 0
        for number, row in enumerate(sorted(entries, key=lambda row: row["version"]), 1):
            balance += row["amount_micros"]
            if row["version"] != number:
                yield f"{account[0]} has no version {number}"
                break
            if row["balance_after_micros"] != balance:
                yield f"{account[0]} version {number} says {row['balance_after_micros']}, its entries {balance}"
            if balance < 0 and account[0].split(":")[0] in ("wallet", "hold"):
                yield f"{account[0]} was at {balance}"
        if balances.get(account) != balance:
            yield f"{account[0]} says {balances.get(account)}, its entries {balance}"
    keys: dict[str, int] = defaultdict(int)
    for row in facts.rows("ledger_transfers"):
        keys[row["key"]] += 1
    yield from (f"the transfer {key} was made {count} times" for key, count in keys.items() if count > 1)
    settled = {row["booking_id"] for row in facts.rows("meters") if row["settled_at"] is not None}
    for (name, _), balance in balances.items():
        kind, _, whose = name.partition(":")
        if kind == "hold" and whose in settled and balance != 0:
            yield f"{name} still holds {balance}, and is settled"


def unmoved(facts: Facts) -> Verdicts:
    """Jobs of which a scenario says that nothing may move them stay where they are."""
    epochs = facts.rows_by_job("placements")
    for record in facts.noted("must_not_move"):
        found = sorted(row["epoch"] for row in epochs.get(record["job"], ()))
        if found != [record.get("epoch", 1)]:
            yield f"{record['job']} was placed as {found}: {record['why']}"


PROMISES: dict[str, Callable[[Facts], Verdicts]] = {
    "one run of a job at a time": one_run_at_a_time,
    "only the newest epoch starts": newest_epoch_runs,
    "what has ended runs no more": over_is_over,
    "no resume before the last acknowledged step": never_behind_what_was_saved,
    "a job finds what it had written": restored_as_saved,
    "every visible checkpoint restores": visible_checkpoints_restore,
    "nothing that was acknowledged is lost": saved_is_listed,
    "no stale write is accepted": no_stale_write,
    "every acknowledged job ends, once": every_job_ends,
    "a job ends as it really ended": ends_as_it_ended,
    "no second is billed twice": no_second_twice,
    "only time that ran is billed": only_running_time_is_billed,
    "a bill is the price of its time": bill_is_the_price,
    "no second is left unbilled": no_second_unbilled,
    "lost work is given back": lost_work_is_given_back,
    "the ledger balances": the_books_balance,
    "an outage of ours moves no job": unmoved,
}


def violations(records: Iterable[Record]) -> list[Violation]:
    """Every promise that this history breaks."""
    facts = Facts(records)
    return [Violation(promise, detail) for promise, judge in PROMISES.items() for detail in judge(facts)]


def covered(records: Iterable[Record]) -> str:
    """How much there was to judge, in one line: a verdict on nothing is worth nothing."""
    facts = Facts(records)
    moves = sum(len({run.epoch for run in runs}) - 1 for runs in facts.runs.values())
    reads = sum(record["kind"] == "read" for record in facts.records)
    faults = sum(record["kind"] == "fault" for record in facts.records)
    words = sum(len(run.words) for runs in facts.runs.values() for run in runs)
    return (
        f"{len(facts.accepted)} jobs, {words} words of {sum(map(len, facts.runs.values()))} runs, {moves} moves,"
        f" {faults} faults, {reads} checkpoints read back, {len(facts.rows('ledger_entries'))} ledger entries"
    )


def _pairs(runs: Sequence[Run]) -> Iterator[tuple[Run, Run]]:
    for number, newer in enumerate(runs):
        for older in runs[:number]:
            yield older, newer


def main() -> None:
    """Judge files."""
    broken = 0
    for name in sys.argv[1:]:
        records = list(read(Path(name)))
        found = violations(records)
        broken += len(found)
        print(f"{name}: {covered(records)}")
        for violation in found:
            print(f"  VIOLATED  {violation}")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
