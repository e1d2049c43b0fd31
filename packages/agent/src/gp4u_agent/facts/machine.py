"""Facts of the machine itself, one function each."""

import os
import platform
import shutil
import socket
from pathlib import Path

import psutil


def hostname() -> str:
    """The name, without its domain."""
    return socket.gethostname().split(".")[0] or "node"


def operating_system() -> str:
    """For example "Debian GNU/Linux 12 (bookworm)"."""
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return platform.system()


def kernel() -> str:
    """For example "6.18.4"."""
    return platform.release()


def cpu_model() -> str:
    """The processor's own name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def cpus() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def memory_mb() -> int:
    """Main memory, MiB: the machine's, or less where a control group bounds us."""
    total: int = psutil.virtual_memory().total
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            total = min(total, int(Path(file).read_text()))
        except (OSError, ValueError):
            continue
    return total >> 20


def memory_used_mb() -> int:
    """Main memory in use, MiB."""
    used: int = psutil.virtual_memory().used
    return used >> 20


def disk_free_mb(folder: Path) -> int:
    """Free disk where jobs would live, MiB."""
    try:
        return shutil.disk_usage(folder).free >> 20
    except OSError:
        return 0


def load_1m() -> float:
    """Runnable processes, averaged over a minute."""
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:
        return 0.0
