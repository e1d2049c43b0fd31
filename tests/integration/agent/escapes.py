"""Runs INSIDE the sandbox: tries to get out, one way after the other, and prints what came of each as JSON.

A probe that is held answers "held: why"; one that got through answers "ESCAPED: how".
"""

import contextlib
import ctypes
import errno
import fcntl
import glob
import json
import os
import platform
import signal
import socket
import stat
import sys
import termios
from collections.abc import Callable
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
X86 = platform.machine() == "x86_64"
NUMBERS = {  # name: (x86-64, aarch64)
    "ptrace": (101, 117),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "io_uring_setup": (425, 425),
    "userfaultfd": (323, 282),
    "init_module": (175, 105),
    "kexec_load": (246, 104),
    "open_by_handle_at": (304, 265),
    "process_vm_readv": (310, 270),
    "clone3": (435, 435),
    "fsopen": (430, 430),
    "open_tree": (428, 428),
    "mount_setattr": (442, 442),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "settimeofday": (164, 170),
    "sethostname": (170, 161),
    "syslog": (103, 116),
    "setns": (308, 268),
    "acct": (163, 89),
    "pidfd_getfd": (438, 438),
    "quotactl": (179, 60),
    "fanotify_init": (300, 262),
}
DENIALS = {errno.EPERM, errno.ENOSYS, errno.EACCES}
CLONE_NEWUSER, CLONE_NEWNS, SIGCHLD = 0x10000000, 0x00020000, 17


def call(name: str, *arguments: int) -> Callable[[], str]:
    """The bare system call: only a refusal by the filter or for want of privilege counts, not a bad argument."""

    def probe() -> str:
        ctypes.set_errno(0)
        answer = LIBC.syscall(NUMBERS[name][0 if X86 else 1], *arguments)
        code = ctypes.get_errno()
        if answer == -1 and code in DENIALS:
            return f"held: {errno.errorcode[code]}"
        return f"ESCAPED: {name} answered {answer}, errno {errno.errorcode.get(code, code)}"

    return probe


def denied(what: Callable[[], object]) -> Callable[[], str]:
    """Anything that must raise OSError."""

    def probe() -> str:
        try:
            answer = what()
        except OSError as error:
            return f"held: {errno.errorcode.get(error.errno or 0, error)}"
        return f"ESCAPED: {answer!r}"

    return probe


def mount() -> str:
    ctypes.set_errno(0)
    answer = LIBC.mount(b"none", b"/tmp", b"tmpfs", 0, None)
    return "ESCAPED: mounted" if answer == 0 else f"held: {errno.errorcode[ctypes.get_errno()]}"


def unshare_user() -> str:
    ctypes.set_errno(0)
    answer = LIBC.unshare(CLONE_NEWUSER)
    return "ESCAPED: own user namespace" if answer == 0 else f"held: {errno.errorcode[ctypes.get_errno()]}"


def clone_user() -> str:
    ctypes.set_errno(0)
    number = 56 if X86 else 220
    answer = LIBC.syscall(number, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0)
    if answer == 0:
        os._exit(0)
    return "ESCAPED: cloned" if answer > 0 else f"held: {errno.errorcode[ctypes.get_errno()]}"


def write_system() -> str:
    for path in (
        "/usr/bin/gp4u-was-here",
        "/etc/gp4u",
        "/gp4u/x",
        "/lib/x",
        "/x",
        sys.prefix + "/x",
        "/dev/x",
    ):
        with contextlib.suppress(OSError), open(path, "w"):
            return f"ESCAPED: wrote {path}"
    return "held: nothing but /job, /tmp, /run/gp4u and /dev/shm can be written"


def write_kernel_settings() -> str:
    for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/vm/overcommit_memory", "/proc/sysrq-trigger"):
        with contextlib.suppress(OSError), open(path, "w") as file:
            file.write("0")
            return f"ESCAPED: wrote {path}"
    return "held: /proc is read-only"


def see_other_processes() -> str:
    commands = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        with contextlib.suppress(OSError), open(path, "rb") as file:
            commands.append(file.read())
    foreign = [command for command in commands if b"pytest" in command or b"gp4u-agent" in command]
    return f"ESCAPED: sees {foreign}" if foreign or len(commands) > 6 else f"held: sees {len(commands)}"


