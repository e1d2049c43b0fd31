"""Failing GPUs of the demo: written beside a simulated node's agent, which does as if they were so.

Only the simulation reads this file (`gp4u_agent.telemetry.simulated`); a real GPU cannot be made to fail from here.
"""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from gp4u_server.kit.ids import new_id

FILE = "simulated_faults.json"
FAULTS_MAX = 100
KINDS = {
    "xid": ("xid", 79),  # the GPU falls off the bus
    "ecc": ("ecc", 0),  # a memory error that cannot be corrected
    "hot": ("hot", 0),  # too hot, until it is repaired
    "job_error": ("xid", 31),  # an error of the job's own: nothing may come of it
}


def add_fault(state: Path, kind: str, *, device: int, code: int | None) -> None:
    """From now on (or once, for an XID) GPU number `device` of the node behind this state folder does this."""
    what, usual = KINDS[kind]
    faults = [*_faults(state), {"id": new_id("flt"), "kind": what, "device": device, "code": code or usual}]
    _write(state, faults[-FAULTS_MAX:])


def clear_faults(state: Path) -> bool:
    """All its GPUs are as new. Answers whether any was not."""
    had = bool(_faults(state))
    if had:
        _write(state, [])
    return had


def _faults(state: Path) -> list[dict[str, Any]]:
    with suppress(OSError, ValueError, KeyError):
        return list(json.loads((state / FILE).read_text())["faults"])
    return []


def _write(state: Path, faults: list[dict[str, Any]]) -> None:
    temporary = state / f".{FILE}"
    temporary.write_text(json.dumps({"faults": faults}))
    temporary.replace(state / FILE)
