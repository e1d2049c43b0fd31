"""How a bundle is made: the OCI runtime specification's `config.json` for a workload. Pure but for looking at what the machine has."""

import os
import sys
from pathlib import Path
from typing import Any

from gp4u_agent.runtime import seccomp_profile
from gp4u_agent.runtime.environment import job_environment, system_path
from gp4u_agent.runtime.mounts import job_uid
from gp4u_agent.runtime.port import JobPaths, Workload

JOB, CONTROL, INSIDE = "/job", "/run/gp4u", "/gp4u"
INNER_UID = 1000
GROUP = "job"
"""The container's own control group, below the placement's: the outer one is frozen for the lease, whatever CRIU does to the inner."""
CRIU_ANNOTATION = "org.criu.config"
OPEN_FILES_MAX = 4096
FIRST = 'read -r go || exit 126; exec < /dev/null; /bin/sh -c "$0"; exit $?'
"""The first command waits until its isolation was read back from the kernel.

It stays the parent: process 1 of a namespace ignores every signal that it does not handle, so the job must not be process 1.
"""
_ROOT_UID_OFFSET = 0x10000000
_SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_ETC = (
    *("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "ssl", "ca-certificates", "pki", "localtime", "timezone"),
    *("nsswitch.conf", "alternatives", "mime.types", "services", "protocols"),
)
_MASKED = (
    *(
        "/proc/acpi",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/timer_list",
        "/proc/sched_debug",
    ),
    *("/proc/scsi", "/proc/timer_stats", "/proc/interrupts", "/proc/asound"),
)
_READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def host_uid(workload: Workload) -> int:
    """The job's user id outside: the same on every node that the job is moved to, because a dump carries it."""
    return job_uid(workload.owner or workload.name)


def paths() -> JobPaths:
    """Where a job finds its folders."""
    return JobPaths(job=JOB, control=CONTROL, inside=INSIDE, path=system_path())


def config(
    workload: Workload, *, cgroups_path: str, criu_config: Path | None, first: str = FIRST
) -> dict[str, Any]:
    """The bundle's `config.json`. `cgroups_path` is in runc's spelling (see `kept`); `first`: the first command's text."""
    limits, uid = workload.limits, host_uid(workload)
    bounds = {
        "RLIMIT_CORE": 0,
        "RLIMIT_FSIZE": limits.disk_bytes,
        "RLIMIT_NOFILE": OPEN_FILES_MAX,
        "RLIMIT_NPROC": limits.pids_max,
    }
    identity = [
        {"containerID": 0, "hostID": uid + _ROOT_UID_OFFSET, "size": 1},
        {"containerID": INNER_UID, "hostID": uid, "size": 1},
    ]
    return {
        "ociVersion": "1.0.2",
        "hostname": "job",
        "root": {"path": "rootfs", "readonly": True},
        "annotations": {CRIU_ANNOTATION: str(criu_config)} if criu_config else {},
        "process": {
            "terminal": False,
            "user": {"uid": INNER_UID, "gid": INNER_UID},
            "args": ["/bin/sh", "-c", first, workload.command],
            "env": [f"{name}={value}" for name, value in job_environment(workload, paths()).items()],
            "cwd": JOB,
            "capabilities": {
                kind: [] for kind in ("bounding", "effective", "inheritable", "permitted", "ambient")
            },
            "rlimits": [
                {"type": kind, "soft": bound, "hard": bound} for kind, bound in sorted(bounds.items())
            ],
            "noNewPrivileges": True,
        },
        "mounts": _mounts(workload),
        "linux": {
            "uidMappings": identity,
            "gidMappings": identity,
            # None for control groups: CRIU cannot bring one back under another name. No cgroup file system is mounted either, so a
            # job learns the name of its group and nothing more.
            "namespaces": [{"type": kind} for kind in ("user", "mount", "pid", "ipc", "uts", "network")],
            "cgroupsPath": cgroups_path,
            "resources": {
                "memory": {"limit": limits.memory_bytes, "swap": limits.memory_bytes},
                "pids": {"limit": limits.pids_max},
                "cpu": {"quota": limits.cpus * 100_000, "period": 100_000},
                "devices": [{"allow": False, "access": "rwm"}, *_device_rules(workload.devices)],
            },
            "seccomp": seccomp_profile.profile(),
            "maskedPaths": list(_MASKED),
            "readonlyPaths": list(_READONLY),
        },
    }


def stage(mounts: list[dict[str, Any]], folder: Path) -> list[tuple[str, str]]:
    """Make the mounts take their sources from `folder`; (source, place in `folder`) of each.

    The job's root may not be able to reach the real sources (below a 0700 home): the keeper binds them where it can, in a mount
    namespace of its own.
    """
    folder.mkdir(mode=0o711)
    staged = []
    for number, mount in enumerate(mounts):
        if mount["type"] == "bind":
            place = folder / str(number)
            if Path(mount["source"]).is_dir():
                place.mkdir()
            else:
                place.touch()
            staged.append((mount["source"], str(place)))
            mount["source"] = str(place)
    return staged


def make_root(folder: Path, mounts: list[dict[str, Any]], uid: int = INNER_UID) -> None:
    """The root file system: mount points, links, the two account files, nothing else. `folder` must not be there."""
    folder.mkdir(mode=0o755)
    for name in _SYSTEM:
        path = Path("/", name)
        if path.is_symlink():
            (folder / name).symlink_to(os.readlink(path))
    for name in ("etc", "run", "tmp", "proc", "dev", "job", "gp4u"):
        (folder / name).mkdir(mode=0o755)
    # runc gives a file system in memory the mode of the folder below it.
    os.chmod(folder / "tmp", 0o1777)  # noqa: S103
    (folder / "etc/passwd").write_text(f"root:x:0:0::/:/usr/sbin/nologin\njob:x:{uid}:{uid}::{JOB}:/bin/sh\n")
    (folder / "etc/group").write_text(f"root:x:0:\njob:x:{uid}:\n")
    for mount in mounts:
        target = folder / str(mount["destination"]).lstrip("/")
        if str(mount["destination"]).startswith(("/tmp/", "/dev/")):  # noqa: S108 - made by runc, in the tmpfs
            continue
        if mount["type"] == "bind" and not Path(mount["source"]).is_dir():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch(mode=0o644)
        else:
            target.mkdir(parents=True, exist_ok=True)


def _mounts(workload: Workload) -> list[dict[str, Any]]:
    size = f"size={workload.limits.tmp_bytes}"
    # /tmp before the machine's programs: the agent's Python may itself lie below /tmp, and must not be covered.
    found = [
        _special("proc", "/proc", ["nosuid", "noexec", "nodev"]),
        _special("tmpfs", "/dev", ["nosuid", "noexec", "strictatime", "mode=755", "size=65536k"]),
        _special("devpts", "/dev/pts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
        _special("tmpfs", "/dev/shm", ["nosuid", "noexec", "nodev", "mode=1777", size]),  # noqa: S108
        _special("tmpfs", "/tmp", ["nosuid", "nodev", "mode=1777", size]),  # noqa: S108
        _bind(Path("/usr"), "/usr"),
    ]
    found += [
        _bind(Path("/", name), f"/{name}")
        for name in _SYSTEM
        if Path("/", name).is_dir() and not Path("/", name).is_symlink()
    ]
    found += [_bind(Path(prefix), prefix) for prefix in python_prefixes()]
    found += [
        _bind(Path("/etc", name).resolve(), f"/etc/{name}") for name in _ETC if Path("/etc", name).exists()
    ]
    found += [_bind(node, str(node), writable=True, device=True) for node in _device_nodes(workload.devices)]
    found += [
        _bind(workload.inside_dir, INSIDE),
        _bind(workload.control_dir, CONTROL, writable=True),
        _bind(workload.job_dir, JOB, writable=True),
    ]
    return found


def python_prefixes() -> list[str]:
    """Folders of the agent's own Python that are not in the machine's /usr."""
    executable = Path(sys.executable).resolve().parent.parent
    prefixes = dict.fromkeys((sys.prefix, sys.base_prefix, str(executable)))
    return [prefix for prefix in prefixes if not Path(prefix).is_relative_to("/usr") and prefix != "/"]


def _special(kind: str, destination: str, options: list[str]) -> dict[str, Any]:
    return {"type": kind, "source": kind, "destination": destination, "options": options}


def _bind(source: Path, destination: str, *, writable: bool = False, device: bool = False) -> dict[str, Any]:
    options = ["bind", "rprivate", "nosuid", "rw" if writable else "ro", *([] if device else ["nodev"])]
    return {"type": "bind", "source": str(source), "destination": destination, "options": options}


def _device_nodes(devices: list[str]) -> list[Path]:
    """The driver's device nodes, when the job has real GPUs. CUDA_VISIBLE_DEVICES says which of them are its own."""
    if not any(device.startswith(("GPU-", "MIG-")) for device in devices):
        return []
    return [node for node in sorted(Path("/dev").glob("nvidia*")) if node.is_char_device()]


def _device_rules(devices: list[str]) -> list[dict[str, Any]]:
    numbers = [os.stat(node).st_rdev for node in _device_nodes(devices)]
    return [
        {"allow": True, "type": "c", "major": os.major(n), "minor": os.minor(n), "access": "rw"}
        for n in numbers
    ]