def kill_outside() -> str:
    """The first process of the sandbox is not the job's, and nobody else's has a number here."""
    outside = int(os.environ["OUTSIDE_PID"])
    # gVisor's process 1 may be killed like any other: that is the end of the job, and of nothing else.
    for pid in (outside,) if "GVISOR" in os.environ else (outside, 1):
        try:
            os.kill(pid, 9)
        except ProcessLookupError:
            continue
        except PermissionError:
            continue
        if pid != 1:
            return f"ESCAPED: killed {pid}"
    return "held"


def kill_everything() -> str:
    """kill(-1) reaches only what lies in the sandbox; a child takes the blow."""
    child = os.fork()
    if child == 0:
        os.kill(-1, 0)
        os._exit(0)
    os.waitpid(child, 0)
    return "held: no process outside was reached (checked outside)"


def network() -> str:
    interfaces = [name for _, name in socket.if_nameindex() if name != "lo"]
    if interfaces:
        return f"ESCAPED: {interfaces}"
    for address in (("1.1.1.1", 53), ("169.254.169.254", 80), ("127.0.0.1", int(os.environ["OUTSIDE_PORT"]))):
        with contextlib.suppress(OSError), socket.create_connection(address, 0.5):
            return f"ESCAPED: reached {address}"
    return "held: no interface, no route"


def abstract_socket() -> str:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
        client.connect("\0" + os.environ["OUTSIDE_ABSTRACT"])
        return "ESCAPED: an abstract socket of the host"
    return "held"


def raw_socket() -> str:
    for family, kind, protocol in (
        (socket.AF_INET, socket.SOCK_RAW, 1),
        (socket.AF_PACKET, socket.SOCK_RAW, 0),
    ):
        with contextlib.suppress(OSError):
            socket.socket(family, kind, protocol).close()
            return f"ESCAPED: {family}"
    return "held"


def odd_socket_families() -> str:
    for family in (38, 40, 16 + 15, 29, 44, 21):  # alg, vsock, bluetooth, can, xdp, rds
        with contextlib.suppress(OSError):
            socket.socket(family, socket.SOCK_DGRAM).close()
            return f"ESCAPED: family {family}"
    return "held"


def device_nodes() -> str:
    known = {"null", "zero", "full", "random", "urandom", "tty", "console", "ptmx"}
    if "GVISOR" in os.environ:
        known |= {"fuse", "tun"}  # its own kernel's: no node of the machine's is there at all
    found = []
    for base, _, names in os.walk("/dev"):
        for path in (os.path.join(base, name) for name in names):
            mode = os.lstat(path).st_mode
            if stat.S_ISBLK(mode) or (
                stat.S_ISCHR(mode) and os.path.basename(path) not in known and "/pts/" not in path
            ):
                found.append(path)
    return f"ESCAPED: {found}" if found else "held"


def make_device() -> str:
    for where in ("/tmp/disk", "/job/disk", "/dev/shm/disk"):
        with contextlib.suppress(OSError):
            os.mknod(where, stat.S_IFBLK | 0o666, os.makedev(254, 0))
            with contextlib.suppress(OSError), open(where, "rb") as disk:
                return f"ESCAPED: read {len(disk.read(512))} bytes of a disk"
    return "held"


def privileges() -> str:
    fields = dict(
        line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line
    )
    problems = [name for name in ("CapEff", "CapPrm", "CapInh", "CapAmb") if int(fields.get(name, "0"), 16)]
    if LIBC.prctl(39, 0, 0, 0, 0) != 1:  # PR_GET_NO_NEW_PRIVS; gVisor's /proc does not tell it
        problems.append("new privileges")
    if fields["Seccomp"] != "2":
        problems.append("no filter")
    if os.getuid() == 0 or 0 in os.getgroups():
        problems.append("root")
    return f"ESCAPED: {problems}" if problems else "held"


def become_root() -> str:
    for attempt in (lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setgroups([0])):
        with contextlib.suppress(OSError):
            attempt()
            return "ESCAPED: root"
    return "held"


def setuid_programs() -> str:
    status = Path("/proc/self/status").read_text()
    for mount_line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, options, *_ = mount_line.split()
        if (
            "nosuid" not in options.split(",")
            and kind not in {"proc", "devpts"}
            and not where.startswith(("/dev/", "/proc/"))  # single nodes, and what hides others
            # Engines cannot mount everything so; without new privileges the bit means nothing.
            and not ("IMAGE" in os.environ and "NoNewPrivs:\t1" in status)
            # gVisor never honours the bit where new privileges are forbidden, which `privileges` asks.
            and "GVISOR" not in os.environ
        ):
            return f"ESCAPED: {where} honours set-user-id"
    return "held"


