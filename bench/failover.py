"""From a node's death to its job's next step, by phase: nodes are killed for real, again and again, while others work on."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gp4u.sdk import Client, Job

from bench.measuring import Report, percentile
from tests.stack.marketplace import Marketplace, eventually, story, wait_for_state

PHASES = {
    "first_step": "node death → first new step seen",
    "running": "  node death → running again",
    "detect_ms": "    detect",
    "after_detection": "    all that comes after the detection",
    "decide_ms": "    decide",
    "restore_ms": "    restore",
    "start_ms": "    start",
}
CHECKPOINT_WITHIN_S = 120


@dataclass(frozen=True)
class Load:
    """The job whose nodes are killed."""

    command: str
    files: Path
    checkpoint_path: str
    options: dict[str, Any] = field(default_factory=dict)

    def start(self, renter: Client) -> Job:
        """Submit it and return when it runs."""
        job = renter.run(
            self.command,
            name="load",
            files=self.files,
            checkpoint_path=self.checkpoint_path,
            checkpoint_every_s=5,
            **self.options,
        )
        return wait_for_state(job, "running", within_s=120)


@dataclass
class Kills:
    """What each kill took, in milliseconds by phase, gathered by several workers."""

    took: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in PHASES})
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, took: dict[str, float]) -> int:
        """Keep one; returns how many there are."""
        with self.lock:
            for name, value in took.items():
                self.took[name].append(value)
            return len(self.took["running"])


def measure_failover(
    report: Report,
    marketplace: Marketplace,
    load: Load,
    *,
    kills: int,
    key: str,
    what: str,
    aims: dict[str, str],
    at_once: int = 1,
    before_kill: Callable[[Job], None] = lambda _: None,
    beside: bool = True,
) -> None:
    """Kill the nodes of `at_once` running jobs again and again, while another job runs beside them undisturbed."""
    renter = marketplace.client()
    counted = Kills()
    witness = load.start(renter) if beside else None
    jobs = [load.start(renter) for _ in range(at_once)]
    share = [kills // at_once + (number < kills % at_once) for number in range(at_once)]

    def work(job: Job, count: int) -> None:
        own = marketplace.client()
        mine = own.job(job.id)
        for _ in range(count):
            took = kill_once(marketplace, mine, before_kill)
            number = counted.add(took)
            phases = ", ".join(f"{name} {value:,.0f}" for name, value in took.items())
            print(f"    kill {number}/{kills}: {phases}", flush=True)

    with ThreadPoolExecutor(at_once) as pool:
        for outcome in [pool.submit(work, job, count) for job, count in zip(jobs, share, strict=True)]:
            outcome.result()
    if witness is not None and witness.refresh().data["placement"]["epoch"] != 1 and at_once == 1:
        print(f"    the witness moved, too:\n{story(witness)}", flush=True)
    for job in (*jobs, *([witness] if witness else [])):
        job.refresh().stop()
    for name, values in counted.took.items():
        summary = {"p50": percentile(values, 0.5), "p99": percentile(values, 0.99), "max": max(values)}
        report.add(
            f"{key}_{name}",
            {each: round(value) for each, value in summary.items()},
            ", ".join(f"{each} {value:,.0f} ms" for each, value in summary.items()),
            f"{PHASES[name]} ({what})" if name == "first_step" else PHASES[name],
            aims.get(name, ""),
        )


def kill_once(
    marketplace: Marketplace, job: Job, before_kill: Callable[[Job], None] = lambda _: None
) -> dict[str, float]:
    """Wait for a checkpoint of this placement, kill its node, wait for a new step; milliseconds by phase."""
    saved = job.refresh().data["checkpoints_count"]
    eventually(
        lambda: job.refresh().data["checkpoints_count"] > saved and job.state == "running",
        within_s=CHECKPOINT_WITHIN_S,
        what=f"a checkpoint of this placement\n{story(job)}",
    )
    before_kill(job)
    placement = job.refresh().data["placement"]
    name = placement["node_name"]
    killed = marketplace.demo(f"/nodes/{name}/kill")
    killed_at = datetime.fromisoformat(killed["killed_at"])
    running_at, step_at = first_new_step(job, placement["epoch"])
    recovery = job.refresh().data["placement"]["recovery_ms"] or {}
    marketplace.demo(f"/nodes/{name}/revive")
    return {
        "first_step": (step_at - killed_at).total_seconds() * 1000,
        "running": (running_at - killed_at).total_seconds() * 1000,
        # The silence that is noticed begins with the last beat, up to a second before the kill.
        "after_detection": recovery.get("recovery_ms", 0) - recovery.get("detect_ms", 0),
        **{phase: recovery.get(phase, 0) for phase in PHASES if phase.endswith("_ms")},
    }


def first_new_step(job: Job, lost_epoch: int) -> tuple[datetime, datetime]:
    """When the job ran again by the server's record, and when its first step after that was seen.

    Steps travel with the beats, one a second, so the second instant is late by up to a second.
    """
    running_at = None
    for update in job.updates():
        if (
            update.kind == "timeline"
            and update.data["kind"] == "resumed"
            and update.data["epoch"] > lost_epoch
        ):
            running_at = datetime.fromisoformat(update.data["at"])
        elif running_at and update.kind == "metrics" and update.data.get("step") is not None:
            return running_at, datetime.now(UTC)
    raise SystemExit(f"The job ended before it ran again:\n{story(job)}")
