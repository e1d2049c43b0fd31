"""Use cases of incidents: look at one, settle it, tell its jobs, rule on it. The session comes first; nothing here commits.

Order of locks in a settlement: node, incident, then what hears of the score (its offer). Telling locks the job and the run.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gp4u_protocol.messages import AgentLife
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.incidents import repository
from gp4u_server.catalyst.incidents.decisions import (
    NOTHING,
    SAME_EVENT,
    Effect,
    Patience,
    attribute,
    effect_of,
    in_words,
    look_again_at,
)
from gp4u_server.catalyst.incidents.errors import IncidentNotFound, NothingToUndo
from gp4u_server.catalyst.incidents.events import IncidentAttributed
from gp4u_server.catalyst.incidents.models import Incident
from gp4u_server.catalyst.incidents.opening import away_s
from gp4u_server.catalyst.incidents.types import (
    HOST,
    Attribution,
    Cause,
    DeviceSign,
    Facts,
    Finding,
    IncidentKind,
)
from gp4u_server.catalyst.incidents.witnesses import SIGNS_BEFORE
from gp4u_server.catalyst.jobs.service import JobService
from gp4u_server.catalyst.jobs.types import EventKind
from gp4u_server.catalyst.telemetry.service import TelemetryService
from gp4u_server.foundation.claims import Claim, Claims
from gp4u_server.foundation.events import EventBus
from gp4u_server.kit.ids import new_id
from gp4u_server.nodes.service import NodeService

CLAIM_TTL_S = 30.0
CLAIMS = Claims(Incident.__table__)


@dataclass(frozen=True)
class Look:
    """What was read of an incident before anything is locked."""

    incident_id: str
    facts: Facts
    readings: dict[str, Any]


@dataclass(frozen=True)
class IncidentService:
    """See each use case."""

    bus: EventBus
    nodes: NodeService
    jobs: JobService
    telemetry: TelemetryService
    patience: Patience

    # --- settling ----------------------------------------------------------------------------------------

    async def take_due(self, session: AsyncSession, limit: int) -> Sequence[Claim]:
        """Claim incidents that are to be looked at."""
        now = await repository.db_now(session)
        return await CLAIMS.take(
            session,
            due=Incident.due_at <= now,
            order_by=Incident.__table__.c.due_at,
            limit=limit,
            ttl_s=CLAIM_TTL_S,
        )

    async def look(self, session: AsyncSession, incident_id: str) -> Look:
        """Gather the facts; locks nothing. Raises IncidentNotFound."""
        found = await self._found(session, incident_id)
        now = await repository.db_now(session)
        events = await self.telemetry.events_of(session, found.node_id, found.began_at - SIGNS_BEFORE, now)
        snapshot = await self.telemetry.snapshot_of(session, found.node_id, found.began_at)
        signs = tuple(
            DeviceSign(each.device_uuid, each.kind, each.code, each.severity.value, each.occurred_at)
            for each in events
        )
        if found.kind == IncidentKind.NODE_LOST:
            facts = await self._facts_of_loss(session, found, signs)
        else:
            facts = await self._facts_of_run(session, found, signs)
        readings = {
            "node": None if snapshot.node is None else dict(snapshot.node.values),
            "devices": {uuid: dict(each.values) for uuid, each in snapshot.devices.items()},
        }
        return Look(incident_id, facts, readings)

    async def _facts_of_loss(
        self, session: AsyncSession, found: Incident, signs: tuple[DeviceSign, ...]
    ) -> Facts:
        after = found.after or {}
        return Facts(
            kind=IncidentKind.NODE_LOST,
            began_at=found.began_at,
            opened_at=found.opened_at,
            ours=found.ours,
            off_duty=found.off_duty,
            gateway_unsure=bool(found.before.get("gateway_unsure")),
            socket_open=found.socket_open,
            neighbours=await repository.neighbours(session, found),
            signs=signs,
            before=_life(found.before),
            after=_life(after),
            same_session=bool(after.get("same_session")),
            away_s=None
            if found.returned_at is None
            else (found.returned_at - found.began_at).total_seconds(),
        )

    async def _facts_of_run(
        self, session: AsyncSession, found: Incident, signs: tuple[DeviceSign, ...]
    ) -> Facts:
        beside = await repository.comparison(session, found)
        return Facts(
            kind=IncidentKind(found.kind),
            began_at=found.began_at,
            opened_at=found.opened_at,
            gateway_unsure=bool(found.before.get("gateway_unsure")),
            node_stayed=beside.node_stayed,
            signs=signs,
            reason=found.reason,
            failed_elsewhere=beside.failed_elsewhere,
            ran_elsewhere=beside.ran_elsewhere,
            others_failed_here=beside.others_failed_here,
            others_ran_here=beside.others_ran_here,
        )

    async def settle(self, session: AsyncSession, claim: Claim, look: Look) -> str | None:
        """Decide on what was read, and apply it if the claim is still ours. Answers the owner whose record changed."""
        found = await self._locked(session, claim.row_id)
        now = await repository.db_now(session)
        decided = attribute(look.facts)
        if found.ruled:
            assert found.cause is not None
            decided = Attribution(Cause(found.cause), found.sub_class, found.sentence or "", decided.findings)
        again_at = look_again_at(
            decided,
            kind=IncidentKind(found.kind),
            is_back=found.returned_at is not None,
            now=now,
            deadline=found.deadline_at,
            looks=found.looks,
            pause_s=self.patience.settle_pause_s,
        )
        shown = {
            "evidence": [_evidence(each) for each in decided.findings],
            "before": {**found.before, "readings": look.readings},
            "looks": found.looks + 1,
        }
        if again_at is not None and found.settled_at is None:
            await CLAIMS.finish(session, claim, due_at=again_at, **shown)
            return None
        if not await CLAIMS.finish(session, claim, due_at=again_at, **shown):
            return None
        return found.owner_id if await self._apply(session, found, decided) else None

    async def _apply(self, session: AsyncSession, found: Incident, decided: Attribution) -> bool:
        now = await repository.db_now(session)
        was = None if found.cause is None else Cause(found.cause)
        effect = await self._effect(session, found, decided.cause)
        before = Effect(found.host_losses, found.network_losses, found.away_ms)
        await repository.change(
            session,
            found.id,
            cause=decided.cause,
            sub_class=decided.sub_class,
            sentence=decided.sentence,
            settled_at=found.settled_at or now,
            **asdict(effect),
        )
        delta = effect - before
        await self.nodes.attribute(
            session,
            found.node_id,
            **asdict(delta),
            incident_id=found.id,
            reason=f"{_happened(IncidentKind(found.kind))}: {in_words(decided.cause, decided.sub_class)}",
        )
        if was is not decided.cause:
            await repository.tell_runs(session, found.id, decided.cause, now)
            await self.bus.publish(
                session,
                IncidentAttributed(incident_id=found.id, node_id=found.node_id, cause=decided.cause, was=was),
            )
        return not delta.is_nothing

    async def _effect(self, session: AsyncSession, found: Incident, cause: Cause) -> Effect:
        if cause in HOST:
            column = "host_losses"
        elif cause is Cause.NETWORK:
            column = "network_losses"
        else:
            return NOTHING
        return effect_of(
            IncidentKind(found.kind),
            cause,
            away_s=away_s(found),
            off_duty=found.off_duty,
            counted_already=await repository.counted_near(session, found, SAME_EVENT, column),
        )

    # --- telling jobs ------------------------------------------------------------------------------------

    async def untold(self, session: AsyncSession, limit: int) -> list[tuple[str, str]]:
        """(placement, job) of runs whose job is to be told."""
        return [(row.placement_id, row.job_id) for row in await repository.untold(session, limit)]

    async def tell(self, session: AsyncSession, placement_id: str, job_id: str) -> None:
        """Say on the job's timeline what its lost or failed run was attributed to. One job a transaction."""
        await self.jobs.lock(session, job_id)
        found = await repository.run(session, placement_id)
        if found is None:
            return
        run, incident = found
        run.tell_at, run.told_cause = None, incident.cause
        assert incident.cause is not None
        if incident.kind == IncidentKind.START_FAILED:
            await session.flush()
            return  # its timeline has the reason already, and a retry
        await self.jobs.tell(
            session,
            job_id,
            EventKind.ATTRIBUTED,
            f"Attributed to {in_words(Cause(incident.cause), incident.sub_class)}",
            run_epoch=run.epoch,
            incident_id=incident.id,
            cause=incident.cause,
            sub_class=incident.sub_class,
            sentence=incident.sentence,
            evidence=[each["sentence"] for each in incident.evidence],
        )

    async def put_off_telling(self, session: AsyncSession, placement_id: str, pause_s: float) -> None:
        """Telling failed: try again after `pause_s`, so that others have their turn."""
        await repository.put_off_telling(session, placement_id, pause_s)

    # --- rulings -----------------------------------------------------------------------------------------

    async def rule(
        self, session: AsyncSession, incident_id: str, *, by: str, cause: Cause, reason: str
    ) -> str:
        """An admin says what it was: the score follows, the ruling is kept. Answers the node's owner.

        Raises IncidentNotFound.
        """
        found = await self._locked(session, incident_id)
        standing = await repository.standing_ruling(session, incident_id)
        await repository.insert_ruling(
            session,
            id=new_id("rul"),
            incident_id=incident_id,
            by_user_id=by,
            cause=cause,
            # A ruling on a ruling goes back to what the evidence said.
            was=standing.was if standing else found.cause,
            was_sub_class=standing.was_sub_class if standing else found.sub_class,
            reason=reason,
            at=await repository.db_now(session),
        )
        if standing is not None:
            await repository.undo_ruling(session, standing.id, by=by, at=await repository.db_now(session))
        await repository.change(session, incident_id, ruled=True, due_at=None)
        await self._apply(session, found, Attribution(cause, None, f"Ruled by an admin: {reason}"))
        await self._weigh_beside(session, found)
        return found.owner_id

    async def undo_ruling(self, session: AsyncSession, incident_id: str, *, by: str) -> str:
        """Take the standing ruling back: what the evidence said holds again. Answers the node's owner.

        Raises IncidentNotFound, NothingToUndo.
        """
        found = await self._locked(session, incident_id)
        standing = await repository.standing_ruling(session, incident_id)
        if standing is None:
            raise NothingToUndo("Nobody ruled on this incident, or the ruling was taken back already.")
        now = await repository.db_now(session)
        await repository.undo_ruling(session, standing.id, by=by, at=now)
        cause = Cause(standing.was or Cause.UNKNOWN)
        # Looked at once more: evidence that came meanwhile counts, too.
        await repository.change(session, incident_id, ruled=False, due_at=now)
        said = f"Attributed to {in_words(cause, standing.was_sub_class)}; a ruling was taken back."
        await self._apply(session, found, Attribution(cause, standing.was_sub_class, said))
        await self._weigh_beside(session, found)
        return found.owner_id

    async def _weigh_beside(self, session: AsyncSession, found: Incident) -> None:
        await repository.look_again_near(session, found, SAME_EVENT, await repository.db_now(session))

    # --- rows --------------------------------------------------------------------------------------------

    @staticmethod
    async def _found(session: AsyncSession, incident_id: str) -> Incident:
        found = await repository.incident(session, incident_id)
        if found is None:
            raise IncidentNotFound("There is no such incident.")
        return found

    async def _locked(self, session: AsyncSession, incident_id: str) -> Incident:
        """The incident with its node's row before it, both locked. Raises IncidentNotFound."""
        found = await self._found(session, incident_id)
        await self.nodes.lock_any(session, found.node_id)
        locked = await repository.incident(session, incident_id, lock=True)
        assert locked is not None
        session.expunge(locked)  # written by statements; the object stays as it was read
        return locked


def _life(snapshot: dict[str, Any]) -> AgentLife | None:
    found = snapshot.get("agent")
    return None if found is None else AgentLife.model_validate(found)


def _evidence(finding: Finding) -> dict[str, Any]:
    return {
        "witness": finding.witness.value,
        "code": finding.code,
        "sentence": finding.sentence,
        "fits": sorted(cause.value for cause in finding.fits),
        "points_at": None if finding.points_at is None else finding.points_at.value,
    }


def _happened(kind: IncidentKind) -> str:
    return {
        IncidentKind.NODE_LOST: "Lost",
        IncidentKind.RUN_LOST: "A run lost",
        IncidentKind.JOB_FAILED: "A job failed",
        IncidentKind.START_FAILED: "A start failed",
    }[kind]
