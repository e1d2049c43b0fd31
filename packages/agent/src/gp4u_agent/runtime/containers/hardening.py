"""How a job's container is made, and the check that it was made so. The first is pure; the second asks the kernel, not the engine."""

import os
from pathlib import Path
from typing import Any

from gp4u_agent.runtime.cgroups import CPU_PERIOD_US, JobCgroups
from gp4u_agent.runtime.port import Workload

JOB, CONTROL, INSIDE, OUTPUT = "/job", "/run/gp4u", "/gp4u", "/run/gp4u-output"
SYSTEM_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
LABEL = "io.gp4u.placement"
OPEN_FILES_MAX = 4096
FIRST = f'exec > {OUTPUT} 2>&1 || exit 126; /bin/sh -c "$0"; exit $?'
"""The container's first command. Opening its output waits until we read it, which we do once the isolation is proven.

It stays the parent: process 1 of a container ignores every signal that it does not handle, so the job must not be process 1.
"""
NAMESPACES = ("mnt", "pid", "net", "ipc", "uts")


def command(workload: Workload) -> list[str]:
    """What the container runs."""
    return ["/bin/sh", "-c", FIRST, workload.command]


def labels(workload: Workload) -> dict[str, str]:
    """By which leftovers are found again."""
    return {LABEL: workload.name}


def host_config(
    workload: Workload,
    *,
    real_devices: list[str],
    output: Path,
    network: str,
    seccomp_option: str,
    podman: bool,
) -> dict[str, Any]:
    """The engine's HostConfig. Everything that can be dropped is dropped; the engine's defaults are never relied on."""
    limits = workload.limits
    binds = [
        f"{workload.job_dir}:{JOB}:rw",
        f"{workload.control_dir}:{CONTROL}:rw",
        f"{workload.inside_dir}:{INSIDE}:ro",
        f"{output}:{OUTPUT}:rw",
    ]
    config: dict[str, Any] = {
        "Binds": binds,
        "Tmpfs": {"/tmp": f"rw,nosuid,nodev,mode=1777,size={limits.tmp_bytes}"},  # noqa: S108
        "ShmSize": limits.tmp_bytes,
        "ReadonlyRootfs": True,
        "Privileged": False,
        "CapDrop": ["ALL"],
        "CapAdd": [],
        "SecurityOpt": ["no-new-privileges", f"seccomp={seccomp_option}"],
        "NetworkMode": network,
        "IpcMode": "private",
        "PidMode": "",
        "UTSMode": "",
        "Memory": limits.memory_bytes,
        "MemorySwap": limits.memory_bytes,
        "PidsLimit": limits.pids_max,
        "NanoCpus": limits.cpus * 1_000_000_000,
        "Ulimits": [
            {"Name": "core", "Soft": 0, "Hard": 0},
            {"Name": "fsize", "Soft": limits.disk_bytes, "Hard": limits.disk_bytes},
            {"Name": "nofile", "Soft": OPEN_FILES_MAX, "Hard": OPEN_FILES_MAX},
            {"Name": "nproc", "Soft": limits.pids_max, "Hard": limits.pids_max},
        ],
        "LogConfig": {"Type": "none", "Config": {}},
        "RestartPolicy": {"Name": "no"},
        "AutoRemove": False,
    }
    if real_devices:
        config["DeviceRequests"] = [
            {"Driver": "cdi", "DeviceIDs": [f"nvidia.com/gpu={uuid}" for uuid in real_devices]}
        ]
    if podman:
        config["CgroupnsMode"] = "private"
    return config


def shortcomings(pid: int, uid: int, workload: Workload, groups: JobCgroups, engine_pid: int) -> list[str]:
    """What the container's first process lacks of the isolation that was asked for. Empty: everything was proven.

    `engine_pid`: the engine's own process, whose namespaces need not be ours.
    """
    limits = workload.limits
    found = []
    status = _fields(Path(f"/proc/{pid}/status").read_text(), ":")
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        if int(status.get(name, "1"), 16) != 0:
            found.append(f"it has capabilities ({name} {status.get(name)})")
    if status.get("NoNewPrivs") != "1":
        found.append("it may gain privileges")
    if status.get("Seccomp") != "2":
        found.append("it has no seccomp filter")
    if status.get("Uid", "0").split() != [str(uid)] * 4:
        found.append(f"it runs as user {status.get('Uid')}")
    for namespace in NAMESPACES:
        its = os.readlink(f"/proc/{pid}/ns/{namespace}")
        if its in {os.readlink(f"/proc/{other}/ns/{namespace}") for other in ("self", engine_pid)}:
            found.append(f"it shares the machine's {namespace} namespace")
    interfaces = [
        line.partition(":")[0].strip() for line in Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
    ]
    if not workload.network and interfaces != ["lo"]:
        found.append(f"it has a network ({', '.join(interfaces)})")
    root = [line.split() for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]
    if not any(fields[4] == "/" and "ro" in fields[5].split(",") for fields in root):
        found.append("its root is writable")
    if any(fields[4].endswith(("docker.sock", "podman.sock")) for fields in root):
        found.append("it sees the engine's socket")
    found += unbounded(workload, groups, pids_max=limits.pids_max)
    bounds = Path(f"/proc/{pid}/limits").read_text()
    for name, bound in (("Max file size", limits.disk_bytes), ("Max core file size", 0)):
        line = next((line for line in bounds.splitlines() if line.startswith(name)), "")
        if line[len(name) :].split()[1:2] != [str(bound)]:
            found.append(f"{name.lower()} is not {bound}")
    return found


def unbounded(workload: Workload, groups: JobCgroups, *, pids_max: int) -> list[str]:
    """Limits that its control groups do not keep as they were asked for. Raises OSError."""
    found = []
    wanted = {"memory": str(workload.limits.memory_bytes), "pids": str(pids_max)}
    applied = groups.read_back()
    for purpose, value in wanted.items():
        if applied.get(purpose) != value:
            found.append(f"its {purpose} limit is {applied.get(purpose)}, not {value}")
    if not _cpu_bounded(applied.get("cpu"), groups, workload.limits.cpus):
        found.append(f"its cpu limit is {applied.get('cpu')}, not {workload.limits.cpus} cores")
    return found


def strange_folders(pid: int, sources: dict[str, Path]) -> list[str]:
    """Which of the container's places are not what of this machine should lie there (`sources`: place → this machine's path)."""
    found = []
    for where, source in sources.items():
        try:
            same = os.path.samefile(f"/proc/{pid}/root{where}", source)
        except OSError:
            same = False
        if not same:
            found.append(f"{where} is not {source}")
    return found


def _cpu_bounded(said: str | None, groups: JobCgroups, cpus: int) -> bool:
    if said is None or "cpu" not in groups.folders:
        return False
    if groups.versions["cpu"] == 2:
        quota, period = said.split()
    else:
        quota, period = said, (groups.folders["cpu"] / "cpu.cfs_period_us").read_text().strip()
    return quota not in ("max", "-1") and int(quota) == cpus * int(period or CPU_PERIOD_US)


def _fields(text: str, separator: str) -> dict[str, str]:
    pairs = (line.partition(separator) for line in text.splitlines())
    return {name: value.strip() for name, _, value in pairs}
