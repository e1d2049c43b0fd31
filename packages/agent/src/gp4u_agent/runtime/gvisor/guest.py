"""What gVisor's own kernel says of the job: read by a small command of ours inside the sandbox. Pure but for the command's text.

The job cannot touch that command: it runs as the sandbox's root, without a capability, and the job has neither.
"""

from collections.abc import Mapping
from typing import Any

from gp4u_agent.runtime.bundle.record import one
from gp4u_agent.runtime.bundle.spec import INNER_UID

LOOK = "echo looker $$; cat /proc/[0-9]*/status; for p in mounts net/dev 1/limits; do echo ==$p; cat /proc/$p; done"
_CAPABILITIES = ("CapInh", "CapPrm", "CapEff", "CapBnd")
_MOUNT_FLAGS = frozenset({"ro", "rw", "nosuid", "nodev", "noexec"})
_BOUNDS = ("Max file size", "Max open files", "Max processes", "Max core file size")
Process = dict[str, list[str]]


class Unreadable(Exception):
    """The command's answer is not what its kernel writes."""


def processes_in(said: str) -> dict[int, Process]:
    """The job's processes: number → field → every value it was given. Without the looker and its children. Raises Unreadable."""
    first, _, rest = said.partition("==mounts\n")[0].partition("\n")
    found: dict[int, Process] = {}
    try:
        looker = int(first.removeprefix("looker "))
        for block in ("\n" + rest).split("\nName:")[1:]:
            fields: Process = {"Name": [block.partition("\n")[0].strip()]}
            for line in block.splitlines()[1:]:
                name, _, value = line.partition(":")
                fields.setdefault(name, []).append(" ".join(value.split()))
            number, parent = int(_only(fields, "Pid")), int(_only(fields, "PPid"))
            if looker not in (number, parent):
                found[number] = fields
    except ValueError as error:
        raise Unreadable(f"the sandbox's processes cannot be read: {error}") from error
    if 1 not in found:
        raise Unreadable("the sandbox's first process is not there")
    return found


def running(said: str) -> list[int]:
    """Processes of the job that do not stand. A name that looks like a state makes two states, and counts as running."""
    return [number for number, fields in processes_in(said).items() if fields.get("State") not in _STANDING]


_STANDING = (["T (stopped)"], ["Z (zombie)"])


def record_in(said: str) -> dict[str, Any]:
    """What the job is confined to, as `bundle.record` puts it. Raises Unreadable."""
    living = {
        number: fields
        for number, fields in processes_in(said).items()
        if fields.get("State") != ["Z (zombie)"]
    }
    parts = _parts(said)
    return {
        "inside confinement": one(
            {n: [f"{k}={_only(f, k)}" for k in (*_CAPABILITIES, "Seccomp")] for n, f in living.items()}
        ),
        "inside users": one({n: [_only(f, k) for k in ("Uid", "Gid", "Groups")] for n, f in living.items()}),
        "inside mounts": _mounts(parts["mounts"]),
        "inside interfaces": _interfaces(parts["net/dev"]),
        "inside bounds": _bounds(parts["1/limits"]),
    }


def shortcomings_in(record: Mapping[str, Any], bounds: Mapping[str, int]) -> list[str]:
    """What the job lacks inside of the isolation that was asked for; `bounds`: limit → its value."""
    found = []
    if record["inside confinement"] != [*(f"{name}={0:016x}" for name in _CAPABILITIES), "Seccomp=2"]:
        found.append(f"inside it has {', '.join(record['inside confinement'])}")
    identity = " ".join([str(INNER_UID)] * 4)
    if record["inside users"] != [identity, identity, ""]:
        found.append(f"inside it runs as {', '.join(record['inside users'])}")
    if "/ ro 9p" not in record["inside mounts"]:
        found.append("inside its root is writable")
    if set(record["inside interfaces"]) - {"lo"}:
        found.append(f"inside it has a network ({', '.join(record['inside interfaces'])})")
    for name, bound in bounds.items():
        line = next((line for line in record["inside bounds"] if line.startswith(name)), "")
        if line.removeprefix(name).split()[1:2] != [str(bound)]:
            found.append(f"inside {name.lower()} is not {bound}")
    return found


def _parts(said: str) -> dict[str, str]:
    parts = {}
    for name, following in (("mounts", "net/dev"), ("net/dev", "1/limits"), ("1/limits", "")):
        _, here, rest = said.rpartition(f"\n=={name}\n")
        if not here:
            raise Unreadable(f"the sandbox says nothing of {name}")
        parts[name] = rest.partition(f"\n=={following}\n")[0] if following else rest
    return parts


def _mounts(text: str) -> list[str]:
    found = []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) < 4:
            raise Unreadable(f"not a mount: {line!r}")
        found.append(f"{fields[1]} {','.join(sorted(_MOUNT_FLAGS & set(fields[3].split(','))))} {fields[2]}")
    return sorted(found)


def _interfaces(text: str) -> list[str]:
    return sorted(line.partition(":")[0].strip() for line in text.splitlines()[2:])


def _bounds(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines() if line.startswith(_BOUNDS)]


def _only(fields: Process, name: str) -> str:
    values = fields.get(name, [])
    if len(values) != 1:
        raise Unreadable(f"a process says {name} {len(values)} times")
    return values[0]
