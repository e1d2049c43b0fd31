"""What a job is confined to, read from the kernel: to prove it before the job runs, and to compare after a restore.

A restore that loses a mount's read-only flag or a filter says so nowhere (CRIU 4.1.1 did), so nothing restored runs before the
record taken at the dump and the one taken now are the same.
"""

import os
from pathlib import Path
from typing import Any

from gp4u_agent.runtime.bundle.groups import Groups

CONFINED = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters")
_MOUNT_FLAGS = frozenset({"ro", "rw", "nosuid", "nodev", "noexec"})


def record_of(groups: Groups) -> dict[str, Any]:
    """Of every process in the group, so that none differs. Raises OSError when one goes meanwhile."""
    pids = groups.pids()
    statuses = {pid: fields_of(pid) for pid in pids}
    return {
        "confinement": one({pid: [f"{k}={s.get(k)}" for k in CONFINED] for pid, s in statuses.items()}),
        "users": one({pid: [s["Uid"], s["Gid"], s["Groups"]] for pid, s in statuses.items()}),
        "mounts": one({pid: mounts_of(pid) for pid in pids}),
        "user_map": one({pid: Path(f"/proc/{pid}/uid_map").read_text().split() for pid in pids}),
        "interfaces": one({pid: interfaces_of(pid) for pid in pids}),
        "bounds": one({pid: _bounds(pid) for pid in pids}),
        "groups": sorted(f"{purpose}={value}" for purpose, value in groups.inner.read_back().items()),
    }


def shared_namespaces(pid: int) -> list[str]:
    """Namespaces that the process has in common with us."""
    kinds = ("user", "mnt", "pid", "net", "ipc", "uts")
    return [k for k in kinds if os.readlink(f"/proc/{pid}/ns/{k}") == os.readlink(f"/proc/self/ns/{k}")]


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What is not the same, named and with its first difference. Pure."""
    found = []
    for name in sorted({*before, *after}):
        was, now = before.get(name), after.get(name)
        if was != now:
            gone = [item for item in was or [] if item not in (now or [])]
            new = [item for item in now or [] if item not in (was or [])]
            found.append(f"{name}: {(gone or ['-'])[0]} became {(new or ['-'])[0]}")
    return found


def one(of_each: dict[int, list[str]]) -> list[str]:
    """What holds for all of them; what some have and others do not is marked, and so differs from any record of equals."""
    values = list(of_each.values())
    if not values or all(value == values[0] for value in values):
        return values[0] if values else []
    return [f"{pid}: {item}" for pid, value in sorted(of_each.items()) for item in value]


def mounts_of(pid: int) -> list[str]:
    """Where, with which flags, of what kind. Raises OSError."""
    found = []
    for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        where, flags = before.split()[4], before.split()[5].split(",")
        shared = " ".join(word.partition(":")[0] for word in before.split()[6:])
        kind = after.split()[0]
        found.append(f"{where} {','.join(sorted(_MOUNT_FLAGS & set(flags)))} {kind} {shared}".rstrip())
    return sorted(found)


def interfaces_of(pid: int) -> list[str]:
    """Names of its network's interfaces. Raises OSError."""
    lines = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
    return sorted(line.partition(":")[0].strip() for line in lines)


def _bounds(pid: int) -> list[str]:
    wanted = ("Max file size", "Max open files", "Max processes", "Max core file size", "Max locked memory")
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return [" ".join(line.split()) for line in lines if line.startswith(wanted)]


def fields_of(pid: int) -> dict[str, str]:
    """/proc/<pid>/status. Raises OSError."""
    pairs = (line.partition(":") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {name: " ".join(value.split()) for name, _, value in pairs}
