"""Our own seccomp filter, assembled into classic BPF without libseccomp.

A deny list: a job is any program, and an allow list breaks CUDA, Python or Go at their next release. What is denied is
what a job never needs and what kernel exploits and escapes are made of. Three more rules guard the list itself: a
foreign architecture kills (32-bit numbers mean other calls), x32 numbers do not exist, `clone` may not make namespaces
(`clone3` hides its flags in memory, so it "does not exist" and libraries fall back to `clone`).

Reference: Linux Documentation/userspace-api/seccomp_filter.rst; struct seccomp_data {int nr; u32 arch; u64 ip; u64 args[6]}.
"""

import errno
import platform
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

AUDIT_ARCH: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32_BIT: Final = 0x40000000

_ALLOW: Final = 0x7FFF0000
_KILL_PROCESS: Final = 0x80000000
_ERRNO: Final = 0x00050000

_LOAD_WORD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_JUMP_GREATER_EQUAL: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_JUMP_SET: Final = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K

_NR_OFFSET: Final = 0
_ARCH_OFFSET: Final = 4
_ARG0_LOW_OFFSET: Final = 16  # both architectures are little-endian
_ARG1_LOW_OFFSET: Final = 24

CLONE_NAMESPACES: Final = (
    0x00020000  # NEWNS
    | 0x02000000  # NEWCGROUP
    | 0x04000000  # NEWUTS
    | 0x08000000  # NEWIPC
    | 0x10000000  # NEWUSER
    | 0x20000000  # NEWPID
    | 0x40000000  # NEWNET
)
SOCKET_FAMILIES: Final = {"unix": 1, "inet": 2, "inet6": 10, "netlink": 16}
IOCTL_DENIED: Final = {"TIOCSTI": 0x5412, "TIOCLINUX": 0x541C}


class Denied(NamedTuple):
    """One denied system call: its number on x86-64 and aarch64 (None: not there) and the errno it answers."""

    x86_64: int | None
    aarch64: int | None
    error: int = errno.EPERM


# ENOSYS where programs probe for the call and have a fallback.
DENIED: Final[dict[str, Denied]] = {
    # file systems
    "mount": Denied(165, 40),
    "umount2": Denied(166, 39),
    "pivot_root": Denied(155, 41),
    "chroot": Denied(161, 51),
    "fsopen": Denied(430, 430),
    "fsconfig": Denied(431, 431),
    "fsmount": Denied(432, 432),
    "fspick": Denied(433, 433),
    "open_tree": Denied(428, 428),
    "open_tree_attr": Denied(467, 467),
    "move_mount": Denied(429, 429),
    "mount_setattr": Denied(442, 442),
    "swapon": Denied(167, 224),
    "swapoff": Denied(168, 225),
    "quotactl": Denied(179, 60),
    "quotactl_fd": Denied(443, 443),
    "nfsservctl": Denied(180, 42, errno.ENOSYS),
    "fanotify_init": Denied(300, 262),
    "name_to_handle_at": Denied(303, 264),
    "open_by_handle_at": Denied(304, 265),
    # other processes
    "ptrace": Denied(101, 117),
    "process_vm_readv": Denied(310, 270),
    "process_vm_writev": Denied(311, 271),
    "process_madvise": Denied(440, 440),
    "pidfd_getfd": Denied(438, 438),
    "kcmp": Denied(312, 272),
    # namespaces
    "unshare": Denied(272, 97),
    "setns": Denied(308, 268),
    "clone3": Denied(435, 435, errno.ENOSYS),
    # the kernel itself
    "bpf": Denied(321, 280),
    "perf_event_open": Denied(298, 241),
    "userfaultfd": Denied(323, 282, errno.ENOSYS),
    "io_uring_setup": Denied(425, 425, errno.ENOSYS),
    "io_uring_enter": Denied(426, 426, errno.ENOSYS),
    "io_uring_register": Denied(427, 427, errno.ENOSYS),
    "keyctl": Denied(250, 219),
    "add_key": Denied(248, 217),
    "request_key": Denied(249, 218),
    "init_module": Denied(175, 105),
    "finit_module": Denied(313, 273),
    "delete_module": Denied(176, 106),
    "create_module": Denied(174, None, errno.ENOSYS),
    "query_module": Denied(178, None, errno.ENOSYS),
    "kexec_load": Denied(246, 104),
    "kexec_file_load": Denied(320, 294),
    "lookup_dcookie": Denied(212, 18),
    "syslog": Denied(103, 116),
    "acct": Denied(163, 89),
    "reboot": Denied(169, 142),
    "vhangup": Denied(153, 58),
    "iopl": Denied(172, None),
    "ioperm": Denied(173, None),
    "uselib": Denied(134, None, errno.ENOSYS),
    "_sysctl": Denied(156, None, errno.ENOSYS),
    "modify_ldt": Denied(154, None),
    # the machine's name and clock
    "sethostname": Denied(170, 161),
    "setdomainname": Denied(171, 162),
    "settimeofday": Denied(164, 170),
    "clock_settime": Denied(227, 112),
    "clock_adjtime": Denied(305, 266),
    "adjtimex": Denied(159, 171),
}
_CLONE: Final = {"x86_64": 56, "aarch64": 220}
_SOCKET: Final = {"x86_64": 41, "aarch64": 198}
_IOCTL: Final = {"x86_64": 16, "aarch64": 29}


