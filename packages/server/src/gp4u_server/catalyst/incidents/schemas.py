"""Request and response models of incidents and scores."""

from datetime import datetime
from typing import Any

from gp4u_protocol.job_spec import Strict
from pydantic import Field

from gp4u_server.catalyst.incidents.types import Cause, IncidentKind, Witness


class EvidenceOut(Strict):
    witness: Witness = Field(description="the kind of evidence; kinds are independent of each other")
    code: str
    sentence: str
    fits: list[Cause] = Field(description="the causes that it is consistent with")
    points_at: Cause | None = Field(description="the one that it speaks for")


class RulingOut(Strict):
    cause: Cause
    was: Cause | None = Field(description="what the evidence had said")
    reason: str
    at: datetime
    undone_at: datetime | None
    by: str | None = Field(default=None, description="the admin's e-mail address; shown to admins only")


class IncidentChangeOut(Strict):
    before: float
    after: float
    at: datetime


class IncidentOut(Strict):
    id: str
    kind: IncidentKind
    node_id: str
    began_at: datetime = Field(description="the last proof of life, or the end of the run")
    opened_at: datetime
    returned_at: datetime | None
    settled_at: datetime | None
    cause: Cause | None = Field(description="null while evidence is waited for")
    sub_class: str | None = Field(description="what exactly, such as xid_79 or machine_restarted")
    summary: str = Field(description="the cause in words")
    sentence: str | None
    reason: str | None = Field(description="how the run ended, for incidents of runs")
    evidence: list[EvidenceOut]
    runs_hit: int = Field(description="runs that were lost or failed with it")
    counts_as_loss: bool = Field(description="whether it lowers the reliability score now")
    counts_as_network_loss: bool
    away_s: float = Field(description="seconds that count against uptime")
    score_changes: list[IncidentChangeOut] = Field(description="what it did to the score, oldest first")
    before: dict[str, Any] = Field(description="what was known before: duty, agent, readings")
    after: dict[str, Any] | None = Field(description="what the agent said when it was back")
    rulings: list[RulingOut]


class CaseOut(IncidentOut):
    """An incident as admins see it: with whose node it was and which jobs it hit."""

    node_name: str
    owner_id: str
    owner_email: str
    job_ids: list[str] = Field(description="jobs whose runs it hit, at most 20 of them")
    ruled: bool = Field(description="an admin's ruling stands")
    evidence_cause: Cause | None = Field(description="what the evidence said, whatever was ruled")


class RulingIn(Strict):
    """PUT /incidents/{id}/ruling."""

    cause: Cause
    reason: str = Field(min_length=3, max_length=500, description="a sentence for the owner")


class SampleOut(Strict):
    losses: int
    online_h: float


class ScoreOut(Strict):
    """A node's score with what it rests on."""

    node_id: str
    reliability: float = Field(description="probability of surviving 24 h, Bayesian mean")
    reliability_low: float = Field(description="lower end of its interval")
    reliability_high: float = Field(description="upper end of its interval")
    interval: float = Field(description="how much of the posterior lies between the two")
    uptime: float | None
    seen_s: float
    record: str = Field(description='uptime and sample size in words, such as "99.1 %, 41 days seen"')
    host_losses: int
    network_losses: int
    losses: int = Field(description="times its lease ran out, whatever the cause")
    hazard_per_hour: float = Field(description="what the router expects: losses by host or network")
    expected: float = Field(description="what would be expected of it had it never been seen")
    fleet: SampleOut = Field(description="the same GPU model at other owners")
    owner: SampleOut = Field(description="the same owner's other nodes")


class ScoreChangeOut(Strict):
    id: str
    at: datetime
    before: float
    after: float
    drift: float | None = Field(
        description="from the change before this one until `before`: time passed, and the record of its owner and model"
    )
    host_losses: int = Field(description="what was added to its record; negative: taken back")
    network_losses: int
    away_s: float
    incident_id: str | None
    reason: str