def secrets() -> str:
    readable = []
    # An image brings folders of its own by these names: there it is the machine's content that must not be found.
    places = ["/home", "/var", "/sys/kernel"]
    if "GVISOR" in os.environ:
        # Its own /sys has empty folders by these names: it is the machine's content that must not be found.
        places = ["/home", "/var", "/sys/kernel/debug", "/sys/firmware/acpi", "/sys/block/vda"]
    if "IMAGE" in os.environ:
        places = [
            "/var/lib/dpkg",
            "/var/log",
            "/sys/kernel/debug/tracing",
            "/sys/firmware/acpi",
            "/proc/kcore",
        ]
    for path in (
        "/etc/shadow",
        "/root/.ssh",
        "/run/docker.sock",
        "/run/podman/podman.sock",
        os.environ["OUTSIDE_FILE"],
        *places,
    ):
        with contextlib.suppress(OSError):
            os.listdir(path) if os.path.isdir(path) else Path(path).read_bytes()
            readable.append(path)
    environment = [
        name for name in os.environ if name in {"HOST_SECRET", "SSH_AUTH_SOCK", "GP4U_LIFELINE_FD"}
    ]
    return f"ESCAPED: {readable + environment}" if readable or environment else "held"


def inherited_descriptors() -> str:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    foreign = {fd: to for fd, to in found.items() if fd > 2 and not to.startswith("/proc/")}
    return f"ESCAPED: {foreign}" if foreign else "held"


def terminal_injection() -> str:
    master, slave = os.openpty()
    try:
        fcntl.ioctl(slave, termios.TIOCSTI, b"x")
    except OSError as error:
        return f"held: {errno.errorcode[error.errno or 0]}"
    finally:
        os.close(master)
        os.close(slave)
    return "ESCAPED: typed into a terminal"


def cgroup_escape() -> str:
    agents = glob.glob("/sys/fs/cgroup/**/release_agent", recursive=True)
    for path in [*agents, "/sys/fs/cgroup/cgroup.procs"]:
        with contextlib.suppress(OSError), open(path, "w"):
            return f"ESCAPED: {path}"
    return "held"


def process_bound() -> str:
    """A fork bomb ends at the bound; it is cleared up before the next probe."""
    children = []
    held = ""
    for _ in range(400):
        try:
            pid = os.fork()
        except OSError as error:
            held = f"held: {errno.errorcode[error.errno or 0]} after {len(children)}"
            break
        if pid == 0:
            signal.pause()
            os._exit(0)
        children.append(pid)
    for pid in children:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    return held or f"ESCAPED: {len(children)} processes"


def file_bound() -> str:
    try:
        with open("/job/big", "wb") as file:
            os.posix_fallocate(file.fileno(), 0, 1 << 30)
    except OSError as error:
        return f"held: {errno.errorcode[error.errno or 0]}"
    return "ESCAPED: a file of 1 GiB"


def tmp_bound() -> str:
    try:
        with open("/tmp/big", "wb") as file:
            for _ in range(40):
                file.write(bytes(1 << 20))
    except OSError as error:
        return f"held: {errno.errorcode[error.errno or 0]}"
    finally:
        with contextlib.suppress(OSError):
            os.unlink("/tmp/big")
    return "ESCAPED: 40 MiB in a /tmp of 16"


PROBES: dict[str, Callable[[], str]] = {
    "mount": mount,
    "unshare_user": unshare_user,
    "clone_user": clone_user,
    **{name: call(name, 0, 0, 0, 0, 0) for name in NUMBERS},
    "write_system": write_system,
    "write_kernel_settings": write_kernel_settings,
    "see_other_processes": see_other_processes,
    "kill_outside": kill_outside,
    "kill_everything": kill_everything,
    "network": network,
    "abstract_socket": abstract_socket,
    "raw_socket": raw_socket,
    "odd_socket_families": odd_socket_families,
    "device_nodes": device_nodes,
    "make_device": make_device,
    "privileges": privileges,
    "become_root": become_root,
    "setuid_programs": setuid_programs,
    "secrets": secrets,
    "inherited_descriptors": inherited_descriptors,
    "terminal_injection": terminal_injection,
    "cgroup_escape": cgroup_escape,
    "file_bound": file_bound,
    "tmp_bound": tmp_bound,
    "process_bound": process_bound,
}

if __name__ == "__main__":
    answers = {}
    for name, probe in PROBES.items():
        try:
            answers[name] = probe()
        except Exception as error:
            answers[name] = f"BROKEN: {type(error).__name__}: {error}"
    print(json.dumps(answers))
