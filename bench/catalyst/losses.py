"""What a job loses per failure with `every: auto` beside a fixed interval of ten minutes.

The cost of a checkpoint is measured in this run, with the agent's own engine; the interval comes from the function that the
agent uses. Failures are drawn (exponential, one seed), thousands of them, which no machine could be killed for.
"""

import json
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from gp4u_protocol.checkpoint.interval import advised_interval_s

from bench.measuring import Report

ROOT = Path(__file__).resolve().parents[2]
FIXED_S = 600.0
FAILURES = 20_000
HOURS_BETWEEN_FAILURES = (2, 10, 100, 1000)
"""From an unsteady home machine to a data centre."""
MADE_PER_S = 1 << 20
"""Bytes of results that the job is taken to make a second: 1 MiB."""


@dataclass(frozen=True)
class Outcome:
    """Of one rule, over many failures."""

    lost_s: float
    """Mean seconds of work lost per failure."""
    overhead: float
    """Share of all time that went into checkpoints and lost work."""


def play(interval_s: float, cost_s: float, mean_s: float, seed: int = 11) -> Outcome:
    """A job that saves every `interval_s` (each costs `cost_s`, and counts from its beginning) until its node fails, again and again.

    Work done while a checkpoint is written is in the next one. Lost is what came after the beginning of the last finished one.
    """
    chance = random.Random(seed)
    lost = saving = total = 0.0
    for _ in range(FAILURES):
        alive_s = chance.expovariate(1 / mean_s)
        finished = max(0, int((alive_s - cost_s) // (interval_s + cost_s)))
        last_begun = (finished - 1) * (interval_s + cost_s) + interval_s if finished else 0.0
        lost += alive_s - last_begun
        saving += finished * cost_s
        total += alive_s
    return Outcome(lost / FAILURES, (lost + saving) / total)


def checkpoint_cost_s(size_mib: int) -> float:
    """Seconds of a checkpoint of this size with a twentieth of it changed, measured now."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.checkpoints", "--size-mb", str(size_mib), "--json", "--alone"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    measured = json.loads(done.stdout[done.stdout.index("{") :])
    return float(size_mib * (1 << 20) / 1e6 / measured["ours"]["changed_mb_s"])


def measure_losses(report: Report, size_mib: int) -> None:
    """One row per hazard."""
    cost_s = checkpoint_cost_s(size_mib)
    report.add(
        "auto_cost_s",
        round(cost_s, 3),
        f"{cost_s * 1000:,.0f} ms",
        f"a checkpoint of {size_mib} MiB, 5 % changed",
    )
    for hours in HOURS_BETWEEN_FAILURES:
        interval_s = advised_interval_s(cost_s, 1 / hours)
        auto, fixed = play(interval_s, cost_s, hours * 3600), play(FIXED_S, cost_s, hours * 3600)
        report.add(
            f"auto_{hours}h",
            {
                "interval_s": round(interval_s, 1),
                "auto_lost_bytes": round(auto.lost_s * MADE_PER_S),
                "fixed_lost_bytes": round(fixed.lost_s * MADE_PER_S),
                "auto_overhead": round(auto.overhead, 6),
                "fixed_overhead": round(fixed.overhead, 6),
            },
            f"{auto.lost_s * MADE_PER_S / 1e6:,.1f} MB beside {fixed.lost_s * MADE_PER_S / 1e6:,.1f} MB "
            f"({fixed.lost_s / auto.lost_s:.0f}x); lost and saving together {auto.overhead:.3%} beside {fixed.overhead:.3%} of all time",
            f"lost per failure, a failure in {hours} h, auto ({interval_s:.0f} s) beside every 10 min",
        )
