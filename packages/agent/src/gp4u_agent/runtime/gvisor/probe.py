"""What gVisor proved on this machine: the same jobs as `bundle.probe` runs, under runsc."""

import os
import sys

from gp4u_agent.runtime import seccomp
from gp4u_agent.runtime.bundle.probe import TransparentProbe, proven_by_a_dump, proven_by_a_job
from gp4u_agent.runtime.bundle.programs import Missing
from gp4u_agent.runtime.gvisor.adapter import Gvisor
from gp4u_agent.runtime.gvisor.programs import PLATFORM, runsc
from gp4u_agent.runtime.port import Probe


def probe() -> Probe:
    """Run a real job that checks itself. Anything that is missing means: no gVisor here."""
    if why_not := _hindrance():
        return Probe(False, "", why_not)
    isolation = f"gVisor {PLATFORM}+seccomp+user namespace+cgroup cpu memory pids"
    return proven_by_a_job(Gvisor, f"runsc {runsc().version}: {isolation}")


def probe_transparent() -> TransparentProbe:
    """Whether gVisor dumps a job and brings it back here, by doing it."""
    if why_not := _hindrance():
        return TransparentProbe(False, why_not=why_not)
    return proven_by_a_dump(Gvisor, f"gVisor's runsc {runsc().version}")


def _hindrance() -> str:
    if sys.platform != "linux":
        return "gVisor needs Linux"
    if os.geteuid() != 0:
        return "it needs an agent that is root"
    if not seccomp.supported():
        return "no seccomp filter for this processor"
    try:
        runsc()
    except Missing as error:
        return str(error)
    return ""
