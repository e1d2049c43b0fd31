"""What the API shows of incidents."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.incidents import repository
from gp4u_server.catalyst.incidents.decisions import in_words
from gp4u_server.catalyst.incidents.errors import IncidentNotFound
from gp4u_server.catalyst.incidents.models import Incident, IncidentRuling
from gp4u_server.catalyst.incidents.schemas import (
    CaseOut,
    EvidenceOut,
    IncidentChangeOut,
    IncidentOut,
    RulingOut,
)
from gp4u_server.catalyst.incidents.types import Cause, CauseFilter, IncidentKind

WAITING = "not settled yet: evidence is waited for"
JOBS_SHOWN = 20


@dataclass(frozen=True)
class IncidentReader:
    """Reads with a fixed number of statements, however many incidents there are."""

    async def page(
        self, session: AsyncSession, node_id: str, *, before_id: str | None, limit: int
    ) -> list[IncidentOut]:
        """Incidents of a node, newest first."""
        return await self._shown(
            session, await repository.page(session, node_id, before_id=before_id, limit=limit)
        )

    async def one(self, session: AsyncSession, incident_id: str) -> IncidentOut:
        """One incident. Raises IncidentNotFound."""
        found = await repository.incident(session, incident_id)
        if found is None:
            raise IncidentNotFound("There is no such incident.")
        return (await self._shown(session, [found]))[0]

    async def cases(
        self,
        session: AsyncSession,
        *,
        cause: CauseFilter | None,
        kind: IncidentKind | None,
        ruled: bool | None,
        node_id: str | None,
        before_id: str | None,
        limit: int,
    ) -> list[CaseOut]:
        """Incidents of all nodes for admins, newest first."""
        found = await repository.cases(
            session, cause=cause, kind=kind, ruled=ruled, node_id=node_id, before_id=before_id, limit=limit
        )
        return await self._cases(session, found)

    async def case(self, session: AsyncSession, incident_id: str) -> CaseOut:
        """One incident for admins. Raises IncidentNotFound."""
        found = await repository.incident(session, incident_id)
        if found is None:
            raise IncidentNotFound("There is no such incident.")
        return (await self._cases(session, [found]))[0]

    async def _cases(self, session: AsyncSession, found: Sequence[Incident]) -> list[CaseOut]:
        shown = await self._shown(session, found)
        whose = await repository.whose(session, [each.node_id for each in found])
        jobs = await repository.jobs_hit(session, [each.id for each in found], JOBS_SHOWN)
        rulings = {row.id: row for row in await repository.rulings(session, [each.id for each in found])}
        names = await repository.emails(session, [row.by_user_id for row in rulings.values()])
        by: dict[str, list[str | None]] = defaultdict(list)
        for row in rulings.values():
            by[row.incident_id].append(names.get(row.by_user_id))
        cases = []
        for each, incident in zip(shown, found, strict=True):
            standing = next((ruling for ruling in each.rulings if ruling.undone_at is None), None)
            owner = whose[each.node_id]
            cases.append(
                CaseOut(
                    **{
                        **dict(each),
                        "rulings": [
                            ruling.model_copy(update={"by": name})
                            for ruling, name in zip(each.rulings, by[each.id], strict=True)
                        ],
                    },
                    node_name=owner.node_name,
                    owner_id=owner.owner_id,
                    owner_email=owner.owner_email,
                    job_ids=jobs[each.id],
                    ruled=incident.ruled,
                    evidence_cause=each.cause if standing is None else standing.was,
                )
            )
        return cases

    async def _shown(self, session: AsyncSession, found: Sequence[Incident]) -> list[IncidentOut]:
        ids = [each.id for each in found]
        runs = await repository.runs_hit(session, ids)
        changes = await repository.score_changes_of(session, ids)
        rulings: dict[str, list[IncidentRuling]] = defaultdict(list)
        for ruling in await repository.rulings(session, ids):
            rulings[ruling.incident_id].append(ruling)
        return [
            IncidentOut(
                id=each.id,
                kind=IncidentKind(each.kind),
                node_id=each.node_id,
                began_at=each.began_at,
                opened_at=each.opened_at,
                returned_at=each.returned_at,
                settled_at=each.settled_at,
                cause=None if each.cause is None else Cause(each.cause),
                sub_class=each.sub_class,
                summary=WAITING if each.cause is None else in_words(Cause(each.cause), each.sub_class),
                sentence=each.sentence,
                reason=each.reason,
                evidence=[EvidenceOut.model_validate(finding, strict=False) for finding in each.evidence],
                runs_hit=runs.get(each.id, 0),
                counts_as_loss=each.host_losses > 0,
                counts_as_network_loss=each.network_losses > 0,
                away_s=each.away_ms / 1000,
                score_changes=[
                    IncidentChangeOut(before=round(row.before, 6), after=round(row.after, 6), at=row.at)
                    for row in changes[each.id]
                ],
                before=each.before,
                after=each.after,
                rulings=[
                    RulingOut(
                        cause=Cause(ruling.cause),
                        was=None if ruling.was is None else Cause(ruling.was),
                        reason=ruling.reason,
                        at=ruling.at,
                        undone_at=ruling.undone_at,
                    )
                    for ruling in rulings[each.id]
                ],
            )
            for each in found
        ]
