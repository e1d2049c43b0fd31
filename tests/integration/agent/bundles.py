"""Whether bundles, and dumps of whole jobs, can be tested on this machine, and why not."""

import functools
import os
import shutil

from gp4u_agent.runtime.bundle.programs import Missing, criu, runc
from gp4u_agent.runtime.gvisor.programs import runsc


@functools.cache
def no_bundles_here() -> str:
    """Why not; empty: they can. Where runc is here and we are root, a probe that fails is our bug and no reason to skip."""
    if os.geteuid() != 0:
        return "bundles need root"
    try:
        runc()
    except Missing as error:
        return f"no bundles here: {error}"
    return ""


@functools.cache
def no_dumps_here() -> str:
    """Why not; empty: they can. GP4U_CRIU may name a criu that is not the machine's."""
    if why_not := no_bundles_here():
        return why_not
    try:
        criu()
    except Missing as error:
        return f"no dumps here: {error}"
    return "" if shutil.which("tar") else "no dumps here: tar is not installed"


@functools.cache
def no_gvisor_here() -> str:
    """Why not; empty: it can. GP4U_RUNSC may name a runsc that is not the machine's."""
    if os.geteuid() != 0:
        return "gVisor's bundles need root"
    try:
        runsc()
    except Missing as error:
        return f"no gVisor here: {error}"
    return ""
