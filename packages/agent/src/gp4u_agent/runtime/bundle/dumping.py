"""A dump's folder, and the commands that write and read it. The adapter runs them through the keeper.

image/          CRIU's or gVisor's files: memory, registers, descriptors, what lies in /tmp and /dev/shm
job.tar         /job as it was at that instant
control.tar     /run/gp4u
record.json     what the job was confined to (see `record`)
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from gp4u_agent.runtime.port import StartRefused, Workload

IMAGE, JOB_FILES, CONTROL_FILES, RECORD = "image", "job.tar", "control.tar", "record.json"
CRIU_SETTINGS = "leave-stopped\nmanage-cgroups=ignore\n"
"""After a dump the tree stands until its files are copied, after a restore until it was checked.

Control groups are runc's and ours: CRIU would put back paths of the node that the dump came from.
"""
_EXTRACT_TIMEOUT_S = 600.0
_TAR = ("tar", "--numeric-owner", "--sparse", "--file")


def checkpoint_words(name: str, into: Path, work: Path) -> list[str]:
    """What runc is told to dump the memory and leave the tree standing."""
    return [
        *("checkpoint", "--image-path", str(into / IMAGE), "--work-path", str(work)),
        *("--leave-running", "--file-locks", name),
    ]


def restore_words(name: str, bundle: Path, dump: Path, pid_file: Path) -> list[str]:
    """What runc is told to bring the tree up again, standing."""
    return [
        *("restore", "--detach", "--image-path", str(dump / IMAGE), "--work-path", str(bundle)),
        *("--file-locks", "--bundle", str(bundle), "--pid-file", str(pid_file), name),
    ]


def archive_commands(workload: Workload, into: Path) -> dict[str, list[str]]:
    """Copy the job's own files: the tree stands meanwhile, so they fit its memory."""
    folders = {JOB_FILES: workload.job_dir, CONTROL_FILES: workload.control_dir}
    return {
        name: [*_TAR, str(into / name), "--create", "--directory", str(folder), "."]
        for name, folder in folders.items()
    }


def extract(workload: Workload, dump: Path, uid: int) -> None:
    """Put the job's files back, with no more rights than the job has. Both folders are its own. Raises StartRefused."""
    for name, folder in ((JOB_FILES, workload.job_dir), (CONTROL_FILES, workload.control_dir)):
        try:
            with open(dump / name, "rb") as archive:
                done = subprocess.run(
                    [*_TAR, "-", "--extract", "--preserve-permissions"],
                    stdin=archive,
                    capture_output=True,
                    text=True,
                    cwd=folder,  # entered before the rights are dropped: what lies above is closed to the job
                    user=uid,
                    group=uid,
                    extra_groups=[],
                    timeout=_EXTRACT_TIMEOUT_S,
                    check=False,
                )
        except (OSError, subprocess.SubprocessError) as error:
            raise StartRefused(f"the files of the dump cannot be unpacked: {error}") from error
        if done.returncode != 0:
            raise StartRefused(f"the files of the dump cannot be unpacked: {done.stderr.strip()[-400:]}")


def read_record(dump: Path) -> dict[str, Any]:
    """Raises StartRefused when there is none."""
    try:
        record: dict[str, Any] = json.loads((dump / RECORD).read_bytes())
    except (OSError, ValueError) as error:
        raise StartRefused(f"the dump has no record of what the job was confined to: {error}") from error
    return record


def write_record(dump: Path, record: dict[str, Any]) -> None:
    """The inverse of `read_record`. Raises OSError."""
    (dump / RECORD).write_text(json.dumps(record, sort_keys=True))


def last_error(folder: Path, log: str) -> str:
    """What CRIU or runc complained of last."""
    for name in (log, "runc.log"):
        try:
            lines = (folder / name).read_text(errors="replace").splitlines()
        except OSError:
            continue
        errors = [line for line in lines if "Error" in line or "level=error" in line]
        told = [line for line in errors if "rlimit" not in line and "cgroupd" not in line]
        if told:
            return " | ".join(told[:2])[:400]
    return "no reason was told"


def empty(folder: Path) -> None:
    """Make `folder` an empty one, for root's eyes only. Raises OSError."""
    subprocess.run(["rm", "-rf", "--", folder], check=False, capture_output=True)
    os.makedirs(folder / IMAGE, mode=0o700)
