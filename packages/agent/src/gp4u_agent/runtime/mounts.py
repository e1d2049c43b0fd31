"""What of the machine a sandboxed job sees, as arguments of bubblewrap, and whose the job's own folders are."""

import os
import sys
import zlib
from pathlib import Path

_UID_BASE = 0x30000000


def system_mounts() -> list[str]:
    """The machine's programs and libraries and the agent's Python, read-only."""
    arguments = ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        path = Path("/", name)
        if path.is_symlink():
            arguments += ["--symlink", os.readlink(path), str(path)]
        elif path.is_dir():
            arguments += ["--ro-bind", str(path), str(path)]
    executable = Path(sys.executable).resolve().parent.parent
    for prefix in dict.fromkeys((sys.prefix, sys.base_prefix, str(executable))):
        if not Path(prefix).is_relative_to("/usr") and prefix != "/":
            # bubblewrap would make the parents for root's eyes only.
            for parent in reversed(Path(prefix).parents):
                if str(parent) != "/":
                    arguments += ["--perms", "0755", "--dir", str(parent)]
            arguments += ["--ro-bind", prefix, prefix]
    return arguments


def device_mounts(devices: list[str]) -> list[str]:
    """The driver's device nodes, when the job has real GPUs. CUDA_VISIBLE_DEVICES says which of them are its own."""
    if not any(device.startswith(("GPU-", "MIG-")) for device in devices):
        return []
    nodes = sorted(Path("/dev").glob("nvidia*"))
    return [word for node in nodes for word in ("--dev-bind-try", str(node), str(node))]


def give_to(folder: Path, uid: int) -> None:
    """Make `uid` the owner of everything in `folder`; links are not followed."""
    os.chown(folder, uid, uid, follow_symlinks=False)
    for base, folders, files in os.walk(folder):
        for name in folders + files:
            os.chown(os.path.join(base, name), uid, uid, follow_symlinks=False)


def job_uid(name: str) -> int:
    """The user id that a job of this name runs as when the agent is root: far above every real account's."""
    return _UID_BASE + (zlib.crc32(name.encode()) & 0xFFFFFF)
