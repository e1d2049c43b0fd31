"""Podman's own routes, on the socket that it serves the Docker API on: what a job that is saved whole needs beyond that API.

The Docker API knows no annotations (CRIU is told by one to leave the restored job standing) and cannot export a checkpoint.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gp4u_agent.runtime import cgroups
from gp4u_agent.runtime.containers import hardening
from gp4u_agent.runtime.containers.engine import Engine
from gp4u_agent.runtime.port import Workload

if TYPE_CHECKING:
    import requests
    from docker import APIClient

CRIU_ANNOTATION = "org.criu.config"
CRIU_SETTINGS = "leave-stopped\nmanage-cgroups=ignore\n"
"""After a dump the job stands until its files are copied, after a restore until it was checked. Control groups are Podman's and ours."""
LONG_TIMEOUT_S = 600.0
_ROUTES = "/v4.0.0/libpod/containers"
_CPU_PERIOD_US = 100_000


class Refused(Exception):
    """Podman answered with an error; the message is its own."""


def lid_name(engine: Engine, placement: str) -> str:
    """Of the control group above the container's: the placement's own, where nobody but us freezes."""
    if engine.systemd_groups:
        # A slice's name tells its place: each hyphen is a level.
        return f"gp4u-{hashlib.blake2b(placement.encode(), digest_size=12).hexdigest()}.slice"
    return placement


def parent_group(engine: Engine, placement: str) -> str:
    """The lid, as Podman wants it named."""
    return lid_name(engine, placement) if engine.systemd_groups else cgroups.parent_path(placement)


def document(
    workload: Workload,
    *,
    engine: Engine,
    image_id: str,
    uid: int,
    environment: dict[str, str],
    folder: Path,
    name: str,
) -> dict[str, Any]:
    """The container, as `hardening.host_config` makes it for the Docker API, in Podman's words. Pure.

    `folder` holds `output`, `seccomp.json` and `criu.conf`. There is no namespace for control groups, because CRIU cannot bring one
    back under another name; so that the job sees none of the machine's groups, their place is masked.
    """
    limits = workload.limits
    return {
        "name": name,
        "image": image_id,
        "command": hardening.command(workload),
        "entrypoint": [],
        "env": environment,
        "user": f"{uid}:{uid}",
        "work_dir": hardening.JOB,
        "hostname": "job",
        "labels": hardening.labels(workload),
        "annotations": {CRIU_ANNOTATION: str(folder / "criu.conf")},
        "mounts": [
            *_binds(workload, folder),
            {
                "type": "tmpfs",
                "source": "tmpfs",
                "destination": "/tmp",  # noqa: S108
                "options": ["rw", "nosuid", "nodev", "mode=1777", f"size={limits.tmp_bytes}"],
            },
        ],
        "shm_size": limits.tmp_bytes,
        "image_volume_mode": "ignore",
        "read_only_filesystem": True,
        "privileged": False,
        "init": False,
        "systemd": "false",
        "httpproxy": False,
        "cap_drop": ["ALL"],
        "no_new_privileges": True,
        "seccomp_profile_path": str(folder / "seccomp.json"),
        "mask": ["/sys/fs/cgroup"],
        "netns": {"nsmode": "none"},
        "ipcns": {"nsmode": "private"},
        "pidns": {"nsmode": "private"},
        "utsns": {"nsmode": "private"},
        "cgroupns": {"nsmode": "host"},
        "cgroup_parent": parent_group(engine, workload.name),
        "resource_limits": {
            "memory": {"limit": limits.memory_bytes, "swap": limits.memory_bytes},
            "cpu": {"quota": limits.cpus * _CPU_PERIOD_US, "period": _CPU_PERIOD_US},
            "pids": {"limit": limits.pids_max},
        },
        "r_limits": [
            {"type": kind, "soft": bound, "hard": bound}
            for kind, bound in (
                ("CORE", 0),
                ("FSIZE", limits.disk_bytes),
                ("NOFILE", hardening.OPEN_FILES_MAX),
                ("NPROC", limits.pids_max),
            )
        ],
        "log_configuration": {"driver": "none"},
        "restart_policy": "no",
    }


def sources(workload: Workload, folder: Path) -> dict[str, Path]:
    """Where in the container → what of this machine lies there. The writable ones are all that the job can write outside memory."""
    return {
        hardening.JOB: workload.job_dir,
        hardening.CONTROL: workload.control_dir,
        hardening.INSIDE: workload.inside_dir,
        hardening.OUTPUT: folder / "output",
    }


def _binds(workload: Workload, folder: Path) -> list[dict[str, Any]]:
    return [
        {
            "type": "bind",
            "source": str(source),
            "destination": destination,
            "options": ["rbind", "rprivate", "nosuid", "ro" if destination == hardening.INSIDE else "rw"],
        }
        for destination, source in sources(workload, folder).items()
    ]


def create(client: "APIClient", made: dict[str, Any]) -> None:
    """Raises Refused, requests.RequestException."""
    _checked(client.post(f"{client.base_url}{_ROUTES}/create", json=made))


def checkpoint(client: "APIClient", name: str) -> "requests.Response":
    """Dump the container, which stands afterwards: the answer streams a tar. Raises Refused, requests.RequestException."""
    wanted = dict.fromkeys(("export", "leaveRunning", "ignoreRootFS", "ignoreVolumes", "fileLocks"), "true")
    answer: requests.Response = client.post(
        f"{client.base_url}{_ROUTES}/{name}/checkpoint", params=wanted, stream=True, timeout=LONG_TIMEOUT_S
    )
    _checked(answer)
    return answer


def restore(client: "APIClient", name: str, archive: Iterable[bytes]) -> None:
    """Make a container of this name out of a tar as `checkpoint` gave it. Raises Refused, requests.RequestException."""
    wanted = {"import": "true", "name": name, "fileLocks": "true"}
    answer = client.post(
        f"{client.base_url}{_ROUTES}/{name}/restore", params=wanted, data=archive, timeout=LONG_TIMEOUT_S
    )
    _checked(answer)


def _checked(answer: "requests.Response") -> None:
    if answer.status_code >= 300:
        try:
            said = answer.json()
            raise Refused(str(said.get("message") or said.get("cause") or said))
        except ValueError:
            raise Refused(f"{answer.status_code}: {answer.text[:300]}") from None
