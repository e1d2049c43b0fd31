"""What an incident is attributed to, when it is looked at, and what it does to a score. Pure.

The rule. Each finding names the causes that it fits and, perhaps, the one that it points at.

1. Our own records against us suffice alone: it was the platform. Blaming ourselves takes nothing from anybody.
2. Else a cause stands when every finding fits it, some finding points at it, and the findings are of at least two
   independent kinds. Of several that stand, the first of `_ORDER`: a failing card explains a crash of what ran on it, and
   not the other way round; and where it may have been us, it was us.
3. Else nothing is known: one kind of evidence only, none that points anywhere, or kinds that contradict each other.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from gp4u_server.catalyst.incidents.types import (
    HOST,
    Attribution,
    Cause,
    Facts,
    Finding,
    IncidentKind,
    Witness,
)
from gp4u_server.catalyst.incidents.witnesses import findings_of

WITNESSES_MIN = 2
_ORDER = (Cause.PLATFORM, Cause.HOST_HARDWARE, Cause.HOST_SOFTWARE, Cause.NETWORK, Cause.RENTER_JOB)

IN_WORDS = {
    Cause.HOST_HARDWARE: "the host's hardware",
    Cause.HOST_SOFTWARE: "the host's software",
    Cause.RENTER_JOB: "the job itself",
    Cause.NETWORK: "the network of the host",
    Cause.PLATFORM: "the platform",
    Cause.UNKNOWN: "nobody: not enough is known",
}
_SUB_CLASSES = {
    "machine_restarted": "the machine was started again without notice",
    "machine_shut_down": "the machine was shut down",
    "machine_paused": "the machine stood still",
    "agent_crashed": "the agent crashed",
    "agent_stopped": "the agent was ended",
    "link_lost": "its link was gone",
    "site_link": "the link or power of the whole site was gone",
    "mass_loss": "many nodes of different owners at once",
    "gateway_died": "a gateway of ours died",
    "authority_gap": "a gateway of ours was not sure of itself",
    "shim_lost": "the process that kept the job was ended",
    "thermal": "overheating",
    "ecc": "memory errors (ECC)",
    "row_remap": "memory rows used up",
    "pcie": "errors on the PCIe link",
    "off_duty": "it was in maintenance",
    "fails_jobs": "it fails jobs of several renters",
}


def attribute(facts: Facts) -> Attribution:
    """The decision."""
    return judge(findings_of(facts))


def judge(findings: list[Finding]) -> Attribution:
    """See the rule above."""
    found = tuple(findings)
    ours = next((each for each in found if each.witness is Witness.PLATFORM), None)
    if ours is not None:
        return _said(Cause.PLATFORM, ours.sub_class, found)
    kinds = {each.witness for each in found}
    if len(kinds) < WITNESSES_MIN:
        why = f"Only one kind of evidence ({_kind(next(iter(kinds)))})" if kinds else "There is no evidence"
        return Attribution(
            Cause.UNKNOWN, None, f"{why}; it takes two before anybody is held to account.", found
        )
    stand = frozenset(_ORDER).intersection(*(each.fits for each in found))
    if not stand:
        return Attribution(
            Cause.UNKNOWN,
            "contradiction",
            "The kinds of evidence contradict each other, so nobody is blamed.",
            found,
        )
    pointed = {each.points_at: each for each in reversed(found) if each.points_at in stand}
    cause = next((each for each in _ORDER if each in pointed), None)
    if cause is None:
        return Attribution(
            Cause.UNKNOWN, None, "The evidence points at no one cause, so nobody is blamed.", found
        )
    return _said(cause, pointed[cause].sub_class, found)


def _said(cause: Cause, sub_class: str | None, findings: tuple[Finding, ...]) -> Attribution:
    return Attribution(cause, sub_class, f"Attributed to {in_words(cause, sub_class)}.", findings)


def in_words(cause: Cause, sub_class: str | None) -> str:
    """For people: "the host's hardware (XID 79)"."""
    if sub_class is None or cause is Cause.UNKNOWN:
        return IN_WORDS[cause]
    said = (
        f"XID {sub_class[4:]}"
        if sub_class.startswith("xid_")
        else _SUB_CLASSES.get(sub_class, sub_class.replace("_", " "))
    )
    return f"{IN_WORDS[cause]} ({said})"


def _kind(witness: Witness) -> str:
    return {
        Witness.GATEWAY: "what the gateways saw",
        Witness.TELEMETRY: "device events",
        Witness.AGENT: "what the agent says of itself",
        Witness.RUN_REPORT: "how the run ended",
        Witness.COMPARISON: "comparison with others",
        Witness.PLATFORM: "our own records",
    }[witness]


# --- when ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Patience:
    """How long evidence is waited for, in seconds."""

    settle_pause_s: float = 15.0
    """After the node is back, or the run ended: what else happened in those seconds must have arrived."""
    node_limit_s: float = 6 * 3600.0
    run_limit_s: float = 3600.0

    def first_look_at(self, opened_at: datetime) -> datetime:
        """What happened beside it in the same seconds has been written by then."""
        return opened_at + timedelta(seconds=self.settle_pause_s)

    def deadline(self, kind: IncidentKind, opened_at: datetime) -> datetime:
        """When what is known must do."""
        limit_s = self.node_limit_s if kind is IncidentKind.NODE_LOST else self.run_limit_s
        return opened_at + timedelta(seconds=limit_s)


def look_again_at(
    attribution: Attribution,
    *,
    kind: IncidentKind,
    is_back: bool,
    now: datetime,
    deadline: datetime,
    looks: int,
    pause_s: float,
) -> datetime | None:
    """When to look again, or None: settle it as it stands.

    A lost node that is back has said what it had to say; one that is not says nothing until then, and its return is an
    event of its own. The comparison of a run with others may take a while.
    """
    if attribution.cause is not Cause.UNKNOWN or is_back or now >= deadline:
        return None
    if kind is IncidentKind.NODE_LOST:
        return deadline
    return min(deadline, now + timedelta(seconds=max(1.0, pause_s) * 4.0 ** min(looks + 1, 8)))


# --- what follows ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Effect:
    """What an incident adds to a node's record. Losses are 0 or 1, `away_ms` counts against its uptime."""

    host_losses: int = 0
    network_losses: int = 0
    away_ms: int = 0

    def __sub__(self, other: "Effect") -> "Effect":
        return Effect(
            self.host_losses - other.host_losses,
            self.network_losses - other.network_losses,
            self.away_ms - other.away_ms,
        )

    @property
    def is_nothing(self) -> bool:
        return not (self.host_losses or self.network_losses or self.away_ms)


NOTHING = Effect()
_BREAKS_A_RUN = frozenset({IncidentKind.NODE_LOST, IncidentKind.RUN_LOST, IncidentKind.JOB_FAILED})
SAME_EVENT = timedelta(minutes=5)
"""A card that dies fails its job, then takes the node along: incidents this close by one cause are one event."""


def effect_of(
    kind: IncidentKind, cause: Cause, *, away_s: float | None, off_duty: bool, counted_already: bool
) -> Effect:
    """What the attribution adds to the record.

    A loss by the host (hardware, software) lowers reliability; one by its network lowers only uptime and what the router
    expects; a failed start breaks no run and lowers neither. `counted_already`: another incident of the same event is.
    """
    if off_duty or kind not in _BREAKS_A_RUN:
        return NOTHING
    away_ms = round((away_s or 0.0) * 1000) if kind is IncidentKind.NODE_LOST else 0
    if cause in HOST:
        return Effect(host_losses=0 if counted_already else 1, away_ms=away_ms)
    if cause is Cause.NETWORK:
        return Effect(network_losses=0 if counted_already else 1, away_ms=away_ms)
    return NOTHING
