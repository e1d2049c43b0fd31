"""What NVIDIA's XID numbers mean, and what we do about each. Pure data.

Meanings are NVIDIA's own: the catalogue of XIDs (https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html),
the notes on page retirement (https://docs.nvidia.com/deploy/dynamic-page-retirement/visibility.html) and on memory errors
(https://docs.nvidia.com/deploy/a100-gpu-mem-error-mgmt/). What follows from them is ours: critical where the documents
want the GPU reset, the machine restarted or the card examined, because none of that can be done under a running job.
docs/design/telemetry.md has the table for people.
"""

from dataclasses import dataclass

from gp4u_server.catalyst.telemetry.types import Severity


@dataclass(frozen=True)
class Xid:
    """One number: what it means, in the words that people read, and how bad it is."""

    meaning: str
    severity: Severity


_JOBS_OWN = Severity.INFO
_LOOK = Severity.WARNING
_FAILING = Severity.CRITICAL

XIDS: dict[int, Xid] = {
    # The application's own: a wrong address, a wrong instruction, or the clean-up after it was ended.
    8: Xid("a kernel did not end in time", _JOBS_OWN),
    13: Xid("an exception in a kernel of the application", _JOBS_OWN),
    31: Xid("an application used a memory address that is not its own", _JOBS_OWN),
    32: Xid("an application's command stream was damaged", _JOBS_OWN),
    43: Xid("an application's work was stopped after an error of its own", _JOBS_OWN),
    45: Xid("an application's work was cleared away after it was ended", _JOBS_OWN),
    68: Xid("an exception in the video decoder", _JOBS_OWN),
    69: Xid("an application used an invalid command", _JOBS_OWN),
    # Worth a look; the GPU goes on.
    38: Xid("the driver's firmware reported an error", _LOOK),
    61: Xid("the GPU's own controller halted at a breakpoint", _LOOK),
    63: Xid("a part of its memory was taken out of use; it takes effect when the GPU is reset", _LOOK),
    92: Xid("many corrected memory errors", _LOOK),
    109: Xid("switching between applications took too long", _LOOK),
    # Failing: reset, restart or examination needed.
    46: Xid("the GPU stopped working", _FAILING),
    48: Xid("a memory error that could not be corrected", _FAILING),
    62: Xid("the GPU's own controller halted", _FAILING),
    64: Xid("a bad part of its memory could not be taken out of use", _FAILING),
    74: Xid("an error on the link between GPUs (NVLink)", _FAILING),
    79: Xid("the GPU has fallen off the bus", _FAILING),
    94: Xid("a memory error that could not be corrected, contained to one application", _FAILING),
    95: Xid("a memory error that could not be corrected nor contained", _FAILING),
    119: Xid("the GPU's system processor does not answer", _FAILING),
    120: Xid("the GPU's system processor failed", _FAILING),
    140: Xid("a memory error that was not recovered", _FAILING),
}

GONE = frozenset({"79"})
"""The driver cannot reach the GPU at all: no job on it can go on."""

UNKNOWN = Xid("an error of the driver that we have no entry for", _LOOK)
"""A number that we do not know drains nothing: better a look too many than a healthy node too few."""


def meaning_of(code: int) -> Xid:
    """The entry of a number."""
    return XIDS.get(code, UNKNOWN)
