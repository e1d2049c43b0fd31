"""A container's dump: its folder, what of Podman's own description is put right for another node, and what is refused of it.

image/          what Podman exported: `checkpoint/` (CRIU's files), `spec.dump`, `config.dump`, /dev/shm
etc/            the account files that Podman had made for the container: another node's Podman does not make them at an import
job.tar         /job as it was at that instant
control.tar     /run/gp4u
record.json     what the job was confined to (see `bundle.record`)

The job's folders and the record are written and read as those of bundles are.
"""

import contextlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from gp4u_agent.runtime.bundle import record
from gp4u_agent.runtime.bundle.groups import Groups
from gp4u_agent.runtime.cgroups import JobCgroups
from gp4u_agent.runtime.containers.libpod import CRIU_ANNOTATION
from gp4u_agent.runtime.port import StartRefused, Workload

SPEC, CONFIG, ETC = "spec.dump", "config.dump", "etc"
ACCOUNTS = ("/etc/passwd", "/etc/group")
_MADE_BY_PODMAN = frozenset(
    {"/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/run/.containerenv", "/dev/shm"}  # noqa: S108
)
_IN_MEMORY = frozenset({"tmpfs", "proc", "sysfs", "devpts", "mqueue", "cgroup", "cgroup2"})
_WORK_PATH = re.compile(r"--work-path (\S+)|log file: (\S+)/[^/\s]+\.log")
_NULL_DEVICE = os.makedev(1, 3)
_PIECE_BYTES = 1 << 20
_KNOWN_COMPLAINTS = ("rlimit", "cgroupd")


@dataclass(frozen=True)
class Place:
    """Where a dump is to be brought back.

    Attributes:
        sources: where in the container → what of this machine lies there, the account files too where the dump has them.
        image_id: of the job's image on this machine.
        parent: the control group above the container's, as Podman wants it named.
    """

    placement_label: dict[str, str]
    sources: dict[str, Path]
    criu_config: Path
    seccomp: Path
    parent: str
    image_id: str


def put_right(
    spec: dict[str, Any], config: dict[str, Any], place: Place
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Podman's two descriptions of the container with this machine's places in them. Pure. Raises StartRefused.

    Whatever would give the container more of this machine than a job's own folders is refused, whoever signed it.
    """
    for part in (spec, config.get("spec") or {}):
        part["mounts"] = [_mount(mount, place.sources) for mount in part.get("mounts") or []]
        part["annotations"] = {
            **(part.get("annotations") or {}),
            CRIU_ANNOTATION: str(place.criu_config),
            "io.podman.annotations.seccomp": str(place.seccomp),
        }
        if (part.get("linux") or {}).get("devices"):
            raise StartRefused("the dump asks for devices")
        if part.get("hooks"):
            raise StartRefused("the dump asks for programs to be run beside it")
    for asked in ("Dependencies", "exitCommand", "namedVolumes", "overlayVolumes", "imageVolumes", "secrets"):
        if config.get(asked):
            raise StartRefused(f"the dump asks for {asked}")
    if config.get("privileged"):
        raise StartRefused("the dump asks for privileges")
    return spec, {
        **config,
        "labels": place.placement_label,
        "cgroupParent": place.parent,
        "rootfsImageID": place.image_id.removeprefix("sha256:"),
        "logPath": "",
    }


def _mount(mount: dict[str, Any], sources: dict[str, Path]) -> dict[str, Any]:
    where = str(mount.get("destination"))
    if where in sources:
        return {**mount, "source": str(sources[where])}
    if mount.get("type") in _IN_MEMORY or where in _MADE_BY_PODMAN:
        return mount
    raise StartRefused(f"the dump asks for {mount.get('source')} of the machine at {where}")


def write_description(image: Path, into: Path, place: Place) -> None:
    """The two descriptions, put right, into the folder `into`. Raises StartRefused."""
    try:
        spec, config = (json.loads((image / name).read_bytes()) for name in (SPEC, CONFIG))
        spec, config = put_right(spec, config, place)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise StartRefused(f"the dump does not say how its container was made: {error}") from error
    for name, part in ((SPEC, spec), (CONFIG, config)):
        (into / name).write_text(json.dumps(part))


def account_files(spec: dict[str, Any]) -> dict[str, Path]:
    """Where in the container → the file of this machine that Podman made for it. Pure."""
    return {
        str(mount["destination"]): Path(mount["source"])
        for mount in spec.get("mounts") or []
        if mount.get("destination") in ACCOUNTS and mount.get("type") == "bind"
    }


def own_accounts(dump: Path, folder: Path) -> dict[str, Path]:
    """Put the dump's account files into `folder`: where in the container → the file. Raises OSError."""
    found = {}
    for where in ACCOUNTS:
        name = Path(where).name
        if (kept := dump / ETC / name).is_file():
            shutil.copyfile(kept, folder / name)
            os.chmod(folder / name, 0o644)
            found[where] = folder / name
    return found


@contextlib.contextmanager
def archive(image: Path, description: Path) -> Iterator[Iterable[bytes]]:
    """The tar that Podman imports: what it exported, but for the two descriptions, which `description` has. Raises OSError."""
    exported = sorted(name for name in os.listdir(image) if name not in (SPEC, CONFIG))
    command = ["tar", "--create", "--file", "-", "--directory", str(description), SPEC, CONFIG]
    with subprocess.Popen(
        [*command, "--directory", str(image), "--", *exported],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as tar:
        assert tar.stdout is not None
        try:
            yield iter(partial(tar.stdout.read, _PIECE_BYTES), b"")
        finally:
            tar.kill()


def dumper_command(url: str, name: str, into: Path, workload: Workload) -> list[str]:
    """See `dumper`."""
    places = [str(into), str(workload.job_dir), str(workload.control_dir)]
    return [sys.executable, "-m", f"{__package__}.dumper", url, name, *places]


def record_now(pid: int, groups: JobCgroups) -> dict[str, Any]:
    """What the container is confined to (see `bundle.record`). Raises OSError.

    A masked file of /proc is /dev/null mounted over it: the container's own at a start, the machine's after a restore. What counts is
    that it is that device, so such mounts are told alike.
    """
    found = record.record_of(Groups(inner=groups))
    found["mounts"] = [
        f"{where} null device" if _is_null(f"/proc/{pid}/root{where}") else mount
        for mount in found["mounts"]
        for where in [mount.split(" ", 1)[0]]
    ]
    return found


def _is_null(path: str) -> bool:
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == _NULL_DEVICE


def complaint(message: str) -> str:
    """What CRIU complained of first, by Podman's answer, which names only the place of CRIU's log; else the answer's end."""
    found = _WORK_PATH.search(message)
    for name in ("dump.log", "restore.log") if found else ():
        assert found is not None
        try:
            lines = Path(found[1] or found[2], name).read_text(errors="replace").splitlines()
        except OSError:
            continue
        told = [line for line in lines if "Error" in line and not any(c in line for c in _KNOWN_COMPLAINTS)]
        told += [line for line in lines if "Can't get rlimit" in line]
        if told:
            why = " (root lacks CAP_SYS_RESOURCE here)" if "Can't get rlimit" in told[0] + told[-1] else ""
            return " | ".join(told[:2])[:400] + why
    return message[-400:]
