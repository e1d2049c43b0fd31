"""The rig's checker complains about each promise that a forged history breaks, and about nothing in an honest one."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.rig.checker import PROMISES, covered, violations

Record = dict[str, Any]
BASE = 1_000_000.0  # the database's clock is another one than the witness's


def word(at: float, what: str, *, epoch: int = 1, run: str = "r1", host: str = "b", **more: Any) -> Record:
    return {
        "at": at,
        "kind": "run",
        "what": what,
        "job": "j",
        "epoch": epoch,
        "run": run,
        "host": host,
        **more,
    }


def entry(transfer: str, account: str, version: int, amount: int, after: int) -> dict[str, Any]:
    return {
        "transfer_id": transfer,
        "account": account,
        "currency": "USD",
        "version": version,
        "amount_micros": amount,
        "balance_after_micros": after,
    }


def honest() -> list[Record]:
    """A job that ran on b1, was lost at step 4, went on from step 3 on c1, and came to its end."""
    words = [word(10.0, "began", step=0)]
    words += [word(10.0 + step, "step", step=step) for step in range(1, 5)]
    words += [word(13.1, "asked", step=3), word(13.2, "acknowledged", step=3)]
    second = {"epoch": 2, "run": "r2", "host": "c"}
    words += [word(25.0, "began", step=3, **second)]
    words += [word(25.0 + step, "step", step=3 + step, **second) for step in range(1, 4)]
    words += [word(28.1, "acknowledged", step=6, **second), word(28.2, "finished", step=6, **second)]
    tables = {
        "jobs": [{"id": "j", "name": "count-s", "state": "done", "reason": None, "epoch": 2}],
        "placements": [
            {
                "job_id": "j",
                "epoch": 1,
                "node_name": "b1",
                "outcome": "lost",
                "created_at": BASE + 9,
                "ended_at": BASE + 20,
            },
            {
                "job_id": "j",
                "epoch": 2,
                "node_name": "c1",
                "outcome": "done",
                "created_at": BASE + 21,
                "ended_at": BASE + 29,
            },
        ],
        "checkpoints": [
            {"id": "cp1", "job_id": "j", "epoch": 1, "seq": 1, "step": 3, "committed_at": BASE + 13.15},
            {"id": "cp2", "job_id": "j", "epoch": 2, "seq": 2, "step": 6, "committed_at": BASE + 28.05},
        ],
        "usage_intervals": [
            {
                "job_id": "j",
                "epoch": 1,
                "seq": 1,
                "booking_id": "k1",
                "started_at": BASE + 10,
                "ended_at": BASE + 15,
            },
            {
                "job_id": "j",
                "epoch": 2,
                "seq": 1,
                "booking_id": "k2",
                "started_at": BASE + 25,
                "ended_at": BASE + 28.5,
            },
        ],
        "meters": [
            {
                "booking_id": booking,
                "job_id": "j",
                "epoch": epoch,
                "rate_per_hour_micros": 3_600_000,
                "charged_micros": charged,
                "refunded_micros": refunded,
                "settled_at": BASE + 30,
            }
            for booking, epoch, charged, refunded in (("k1", 1, 5_000, 2_000), ("k2", 2, 3_500, 0))
        ],
        "ledger_transfers": [{"id": "t1", "key": "fund"}, {"id": "t2", "key": "charge:k1"}],
        "ledger_entries": [
            entry("t1", "world:sandbox", 1, -10_000, -10_000),
            entry("t1", "wallet:u", 1, 10_000, 10_000),
            entry("t2", "wallet:u", 2, -6_500, 3_500),
            entry("t2", "earnings:o", 1, 6_500, 6_500),
        ],
        "ledger_accounts": [
            {"name": "world:sandbox", "currency": "USD", "balance_micros": -10_000},
            {"name": "wallet:u", "currency": "USD", "balance_micros": 3_500},
            {"name": "earnings:o", "currency": "USD", "balance_micros": 6_500},
            {"name": "hold:k1", "currency": "USD", "balance_micros": 0},
        ],
    }
    return [
        {"at": 9.0, "kind": "told", "what": "accepted", "job": "j", "seed": "s", "steps": 6},
        *words,
        {"at": 14.5, "kind": "fault", "what": "power", "target": "b1"},
        {"at": 29.0, "kind": "told", "what": "state", "job": "j", "state": "done", "reason": None},
        {"at": 30.0, "kind": "read", "job": "j", "checkpoint": "cp1", "step": 3, "ok": True, "detail": None},
        {"at": 30.1, "kind": "read", "job": "j", "checkpoint": "cp2", "step": 6, "ok": True, "detail": None},
        {"at": 31.0, "kind": "database", "tables": tables},
    ]


def rows(history: list[Record], table: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = history[-1]["tables"][table]
    return found


Forgery = Callable[[list[Record]], object]
FORGERIES: list[tuple[str, str, Forgery]] = [
    ("the old run speaks on", "one run of a job at a time", lambda h: h.append(word(26.5, "step", step=5))),
    (
        "two runs of one epoch",
        "one run of a job at a time",
        lambda h: h.extend([word(12.5, "began", step=0, run="r9"), word(13.5, "step", step=1, run="r9")]),
    ),
    (
        "an old epoch starts late",
        "only the newest epoch starts",
        lambda h: h.append(word(28.5, "began", step=6, epoch=1, run="r3")),
    ),
    (
        "it runs on after its end",
        "what has ended runs no more",
        lambda h: h.append(word(29.5, "step", step=7, epoch=2, run="r2")),
    ),
    (
        "it resumes from the beginning",
        "no resume before the last acknowledged step",
        lambda h: next(r for r in h if r.get("run") == "r2" and r["what"] == "began").update(step=2),
    ),
    (
        "the job finds other bytes",
        "a job finds what it had written",
        lambda h: h.append(word(24.9, "damaged", step=3, epoch=2, run="r2", detail="state.bin")),
    ),
    (
        "a checkpoint does not restore",
        "every visible checkpoint restores",
        lambda h: next(r for r in h if r["kind"] == "read").update(ok=False, detail="pack missing"),
    ),
    (
        "the newest checkpoint vanished",
        "nothing that was acknowledged is lost",
        lambda h: h.remove(next(r for r in h if r.get("checkpoint") == "cp2")),
    ),
    (
        "a checkpoint of the old epoch after the move",
        "no stale write is accepted",
        lambda h: rows(h, "checkpoints")[0].update(committed_at=BASE + 22),
    ),
    (
        "placed beside a live placement",
        "no stale write is accepted",
        lambda h: rows(h, "placements")[0].update(ended_at=BASE + 22),
    ),
    (
        "one epoch twice",
        "no stale write is accepted",
        lambda h: rows(h, "placements")[1].update(epoch=1),
    ),
    ("the job is gone", "every acknowledged job ends, once", lambda h: rows(h, "jobs").clear()),
    (
        "the job never ends",
        "every acknowledged job ends, once",
        lambda h: rows(h, "jobs")[0].update(state="recovering"),
    ),
    (
        "a repeated request made two jobs",
        "every acknowledged job ends, once",
        lambda h: rows(h, "jobs").append({**rows(h, "jobs")[0], "id": "j2"}),
    ),
    (
        "done without having finished",
        "a job ends as it really ended",
        lambda h: h.remove(next(r for r in h if r.get("what") == "finished")),
    ),
    (
        "stopped, and nobody asked",
        "a job ends as it really ended",
        lambda h: rows(h, "jobs")[0].update(state="stopped"),
    ),
    (
        "failed although it never does",
        "a job ends as it really ended",
        lambda h: rows(h, "jobs")[0].update(state="failed"),
    ),
    (
        "intervals overlap",
        "no second is billed twice",
        lambda h: rows(h, "usage_intervals")[1].update(started_at=BASE + 14),
    ),
    (
        "an interval stays open",
        "no second is billed twice",
        lambda h: rows(h, "usage_intervals")[1].update(ended_at=None),
    ),
    (
        "time is billed that nothing ran in",
        "only time that ran is billed",
        lambda h: rows(h, "usage_intervals")[1].update(ended_at=BASE + 90),
    ),
    (
        "a charge above the price",
        "a bill is the price of its time",
        lambda h: rows(h, "meters")[1].update(charged_micros=7_000),
    ),
    (
        "a second that nobody pays for",
        "no second is left unbilled",
        lambda h: rows(h, "meters")[1].update(charged_micros=3_000),
    ),
    (
        "nothing is given back of a lost run",
        "lost work is given back",
        lambda h: (
            rows(h, "usage_intervals")[0].update(ended_at=BASE + 19),
            rows(h, "meters")[0].update(charged_micros=9_000, refunded_micros=0),
        ),
    ),
    (
        "a transfer loses money",
        "the ledger balances",
        lambda h: rows(h, "ledger_entries")[3].update(amount_micros=6_000, balance_after_micros=6_000),
    ),
    (
        "an account forgets an entry",
        "the ledger balances",
        lambda h: rows(h, "ledger_accounts")[1].update(balance_micros=10_000),
    ),
    (
        "one charge twice",
        "the ledger balances",
        lambda h: rows(h, "ledger_transfers").append({"id": "t3", "key": "charge:k1"}),
    ),
    (
        "a settled booking still holds money",
        "the ledger balances",
        lambda h: rows(h, "ledger_accounts")[3].update(balance_micros=5),
    ),
    (
        "a job moved although only we were away",
        "an outage of ours moves no job",
        lambda h: h.append(
            {"at": 9.5, "kind": "note", "what": "must_not_move", "job": "j", "why": "database away"}
        ),
    ),
]


def test_an_honest_history_breaks_no_promise() -> None:
    assert violations(honest()) == []
    assert (
        covered(honest())
        == "1 jobs, 13 words of 2 runs, 1 moves, 1 faults, 2 checkpoints read back, 4 ledger entries"
    )


@pytest.mark.parametrize(
    ("promise", "forge"), [case[1:] for case in FORGERIES], ids=[case[0] for case in FORGERIES]
)
def test_a_forged_history_is_found_out(promise: str, forge: Forgery) -> None:
    history = copy.deepcopy(honest())
    forge(history)
    assert promise in {violation.promise for violation in violations(history)}


def test_every_promise_has_a_forgery() -> None:
    assert {promise for _, promise, _ in FORGERIES} == set(PROMISES)


def test_a_machine_that_woke_is_excused_for_a_moment_only() -> None:
    wakes = {"at": 26.0, "kind": "fault", "what": "machine_wakes", "target": "b1"}
    soon = [*honest(), wakes, word(26.5, "step", step=5)]
    assert violations(soon) == []
    assert violations([*soon, word(28.3, "step", step=6)])
    assert violations([*honest(), {**wakes, "target": "c2"}, word(26.5, "step", step=5)])


def test_a_restored_backup_takes_back_what_was_acknowledged_after_it() -> None:
    history = honest()
    for record in history:
        if record.get("run") == "r2" and record["what"] == "began":
            record["step"] = 0
    restored = {
        "at": 20.0,
        "kind": "fault",
        "what": "database_restored",
        "target": "postgres",
        "backup_at": 13.0,
    }
    assert violations([*history, restored]) == []
    assert violations([*history, {**restored, "backup_at": 13.5}])


def test_bytes_that_were_damaged_on_purpose_are_judged_by_their_scenario() -> None:
    history = honest()
    history.remove(next(record for record in history if record.get("checkpoint") == "cp2"))
    assert violations(history)
    damage = {"at": 20.0, "kind": "fault", "what": "store_damaged", "target": "a pack", "job": "j"}
    assert violations([*history, damage]) == []
