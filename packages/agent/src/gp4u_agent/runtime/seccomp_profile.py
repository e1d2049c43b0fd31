"""Our seccomp filter (`runtime.seccomp`) in the form that container engines take: the same list, the same answers."""

import errno
import json
import platform
from typing import Any, Final

from gp4u_agent.runtime.seccomp import CLONE_NAMESPACES, DENIED, IOCTL_DENIED, SOCKET_FAMILIES

_ARCHITECTURES: Final = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}
_FAMILIES_END: Final = 64
"""Socket families above do not exist in any kernel, which then refuses them itself."""
_INT_MASK: Final = 0xFFFFFFFF
"""The kernel reads these arguments as 32 bits: a comparison of all 64 would be evaded by setting a high one."""


def profile(machine: str | None = None) -> dict[str, Any]:
    """The profile for `machine` ("x86_64" or "aarch64"). Raises KeyError for any other.

    A foreign architecture is not listed, which kills it. Numbers of the x32 ABI are foreign as well.
    """
    machine = machine or platform.machine()
    by_error: dict[int, list[str]] = {}
    for name, denied in DENIED.items():
        if (denied.x86_64 if machine == "x86_64" else denied.aarch64) is not None:
            by_error.setdefault(denied.error, []).append(name)
    rules = [_rule(names, error) for error, names in sorted(by_error.items())]
    for bit in range(32):
        if CLONE_NAMESPACES & (1 << bit):
            rules.append(_rule(["clone"], errno.EPERM, index=0, mask=1 << bit, value=1 << bit))
    for request in IOCTL_DENIED.values():
        rules.append(_rule(["ioctl"], errno.EPERM, index=1, mask=_INT_MASK, value=request))
    for family in sorted(set(range(_FAMILIES_END)) - set(SOCKET_FAMILIES.values())):
        rules.append(_rule(["socket"], errno.EAFNOSUPPORT, index=0, mask=_INT_MASK, value=family))
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": [_ARCHITECTURES[machine]],
        "syscalls": rules,
    }


def profile_json(machine: str | None = None) -> str:
    """`profile` as text."""
    return json.dumps(profile(machine))


def _rule(
    names: list[str], error: int, *, index: int | None = None, mask: int = 0, value: int = 0
) -> dict[str, Any]:
    arguments = []
    if index is not None:
        arguments = [{"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}]
    return {"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": error, "args": arguments}
