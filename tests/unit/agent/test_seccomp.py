"""The filter program, run by an interpreter of our own: what the kernel would answer to each call."""

import errno
import struct

import pytest
from gp4u_agent.runtime import seccomp
from gp4u_agent.runtime.seccomp import AUDIT_ARCH, CLONE_NAMESPACES, DENIED, instructions

ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
MACHINES = sorted(AUDIT_ARCH)


def verdict(machine: str, number: int, *arguments: int, arch: int | None = None) -> int:
    """What the program returns for this call."""
    padded = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    packed = struct.pack("<iIQ6Q", number, arch or AUDIT_ARCH[machine], 0, *padded)
    program = instructions(machine)
    accumulator = position = steps = 0
    while True:
        steps += 1
        assert steps < 1000
        code, jump_true, jump_false, value = program[position]
        position += 1
        if code == 0x20:
            accumulator = struct.unpack_from("<I", packed, value)[0]
        elif code == 0x06:
            return value
        else:
            met = {
                0x15: accumulator == value,
                0x35: accumulator >= value,
                0x45: bool(accumulator & value),
            }[code]
            position += jump_true if met else jump_false


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", DENIED)
def test_every_denied_call_is_denied(machine: str, name: str) -> None:
    number = DENIED[name].x86_64 if machine == "x86_64" else DENIED[name].aarch64
    if number is not None:
        assert verdict(machine, number) == ERRNO | DENIED[name].error


@pytest.mark.parametrize("machine", MACHINES)
def test_everything_else_is_allowed(machine: str) -> None:
    denied = {d.x86_64 if machine == "x86_64" else d.aarch64 for d in DENIED.values()}
    special = {41, 198} | ({16} if machine == "x86_64" else {29})
    for number in range(470):
        if number not in denied | special:
            assert verdict(machine, number) == ALLOW, number


@pytest.mark.parametrize(("machine", "clone"), [("x86_64", 56), ("aarch64", 220)])
def test_clone_makes_threads_and_processes_but_no_namespaces(machine: str, clone: int) -> None:
    assert verdict(machine, clone, 17) == ALLOW  # fork
    assert verdict(machine, clone, 0x3D0F00) == ALLOW  # a thread of glibc
    for bit in range(32):
        if CLONE_NAMESPACES >> bit & 1:
            assert verdict(machine, clone, 1 << bit | 17) == ERRNO | errno.EPERM


@pytest.mark.parametrize(("machine", "number"), [("x86_64", 41), ("aarch64", 198)])
def test_socket_families(machine: str, number: int) -> None:
    allowed = {family for family in range(46) if verdict(machine, number, family) == ALLOW}
    assert allowed == {1, 2, 10, 16}


@pytest.mark.parametrize(("machine", "number"), [("x86_64", 16), ("aarch64", 29)])
def test_ioctl_does_not_type_into_terminals(machine: str, number: int) -> None:
    assert verdict(machine, number, 0, 0x5412) == ERRNO | errno.EPERM
    assert verdict(machine, number, 0, 0x541C) == ERRNO | errno.EPERM
    assert verdict(machine, number, 0, 0x5412 | 1 << 32) == ERRNO | errno.EPERM, "the kernel looks at 32 bits"
    assert verdict(machine, number, 0, 0x5401) == ALLOW


@pytest.mark.parametrize("machine", MACHINES)
def test_a_foreign_architecture_is_killed(machine: str) -> None:
    assert verdict(machine, 1, arch=0x40000003) == KILL  # i386


def test_x32_numbers_do_not_exist() -> None:
    assert verdict("x86_64", 0x40000000 | 101) == ERRNO | errno.ENOSYS


@pytest.mark.parametrize("machine", MACHINES)
def test_the_program_is_well_formed(machine: str) -> None:
    program = instructions(machine)
    assert len(seccomp.program(machine)) == 8 * len(program)
    assert len(program) <= 4096
    for position, (code, jump_true, jump_false, _) in enumerate(program):
        if code in (0x15, 0x35, 0x45):
            assert max(jump_true, jump_false) + position + 1 < len(program)
    assert program[-1].code == 0x06
