"""The environment of a job: an allow list, never the agent's own variables."""

import sys
from pathlib import Path

from gp4u_agent.runtime.port import JobPaths, Workload


def job_environment(workload: Workload, paths: JobPaths) -> dict[str, str]:
    """Everything the job's first process is given. Names that start with GP4U_ are ours and cannot be overridden."""
    ours = {
        "GP4U_CHECKPOINT_DIR": f"{paths.job}/{workload.checkpoint_path}",
        "GP4U_CONTROL_DIR": paths.control,
        "GP4U_PROGRESS_FILE": f"{paths.control}/progress.json",
        "GP4U_RESTORE_PENDING": f"{paths.control}/restore-pending.json",
        "NVIDIA_VISIBLE_DEVICES": ",".join(workload.devices),
        "CUDA_VISIBLE_DEVICES": ",".join(workload.devices),
    }
    defaults = {
        "HOME": paths.job,
        "USER": "job",
        "LOGNAME": "job",
        "SHELL": "/bin/sh",
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "TMPDIR": "/tmp",  # noqa: S108 - the job's own /tmp
        # Output reaches the renter line by line, not when a buffer of 8 KiB is full.
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": str(workload.limits.cpus),
    }
    environment = {**defaults, **workload.environment, **ours}
    environment["PATH"] = ":".join([paths.inside, *paths.path, *_split(workload.environment.get("PATH"))])
    environment["PYTHONPATH"] = ":".join([paths.inside, *_split(workload.environment.get("PYTHONPATH"))])
    return environment


def system_path() -> tuple[str, ...]:
    """Folders of programs: the agent's own Python first, so that `python` means one with packages."""
    entries = (
        f"{sys.prefix}/bin",
        "/usr/local/bin",
        "/usr/bin",
        "/bin",
        "/usr/local/sbin",
        "/usr/sbin",
        "/sbin",
    )
    return tuple(entry for entry in dict.fromkeys(entries) if Path(entry).is_dir())


def _split(value: str | None) -> list[str]:
    return [entry for entry in (value or "").split(":") if entry]