class Instruction(NamedTuple):
    """struct sock_filter."""

    code: int
    jump_true: int
    jump_false: int
    value: int


def supported(machine: str | None = None) -> bool:
    """Whether we have a filter for this architecture."""
    return (machine or platform.machine()) in AUDIT_ARCH


def instructions(machine: str) -> list[Instruction]:
    """The filter for `machine` ("x86_64" or "aarch64"). Raises KeyError for any other."""
    return list(_assemble(machine))


def program(machine: str | None = None) -> bytes:
    """The filter as the bytes that `bwrap --seccomp FD` reads: an array of struct sock_filter."""
    return b"".join(struct.pack("=HBBI", *step) for step in instructions(machine or platform.machine()))


def _assemble(machine: str) -> Iterator[Instruction]:
    eperm, enosys = _ERRNO | errno.EPERM, _ERRNO | errno.ENOSYS

    yield Instruction(_LOAD_WORD, 0, 0, _ARCH_OFFSET)
    yield Instruction(_JUMP_EQUAL, 1, 0, AUDIT_ARCH[machine])
    yield Instruction(_RETURN, 0, 0, _KILL_PROCESS)

    yield Instruction(_LOAD_WORD, 0, 0, _NR_OFFSET)
    if machine == "x86_64":
        yield Instruction(_JUMP_GREATER_EQUAL, 0, 1, _X32_BIT)
        yield Instruction(_RETURN, 0, 0, enosys)

    for call in DENIED.values():
        number = call.x86_64 if machine == "x86_64" else call.aarch64
        if number is not None:
            yield Instruction(_JUMP_EQUAL, 0, 1, number)
            yield Instruction(_RETURN, 0, 0, _ERRNO | call.error)

    # clone: no new namespaces.
    yield Instruction(_JUMP_EQUAL, 0, 4, _CLONE[machine])
    yield Instruction(_LOAD_WORD, 0, 0, _ARG0_LOW_OFFSET)
    yield Instruction(_JUMP_SET, 0, 1, CLONE_NAMESPACES)
    yield Instruction(_RETURN, 0, 0, eperm)
    yield Instruction(_RETURN, 0, 0, _ALLOW)

    # ioctl: nothing that types into a terminal.
    yield Instruction(_JUMP_EQUAL, 0, 2 + 2 * len(IOCTL_DENIED), _IOCTL[machine])
    yield Instruction(_LOAD_WORD, 0, 0, _ARG1_LOW_OFFSET)
    for request in IOCTL_DENIED.values():
        yield Instruction(_JUMP_EQUAL, 0, 1, request)
        yield Instruction(_RETURN, 0, 0, eperm)
    yield Instruction(_RETURN, 0, 0, _ALLOW)

    # socket: only the families that programs need; the others are where kernel bugs live (packet, alg, vsock, ...).
    yield Instruction(_JUMP_EQUAL, 0, 2 + len(SOCKET_FAMILIES), _SOCKET[machine])
    yield Instruction(_LOAD_WORD, 0, 0, _ARG0_LOW_OFFSET)
    for index, family in enumerate(SOCKET_FAMILIES.values()):
        yield Instruction(_JUMP_EQUAL, len(SOCKET_FAMILIES) - index, 0, family)
    yield Instruction(_RETURN, 0, 0, _ERRNO | errno.EAFNOSUPPORT)

    yield Instruction(_RETURN, 0, 0, _ALLOW)
