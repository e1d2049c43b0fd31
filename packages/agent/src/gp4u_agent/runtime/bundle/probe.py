"""What bundles and dumps proved on this machine: a real job is run, dumped, ended and brought back, and must not miss a step."""

import os
import select
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gp4u_agent.runtime import seccomp
from gp4u_agent.runtime.bundle.adapter import Bundle
from gp4u_agent.runtime.bundle.programs import Missing, criu, runc
from gp4u_agent.runtime.port import Dumping, Limits, Probe, Runtime, StartRefused, Workload
from gp4u_agent.runtime.trial import trial_workload

PROBE_TIMEOUT_S = 20.0
SCRIPT = ": > /job/here && [ ! -e /etc/shadow ] && ! ( : > /usr/x ) 2>/dev/null && echo proven"
COUNTING = 'i=0; while :; do i=$((i+1)); echo "$i"; echo "$i" > /tmp/count; sleep 0.01; done'
PROBE_MEMORY_BYTES = 128 << 20
_STEPS_BEFORE, _STEPS_AFTER = 5, 5


class WholeRuntime(Runtime, Dumping, Protocol):
    """A runtime that dumps whole jobs."""


@dataclass(frozen=True)
class TransparentProbe:
    """Whether whole jobs can be dumped and brought back here. `by`: with what, for example "criu 4.2.1 by runc 1.1.5"."""

    works: bool
    by: str = ""
    why_not: str = ""


def probe() -> Probe:
    """Run a real bundle that checks itself. Anything that is missing means: no bundles here."""
    if sys.platform != "linux":
        return Probe(False, "", "bundles need Linux")
    if os.geteuid() != 0:
        return Probe(False, "", "bundles need an agent that is root")
    if not seccomp.supported():
        return Probe(False, "", "no seccomp filter for this processor")
    try:
        program = runc()
    except Missing as error:
        return Probe(False, "", str(error))
    return proven_by_a_job(Bundle, f"runc {program.version}+seccomp+user namespace+cgroup cpu memory pids")


def proven_by_a_job(make: Callable[[], WholeRuntime], proven: str) -> Probe:
    """Run a job that looks around: `proven` says what it then proved."""
    try:
        with _job(make, SCRIPT) as (job, workload):
            job.runtime.start(workload, job.write_end)
            said = job.read_until(lambda text: "proven" in text)
    except (Missing, StartRefused, OSError) as error:
        return Probe(False, "", str(error))
    if "proven" not in said:
        return Probe(False, "", said.strip() or "the probe inside the bundle failed")
    return Probe(True, proven)


def probe_transparent() -> TransparentProbe:
    """Whether runc and CRIU do it here, by doing it."""
    try:
        runner, dumper = runc(), criu()
    except Missing as error:
        return TransparentProbe(False, why_not=str(error))
    if os.geteuid() != 0:
        return TransparentProbe(False, why_not="it needs an agent that is root")
    return proven_by_a_dump(Bundle, f"criu {dumper.version} by runc {runner.version}")


def proven_by_a_dump(make: Callable[[], WholeRuntime], by: str) -> TransparentProbe:
    """Dump a job that counts, end it, bring it back from the files alone, and see that it counts on where it stood."""
    try:
        with tempfile.TemporaryDirectory(prefix="gp4u-probe-dump-") as folder:
            why_not = _there_and_back(make, Path(folder, "dump"))
    except (Missing, StartRefused, OSError) as error:
        why_not = str(error)
    return TransparentProbe(not why_not, by, why_not)


def _there_and_back(make: Callable[[], WholeRuntime], dump: Path) -> str:
    """Why it does not work; empty: it does."""
    with _job(make, COUNTING) as (job, workload):
        job.runtime.start(workload, job.write_end)
        before = job.read_until(lambda text: text.count("\n") >= _STEPS_BEFORE)
        job.runtime.begin_dump(dump)
        deadline = time.monotonic() + PROBE_TIMEOUT_S
        while (result := job.runtime.poll_dump()) is None:
            if time.monotonic() > deadline:
                return "the dump does not come to an end"
            before += job.read(0.01)
        if result.why_not:
            return result.why_not
        job.runtime.kill()
        before += job.read(0.0)
    with _job(make, COUNTING) as (job, workload):
        job.runtime.restore(workload, dump, job.write_end)
        if job.read(0.05):
            return "the restored job ran before it was told to"
        job.runtime.thaw()
        after = job.read_until(lambda text: text.count("\n") >= _STEPS_AFTER)
    first = after.split("\n", 1)[0]
    if not first.isdigit() or first not in _following(before):
        return f"the restored job went on with {first!r} after {before.split()[-1:]}"
    return ""


def _following(before: str) -> set[str]:
    """What the restored job may say first: the step after any that the dumped one said. It may have gone on after the dump."""
    return {str(int(step) + 1) for step in before.split() if step.isdigit()}


class _Job:
    """A bundle and the pipe of its output."""

    def __init__(self, make: Callable[[], WholeRuntime]) -> None:
        self.runtime = make()
        self.read_end, self.write_end = os.pipe()
        os.set_blocking(self.read_end, False)

    def read(self, within_s: float) -> str:
        """What came, if anything did in time."""
        if not select.select([self.read_end], [], [], within_s)[0]:
            return ""
        return os.read(self.read_end, 1 << 16).decode("utf-8", "replace")

    def read_until(self, enough: Callable[[str], bool]) -> str:
        """Everything until it is enough, or the job has ended, or the time is over."""
        said = ""
        deadline = time.monotonic() + PROBE_TIMEOUT_S
        while not enough(said) and time.monotonic() < deadline:
            ended = self.runtime.poll() is not None
            said += self.read(0.02)
            if ended:
                break
        return said


@contextmanager
def _job(make: Callable[[], WholeRuntime], command: str) -> Iterator[tuple[_Job, Workload]]:
    limits = Limits(memory_bytes=PROBE_MEMORY_BYTES, disk_bytes=16 << 20, cpus=1, pids_max=32)
    with trial_workload(command, limits) as workload:
        job = _Job(make)
        try:
            yield job, workload
        finally:
            job.runtime.kill()
            job.runtime.clean_up()
            os.close(job.read_end)
            os.close(job.write_end)
