"""The story of a failover, told live: two identical trainings, one of which loses its node, and their results."""

import itertools
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gp4u.api import ApiClient, ApiError
from gp4u.following import follow
from gp4u.sdk import Client, Job
from rich.console import Console
from rich.table import Table
from rich.text import Text

CHECKPOINTS_BEFORE_KILL = 2
PACE_MS = 15
START_TIMEOUT_S = 60.0
_RESULT = re.compile(r"weights sha256 (\w{64})")
_STEP_LINE = re.compile(r"^step (\d+)/", re.MULTILINE)
_PARTS = ("detect_ms", "decide_ms", "restore_ms", "start_ms")


class StoryFailed(Exception):
    """The story took a turn that leaves nothing to measure; the message says which."""


@dataclass(frozen=True)
class Steps:
    """Where the job was around the death of its node.

    Attributes:
        before: the last step that the dead node is known to have made.
        restored: the step of the checkpoint that the new node began with.
        after: the first step of the new node that was reported, and when that was seen.
    """

    before: int
    restored: int
    after: int
    after_at: datetime


@dataclass
class FailoverStory:
    """Runs it as the signed-in renter. `tell` answers the measurements."""

    api: ApiClient
    epochs: int = 40
    quiet: bool = False
    _console: Console = field(init=False)
    _jobs: list[Job] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._console = Console(highlight=False, stderr=self.quiet, quiet=self.quiet)

    def tell(self) -> dict[str, Any]:
        """Answers recovery_ms and its parts, the steps before and after, and whether the results are equal.

        Whatever ends the story early, a Ctrl-C too, ends its jobs: nobody would look after them.
        """
        try:
            return self._tell()
        except BaseException:
            for job in self._jobs:
                with suppress(ApiError):
                    job.stop()
            raise

    def _tell(self) -> dict[str, Any]:
        undisturbed = self._submit("digits-undisturbed")
        job = self._submit("digits-failover")
        self._wait_for_checkpoints(job)
        job.refresh()
        node = str(job.data["placement"]["node_name"])
        known_step = int((job.data["progress"] or {}).get("step", 0))
        killed = self.api.post(f"/demo/nodes/{node}/kill")
        killed_at = datetime.fromisoformat(killed["killed_at"])
        self._say(f"kill -9 of node {node}: agent, shim and job", "bold red")
        steps = self._watch(job, killed_at, known_step)
        undisturbed.wait()
        job.refresh()
        return self._outcome(job, undisturbed, node, killed_at, steps)

    def _submit(self, name: str) -> Job:
        client = Client.__new__(Client)
        client.api = self.api
        job = client.run(
            f"python train.py --epochs {self.epochs} --pace-ms {PACE_MS}",
            name=name,
            files=digits_folder(),
            vram_gb_min=20,
            checkpoint_path="ckpt",
            checkpoint_every_s=5,
        )
        self._jobs.append(job)
        self._say(f"submitted {name} ({job.id})")
        return job

    def _wait_for_checkpoints(self, job: Job) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while job.refresh().data["checkpoints_count"] < CHECKPOINTS_BEFORE_KILL or job.state != "running":
            if job.state in ("done", "failed", "stopped"):
                raise StoryFailed(
                    f"The job ended as {job.state} before its node could be killed: {job.data['detail']}"
                )
            if time.monotonic() > deadline:
                raise StoryFailed(
                    f"The job has no checkpoint after {START_TIMEOUT_S:.0f} s; it is {job.state}."
                )
            time.sleep(0.1)
        placement = job.data["placement"]
        self._say(
            f"{job.data['name']} runs on {placement['node_name']}, checkpoint {job.data['checkpoints_count']} is safe"
        )

    def _watch(self, job: Job, killed_at: datetime, known_step: int) -> Steps:
        """Follow the job to its end; answers its steps around the kill, of which `known_step` was read before it."""
        before, restored = known_step, 0
        first: tuple[int, datetime] | None = None
        resumed = False
        for kind, content in self._updates(job):
            now = datetime.now(UTC)
            if kind == "timeline" and not resumed:
                told = int(content["detail"].get("step") or 0)
                if content["kind"] == "checkpoint":
                    restored = max(restored, told)
                # A node that dies has always got further than what was last read of it.
                before = max(before, told)
            if kind == "timeline" and datetime.fromisoformat(content["at"]) > killed_at:
                took = f"  {content['ms']} ms" if content["ms"] else ""
                self._say(f"{content['title']}{took}", "yellow" if content["kind"] == "node_lost" else None)
                resumed = resumed or content["kind"] == "resumed"
            step = _step_in(kind, content) if resumed else None
            if step is not None and first is None:
                first = step, now
                self._say(f"step {step}: the first one on the new node", "bold green")
        if first is None:
            raise StoryFailed("The job made no step after its node was killed; see `gp4u show last`.")
        return Steps(before=before, restored=restored, after=first[0], after_at=first[1])

    def _updates(self, job: Job) -> Iterator[tuple[str, dict[str, Any]]]:
        for update in follow(self.api, job.id):
            yield update.kind, update.data

    def _outcome(
        self, job: Job, undisturbed: Job, node: str, killed_at: datetime, steps: Steps
    ) -> dict[str, Any]:
        results = [_RESULT.findall(each.log()) for each in (job, undisturbed)]
        server = job.data["placement"]["recovery_ms"] or {}
        recovery_ms = round((steps.after_at - killed_at).total_seconds() * 1000)
        outcome = {
            "recovery_ms": recovery_ms,
            **{part: server.get(part) for part in _PARTS},
            "step_before": steps.before,
            "step_restored": steps.restored,
            "step_after": steps.after,
            "result_equals_undisturbed": bool(results[0]) and results[0][-1:] == results[1][-1:],
            "result": results[0][-1] if results[0] else None,
            "state": job.state,
            "job_id": job.id,
            "from_node": node,
            "to_node": job.data["placement"]["node_name"],
            "epoch": job.data["placement"]["epoch"],
            "checkpoints": job.data["checkpoints_count"],
            "charged_micros": job.data["charged_micros"],
            "refunded_micros": job.data["refunded_micros"],
        }
        self._print(outcome)
        return outcome

    def _print(self, outcome: dict[str, Any]) -> None:
        table = Table(title="Node death to first new step", title_justify="left", box=None, show_header=False)
        rows = itertools.chain(
            [("recovery_ms", outcome["recovery_ms"])], ((part, outcome[part]) for part in _PARTS)
        )
        for name, value in rows:
            table.add_row(name, "-" if value is None else f"{value} ms")
        table.add_row(
            "steps",
            f"{outcome['step_before']} before, back to {outcome['step_restored']}, {outcome['step_after']} first seen after",
        )
        same = outcome["result_equals_undisturbed"]
        table.add_row(
            "result", "identical to the undisturbed run" if same else "DIFFERS from the undisturbed run"
        )
        self._console.print(table)

    def _say(self, what: str, style: str | None = None) -> None:
        since_s = time.monotonic() - self._began
        self._console.print(Text.assemble((f"{since_s:7.2f} s  ", "dim"), (what, style or "")))


def digits_folder() -> Path:
    """The example in the working tree, or the copy inside the installed package. Raises StoryFailed."""
    here = Path(__file__).resolve()
    for folder in (here.parent / "digits", here.parents[5] / "examples" / "digits"):
        if (folder / "train.py").exists():
            return folder
    raise StoryFailed("The example `digits` is not installed.")


def _step_in(kind: str, content: dict[str, Any]) -> int | None:
    if kind == "metrics" and content.get("step") is not None:
        return int(content["step"])
    if kind == "log":
        lines = _STEP_LINE.findall(content.get("text", ""))
        return int(lines[-1]) if lines else None
    return None
