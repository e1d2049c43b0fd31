"""From a node's death to its job's next step, by phase: nodes are killed for real, again and again, while others work on.

Several jobs are hunted side by side, each on its own: what is not measured of a round (the next checkpoint, the start of the killed
node) passes while others are measured. What was measured survives Ctrl-C, and with a file it survives everything.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
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
    "step_seen": "  running → first new step seen",
}
RECOVERED_WITHIN_S = 180
FAILURES_MAX = 10
"""Rounds without an end (the job did not come back, a call failed) after which the measurement is given up."""
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


class Kills:
    """What each kill took, in milliseconds by phase, gathered by several workers; kept in `file` as it grows."""

    def __init__(self, wanted: int, key: str, file: Path | None = None) -> None:
        self.wanted = wanted
        self.failures: list[str] = []
        self.stopped = threading.Event()
        self._key = key
        self._file = file
        self._lock = threading.Lock()
        self._kept: dict[str, list[dict[str, float]]] = (
            json.loads(file.read_text()) if file is not None and file.exists() else {}
        )
        self.took = self._kept.setdefault(key, [])
        self._tickets = len(self.took)
        self._before = len(self.took)
        self._began = time.monotonic()

    def ticket(self) -> bool:
        """Whether one more kill is wanted; it is counted as begun."""
        with self._lock:
            if self.stopped.is_set() or self._tickets >= self.wanted:
                return False
            self._tickets += 1
            return True

    def add(self, took: dict[str, float]) -> None:
        """Keep one and say how it stands."""
        with self._lock:
            self.took.append(took)
            if self._file is not None:
                beside = self._file.with_suffix(".tmp")
                beside.write_text(json.dumps(self._kept))
                beside.replace(self._file)
            done = len(self.took)
            each_s = (time.monotonic() - self._began) / (done - self._before)
        phases = ", ".join(f"{name.removesuffix('_ms')} {value:,.0f}" for name, value in took.items())
        left = f"{each_s:.1f} s each, {(self.wanted - done) * each_s / 60:.0f} min left"
        print(f"    kill {done}/{self.wanted}: {phases} ms; {left}", flush=True)

    def fail(self, what: str) -> None:
        """A round without an end; another is wanted instead."""
        with self._lock:
            self.failures.append(what)
            self._tickets -= 1
            print(f"    a round that did not end well ({len(self.failures)}): {what}", flush=True)
            if len(self.failures) >= FAILURES_MAX:
                self.stopped.set()


@dataclass(frozen=True)
class Starter:
    """Starts killed nodes again, in a thread of its own and under a sign-in of its own."""

    admin: Client
    thread: ThreadPoolExecutor

    @classmethod
    @contextmanager
    def ready(cls, marketplace: Marketplace) -> Iterator["Starter"]:
        """At the end every killed node was told to start."""
        with ThreadPoolExecutor(1) as thread:
            yield cls(marketplace.client("admin"), thread)

    def start(self, node: str) -> None:
        """Soon: end the quarantine that a node gets for dying often, and start its agent."""
        self.thread.submit(self.admin.api.post, f"/demo/nodes/{node}/revive")


@dataclass(frozen=True)
class Hunter:
    """Kills the nodes of one job after another and waits for the job elsewhere."""

    admin: Client
    starter: Starter

    def kill_once(self, job: Job, before_kill: Callable[[Job], None]) -> dict[str, float]:
        """Wait for a checkpoint of this placement, kill its node, wait for a new step; milliseconds by phase."""
        saved = job.refresh().data["checkpoints_count"]
        eventually(
            lambda: job.refresh().data["checkpoints_count"] > saved and job.state == "running",
            within_s=CHECKPOINT_WITHIN_S,
            what=f"a checkpoint of this placement\n{story(job)}",
        )
        before_kill(job)
        placement = job.refresh().data["placement"]
        node = placement["node_name"]
        killed = self.admin.api.post(f"/demo/nodes/{node}/kill")
        killed_at = datetime.fromisoformat(killed["killed_at"])
        try:
            running_at, step_at = first_new_step(job, placement["epoch"])
        finally:
            self.starter.start(node)
        recovery = job.refresh().data["placement"]["recovery_ms"] or {}
        return {
            "first_step": (step_at - killed_at).total_seconds() * 1000,
            "running": (running_at - killed_at).total_seconds() * 1000,
            # The silence that is noticed begins with the last beat, up to a second before the kill.
            "after_detection": recovery.get("recovery_ms", 0) - recovery.get("detect_ms", 0),
            "step_seen": (step_at - running_at).total_seconds() * 1000,
            **{phase: recovery.get(phase, 0) for phase in PHASES if phase.endswith("_ms")},
        }


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
    file: Path | None = None,
) -> None:
    """Kill the nodes of `at_once` running jobs again and again, while another job runs beside them undisturbed.

    `file` keeps what each kill took: a second run with it goes on where the first was stopped. On Ctrl-C the rounds that have begun
    end, what was measured is reported, and KeyboardInterrupt goes on.
    """
    counted = Kills(kills, key, file)
    if len(counted.took) < kills:
        _hunt(counted, marketplace, load, at_once=at_once, before_kill=before_kill, beside=beside)
    if counted.took:
        _report(report, counted, key=key, what=what, aims=aims)
    if counted.stopped.is_set():
        if len(counted.failures) >= FAILURES_MAX:
            raise SystemExit(f"{FAILURES_MAX} rounds did not end well; the last: {counted.failures[-1]}")
        raise KeyboardInterrupt


def _hunt(
    counted: Kills, marketplace: Marketplace, load: Load, *, at_once: int, before_kill: Callable[[Job], None], beside: bool
) -> None:  # fmt: skip
    witness = load.start(marketplace.client()) if beside else None

    def work(starter: Starter) -> None:
        hunter = Hunter(marketplace.client("admin"), starter)
        renter = marketplace.client()
        job = load.start(renter)
        while counted.ticket():
            try:
                counted.add(hunter.kill_once(job, before_kill))
            except Exception as trouble:
                counted.fail(f"{type(trouble).__name__}: {trouble}")
                job.refresh().stop()
                job = load.start(renter)
        job.refresh().stop()

    with Starter.ready(marketplace) as starter, ThreadPoolExecutor(at_once) as pool:
        workers = [pool.submit(work, starter) for _ in range(at_once)]
        try:
            for worker in workers:
                worker.result()
        except KeyboardInterrupt:
            counted.stopped.set()
            print("    stopping: the rounds that have begun end first", flush=True)
    if witness is not None:
        if witness.refresh().data["placement"]["epoch"] != 1 and at_once == 1:
            print(f"    the witness moved, too:\n{story(witness)}", flush=True)
        witness.stop()


def _report(report: Report, counted: Kills, *, key: str, what: str, aims: dict[str, str]) -> None:
    done = len(counted.took)
    label = what if done == counted.wanted else f"{what}; stopped after {done}"
    if counted.failures:
        label += f"; {len(counted.failures)} rounds did not end well"
    report.values[f"{key}_failures"] = counted.failures
    for name in PHASES:
        values = [took[name] for took in counted.took]
        summary = {"p50": percentile(values, 0.5), "p99": percentile(values, 0.99), "max": max(values)}
        report.add(
            f"{key}_{name}",
            {each: round(value) for each, value in summary.items()},
            ", ".join(f"{each} {value:,.0f} ms" for each, value in summary.items()),
            f"{PHASES[name]} ({label})" if name == "first_step" else PHASES[name],
            aims.get(name, ""),
        )


def first_new_step(job: Job, lost_epoch: int) -> tuple[datetime, datetime]:
    """When the job ran again by the server's record, and when its first step after that was seen.

    Steps travel with the beats, one a second, so the second instant is late by up to a second.
    """
    running_at = None
    deadline = time.monotonic() + RECOVERED_WITHIN_S
    for update in job.updates():
        if (
            update.kind == "timeline"
            and update.data["kind"] == "resumed"
            and update.data["epoch"] > lost_epoch
        ):
            running_at = datetime.fromisoformat(update.data["at"])
        elif running_at and update.kind == "metrics" and update.data.get("step") is not None:
            return running_at, datetime.now(UTC)
        if time.monotonic() > deadline:
            raise AssertionError(f"not running again within {RECOVERED_WITHIN_S} s:\n{story(job)}")
    raise AssertionError(f"The job ended before it ran again:\n{story(job)}")
