"""What only the sandbox has: limits with and without control groups, and its probe."""

import pytest
from gp4u_agent.runtime import sandbox
from gp4u_agent.runtime.sandbox import Sandbox

from tests.integration.agent.conftest import NAMESPACES_WORK, PROBE
from tests.integration.agent.runtimes import LIMITS, running

pytestmark = pytest.mark.skipif(
    not NAMESPACES_WORK, reason=f"the sandbox does not work here: {PROBE.why_not}"
)


def test_limits_are_read_back_from_the_kernel() -> None:
    with running(Sandbox(), "sleep 60") as (runtime, _, _):
        applied = runtime.applied()
    assert applied["rlimit.file size"] == str(LIMITS.disk_bytes)
    assert applied["rlimit.core file size"] == "0"
    if "memory" in PROBE.proven:
        assert applied["cgroup.memory"] == str(LIMITS.memory_bytes)
        assert applied["cgroup.pids"] == "100"


def test_without_cgroups_the_resource_limits_bound_it() -> None:
    with running(Sandbox(use_cgroups=False), "sleep 60") as (runtime, _, _):
        applied = runtime.applied()
    assert applied["rlimit.processes"] == "100"
    assert applied["rlimit.address space"] != "unlimited"


def test_the_probe_says_what_it_proved() -> None:
    proven = sandbox.probe()
    assert proven.works
    assert proven.proven.startswith("bubblewrap+seccomp")


def test_the_probe_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "bwrap_path", lambda: "/bin/false")
    proven = sandbox.probe()
    assert not proven.works
    assert "could not be set up" in proven.why_not
