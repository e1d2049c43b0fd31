"""What this machine's kernel says of a sandbox's processes: its kernel (*sentry*), its file server (*gofer*), and the *stubs* that
the job's instructions run in.
"""

import os
from pathlib import Path
from typing import Any

from gp4u_agent.runtime import processes
from gp4u_agent.runtime.bundle import record
from gp4u_agent.runtime.bundle.groups import Groups
from gp4u_agent.runtime.containers.hardening import unbounded
from gp4u_agent.runtime.port import Limits, Workload

GOFER_CAPABILITIES = 0x4001F
"""Of files (chown, override, read-search, owner, setid) and chroot, in its user namespace, where it is root over the job's files alone."""
CONFINED = ("CapInh", "CapPrm", "CapEff", "CapAmb", "NoNewPrivs", "Seccomp")
HOST_TASKS = 512
"""Threads of the sentry and the gofer, beside the job's."""
TASKS_PER_PROCESS = 4


def tasks_max(limits: Limits) -> int:
    """The bound of the machine's tasks. Inside, the job's own processes are bounded by RLIMIT_NPROC, as it asked."""
    return HOST_TASKS + TASKS_PER_PROCESS * limits.pids_max


def roles(groups: Groups, sentry: int) -> dict[str, list[int]]:
    """The sandbox's processes by what they are. The sentry and the gofer are the keeper's children, a stub is a child of these."""
    stats = [stat for pid in groups.pids() if (stat := processes.read_stat(pid)) is not None]
    inside = {stat.pid for stat in stats}
    found: dict[str, list[int]] = {"sentry": [], "gofer": [], "stubs": []}
    for stat in stats:
        if stat.state in "ZX":
            continue
        role = "sentry" if stat.pid == sentry else "stubs" if stat.parent in inside else "gofer"
        found[role].append(stat.pid)
    return found


def address_spaces(groups: Groups, sentry: int) -> list[processes.Stat]:
    """About one for each process of the job: what the sentry itself started, without the first, which it keeps for itself."""
    stats = [stat for pid in groups.pids() if (stat := processes.read_stat(pid)) is not None]
    own = sorted(
        (s for s in stats if s.parent == sentry and s.state not in "ZX"), key=lambda s: s.started_ticks
    )
    return own[1:]


def record_of(groups: Groups, sentry: int) -> dict[str, Any]:
    """What they are confined to, as `bundle.record` puts it. Raises OSError when one goes meanwhile."""
    found: dict[str, Any] = {}
    for role, pids in roles(groups, sentry).items():
        statuses = {pid: record.fields_of(pid) for pid in pids}
        # As a set: stubs come and go with the job's processes, and are not all made the same way.
        found[f"{role} confinement"] = sorted(
            {" ".join(f"{k}={s.get(k)}" for k in CONFINED) for s in statuses.values()}
        )
        found[f"{role} users"] = sorted({f"{s['Uid']} {s['Gid']}" for s in statuses.values()})
        if role != "stubs":
            found[f"{role} mounts"] = record.one({pid: record.mounts_of(pid) for pid in pids})
            found[f"{role} interfaces"] = record.one({pid: record.interfaces_of(pid) for pid in pids})
    found["groups"] = sorted(f"{purpose}={value}" for purpose, value in groups.inner.read_back().items())
    return found


def shortcomings(groups: Groups, sentry: int, workload: Workload) -> list[str]:
    """What they lack of the isolation that was asked for. Empty: everything was proven. Raises OSError."""
    found = unbounded(workload, groups.inner, pids_max=tasks_max(workload.limits))
    by_role = roles(groups, sentry)
    found += [f"there is no {role}" for role in ("sentry", "gofer") if len(by_role[role]) != 1]
    for role, pids in by_role.items():
        allowed = GOFER_CAPABILITIES if role == "gofer" else 0
        for pid in pids:
            status = record.fields_of(pid)
            if any(int(status[f"Cap{kind}"], 16) & ~allowed for kind in ("Inh", "Prm", "Eff", "Amb")):
                found.append(f"its {role} has capabilities ({status['CapEff']})")
            if status["NoNewPrivs"] != "1":
                found.append(f"its {role} may gain privileges")
            if status["Seccomp"] != "2":
                found.append(f"its {role} has no seccomp filter")
            if "0" in status["Uid"].split():
                found.append(f"its {role} is root")
            shared = [kind for kind in record.shared_namespaces(pid) if kind != "pid"]
            if shared:
                found.append(f"its {role} shares the machine's {', '.join(shared)}")
            if set(record.interfaces_of(pid)) - {"lo"}:
                found.append(f"its {role} has a network")
    root = Path(f"/proc/{sentry}/root")
    if not any(
        mount.startswith("/ ") and "ro" in mount.split()[1].split(",") for mount in record.mounts_of(sentry)
    ):
        found.append("its sentry's root is writable")
    if os.path.exists(root / "usr/bin"):
        found.append("its sentry sees the machine's files")
    return list(dict.fromkeys(found))
