"""Every query about incidents. What other modules' tables say of the moment is read here in plain SQL."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.incidents.models import Incident, IncidentRuling, IncidentRun
from gp4u_server.catalyst.incidents.types import CauseFilter, IncidentKind, Neighbours

TOGETHER = timedelta(seconds=15)
"""Nodes lost within this time of each other went together: the gateway's own time to declare them is within it."""
ROUND_THEN = timedelta(hours=6)
NODE_LOST_NEAR = timedelta(minutes=2)


async def db_now(session: AsyncSession) -> datetime:
    """The database's clock, the only one that records use."""
    now: datetime = (await session.execute(select(func.clock_timestamp()))).scalar_one()
    return now


async def insert_incident(session: AsyncSession, **values: Any) -> None:
    """Store one incident; a run has one at most, and a second is dropped."""
    await session.execute(pg_insert(Incident).values(**values).on_conflict_do_nothing())


async def insert_run(session: AsyncSession, **values: Any) -> None:
    """Note a run that an incident hit."""
    await session.execute(pg_insert(IncidentRun).values(**values).on_conflict_do_nothing())


async def incident(session: AsyncSession, incident_id: str, *, lock: bool = False) -> Incident | None:
    """One incident."""
    query = select(Incident).where(Incident.id == incident_id)
    if lock:
        query = query.with_for_update(key_share=True)
    return (await session.scalars(query.execution_options(populate_existing=True))).one_or_none()


async def change(session: AsyncSession, incident_id: str, **values: Any) -> None:
    """Write columns of an incident; the caller holds its node's row."""
    await session.execute(update(Incident).where(Incident.id == incident_id).values(**values))


async def away(session: AsyncSession, node_id: str) -> Sequence[Incident]:
    """Losses of the node after which it has not come back yet."""
    query = (
        select(Incident)
        .where(
            Incident.node_id == node_id,
            Incident.kind == IncidentKind.NODE_LOST,
            Incident.returned_at.is_(None),
        )
        .order_by(Incident.id)
        .with_for_update(key_share=True)
    )
    return (await session.scalars(query.execution_options(populate_existing=True))).all()


async def nodes_away(session: AsyncSession, node_ids: Sequence[str]) -> set[str]:
    """Those of these nodes that have not come back yet after a loss."""
    return set(
        await session.scalars(
            select(Incident.node_id).where(
                Incident.node_id.in_(node_ids),
                Incident.kind == IncidentKind.NODE_LOST,
                Incident.returned_at.is_(None),
            )
        )
    )


async def loss_at(session: AsyncSession, node_id: str, at: datetime) -> Row[str, datetime | None] | None:
    """The newest loss of the node that was declared at `at` or before: (id, settled_at)."""
    found = await session.execute(
        select(Incident.id, Incident.settled_at)
        .where(
            Incident.node_id == node_id,
            Incident.kind == IncidentKind.NODE_LOST,
            Incident.opened_at <= at,
        )
        .order_by(Incident.id.desc())
        .limit(1)
    )
    return found.one_or_none()


async def node_of(session: AsyncSession, node_id: str) -> Row[Any] | None:
    """(owner_id, region, gateway_id, duty, liveness, session_no, last_seen_at)."""
    found = await session.execute(
        text(
            "SELECT owner_id, region, gateway_id, duty, liveness, session_no, last_seen_at FROM nodes WHERE id = :id"
        ),
        {"id": node_id},
    )
    return found.one_or_none()


async def run_of(session: AsyncSession, placement_id: str) -> Row[Any] | None:
    """How a placement ended, with its job."""
    found = await session.execute(
        text(
            "SELECT p.id, p.job_id, p.epoch, p.node_id, p.outcome, p.reason, p.created_at, p.ended_at,"
            " j.stop_reason, j.lost_at FROM placements p JOIN jobs j ON j.id = p.job_id WHERE p.id = :id"
        ),
        {"id": placement_id},
    )
    return found.one_or_none()


async def gateway_unbroken_since(session: AsyncSession, gateway_id: str | None) -> datetime | None:
    """Since when the gateway has said without a gap that it lives."""
    found: datetime | None = await session.scalar(
        text("SELECT unbroken_since FROM gateways WHERE id = :id"), {"id": gateway_id}
    )
    return found


async def neighbours(session: AsyncSession, found: Incident) -> Neighbours:
    """Who went together with this node."""
    together = {
        "since": found.opened_at - TOGETHER,
        "until": found.opened_at + TOGETHER,
        "gateway": found.gateway_id,
        "owner": found.owner_id,
        "region": found.region,
    }
    row = (
        await session.execute(
            text(
                """
                WITH gone AS (
                    SELECT DISTINCT node_id, gateway_id, owner_id, region FROM incidents
                    WHERE kind = 'node_lost' AND opened_at BETWEEN :since AND :until AND NOT off_duty
                ), of_gateway AS (
                    SELECT node_id, owner_id FROM gone WHERE gateway_id = :gateway
                    UNION SELECT id, owner_id FROM nodes
                    WHERE gateway_id = :gateway AND liveness IN ('online', 'suspect')
                ), of_site AS (
                    SELECT node_id FROM gone WHERE owner_id = :owner AND region = :region
                    UNION SELECT id FROM nodes
                    WHERE owner_id = :owner AND region = :region AND status <> 'removed'
                          AND liveness IN ('online', 'suspect')
                )
                SELECT (SELECT count(DISTINCT node_id) FROM gone WHERE gateway_id = :gateway) AS of_gateway,
                       (SELECT count(*) FROM of_gateway) AS gateway_nodes,
                       (SELECT count(DISTINCT owner_id) FROM gone WHERE gateway_id = :gateway) AS gateway_owners,
                       (SELECT count(DISTINCT node_id) FROM gone WHERE owner_id = :owner AND region = :region) AS of_site,
                       (SELECT count(*) FROM of_site) AS site_nodes
                """
            ),
            together,
        )
    ).one()
    return Neighbours(row.of_gateway, row.gateway_nodes, row.gateway_owners, row.of_site, row.site_nodes)


@dataclass(frozen=True)
class Comparison:
    """See `types.Facts`."""

    failed_elsewhere: int
    ran_elsewhere: int
    others_failed_here: int
    others_ran_here: int
    node_stayed: bool


async def comparison(session: AsyncSession, found: Incident) -> Comparison:
    """The same job elsewhere, other jobs here, and whether the node went on."""
    row = (
        await session.execute(
            text(
                """
                SELECT
                  (SELECT count(DISTINCT node_id) FROM placements WHERE job_id = :job AND node_id <> :node
                     AND outcome IN ('failed', 'start_failed')) AS failed_elsewhere,
                  (SELECT count(DISTINCT node_id) FROM placements WHERE job_id = :job AND node_id <> :node
                     AND running_at > :began) AS ran_elsewhere,
                  (SELECT count(DISTINCT j.renter_id) FROM incidents i JOIN jobs j ON j.id = i.job_id
                     WHERE i.node_id = :node AND i.began_at BETWEEN :early AND :late
                       AND j.renter_id <> (SELECT renter_id FROM jobs WHERE id = :job)
                       -- What a job does to itself, anybody could do to harm the owner.
                       AND i.reason NOT LIKE 'exit\\_%' AND i.reason NOT LIKE 'signal\\_%'
                       AND i.reason NOT IN ('out_of_memory', 'disk_full', 'bad_job_folder', 'image_unavailable')
                  ) AS others_failed_here,
                  (SELECT count(*) FROM placements WHERE node_id = :node AND state <> 'ended' AND id <> :placement
                     AND running_at <= :began) AS others_ran_here,
                  NOT EXISTS (SELECT 1 FROM incidents WHERE node_id = :node AND kind = 'node_lost'
                     AND began_at BETWEEN :just_before AND :just_after) AS node_stayed
                """
            ),
            {
                "job": found.job_id,
                "placement": found.placement_id,
                "node": found.node_id,
                "began": found.began_at,
                "early": found.began_at - ROUND_THEN,
                "late": found.began_at + ROUND_THEN,
                "just_before": found.began_at - NODE_LOST_NEAR,
                "just_after": found.began_at + NODE_LOST_NEAR,
            },
        )
    ).one()
    return Comparison(**row._mapping)


async def counted_near(session: AsyncSession, found: Incident, within: timedelta, column: str) -> bool:
    """Whether another incident of the node that began within `within` counts as a loss already (`column`)."""
    counts = {"host_losses": Incident.host_losses, "network_losses": Incident.network_losses}[column]
    query = (
        select(Incident.id)
        .where(
            Incident.node_id == found.node_id,
            Incident.id != found.id,
            Incident.began_at.between(found.began_at - within, found.began_at + within),
            counts > 0,
        )
        .limit(1)
    )
    return await session.scalar(query) is not None


async def look_again_near(session: AsyncSession, found: Incident, within: timedelta, at: datetime) -> None:
    """Settled incidents of the same event are weighed anew: what this one counts for has changed."""
    await session.execute(
        update(Incident)
        .where(
            Incident.node_id == found.node_id,
            Incident.id != found.id,
            Incident.began_at.between(found.began_at - within, found.began_at + within),
            Incident.cause.in_(["host_hardware", "host_software", "network"]),
        )
        .values(due_at=at)
    )


async def tell_runs(session: AsyncSession, incident_id: str, cause: str, at: datetime) -> None:
    """The jobs of these runs are to be told, unless they were told just that."""
    await session.execute(
        update(IncidentRun)
        .where(
            IncidentRun.incident_id == incident_id,
            func.coalesce(IncidentRun.told_cause, "") != cause,
        )
        .values(tell_at=at)
    )


async def untold(session: AsyncSession, limit: int) -> Sequence[Row[str, str]]:
    """Runs whose job is to be told: (placement_id, job_id)."""
    found = await session.execute(
        select(IncidentRun.placement_id, IncidentRun.job_id)
        .where(IncidentRun.tell_at <= func.clock_timestamp())
        .order_by(IncidentRun.tell_at)
        .limit(limit)
    )
    return found.all()


async def run(session: AsyncSession, placement_id: str) -> tuple[IncidentRun, Incident] | None:
    """A run that is to be told, locked, with its incident. The caller holds the job's row."""
    found = await session.execute(
        select(IncidentRun, Incident)
        .join(Incident, Incident.id == IncidentRun.incident_id)
        .where(IncidentRun.placement_id == placement_id, IncidentRun.tell_at.is_not(None))
        .with_for_update(key_share=True, of=IncidentRun)
    )
    row = found.one_or_none()
    return None if row is None else (row[0], row[1])


async def put_off_telling(session: AsyncSession, placement_id: str, pause_s: float) -> None:
    """Telling failed: later again."""
    await session.execute(
        update(IncidentRun)
        .where(IncidentRun.placement_id == placement_id)
        .values(tell_at=func.clock_timestamp() + timedelta(seconds=pause_s))
    )


async def page(
    session: AsyncSession, node_id: str, *, before_id: str | None, limit: int
) -> Sequence[Incident]:
    """Incidents of a node, newest first."""
    query = select(Incident).where(Incident.node_id == node_id)
    if before_id is not None:
        query = query.where(Incident.id < before_id)
    return (await session.scalars(query.order_by(Incident.id.desc()).limit(limit))).all()


async def cases(
    session: AsyncSession,
    *,
    cause: CauseFilter | None,
    kind: IncidentKind | None,
    ruled: bool | None,
    node_id: str | None,
    before_id: str | None,
    limit: int,
) -> Sequence[Incident]:
    """Incidents of all nodes, newest first; every filter may be left out."""
    query = select(Incident)
    if cause is CauseFilter.OPEN:
        query = query.where(Incident.cause.is_(None))
    elif cause is not None:
        query = query.where(Incident.cause == cause.value)
    if kind is not None:
        query = query.where(Incident.kind == kind)
    if ruled is not None:
        query = query.where(Incident.ruled.is_(ruled))
    if node_id is not None:
        query = query.where(Incident.node_id == node_id)
    if before_id is not None:
        query = query.where(Incident.id < before_id)
    return (await session.scalars(query.order_by(Incident.id.desc()).limit(limit))).all()


async def whose(session: AsyncSession, node_ids: Sequence[str]) -> dict[str, Row[Any]]:
    """(node_id, node_name, owner_id, owner_email) of each of these nodes."""
    found = await session.execute(
        text(
            "SELECT n.id AS node_id, n.name AS node_name, u.id AS owner_id, u.email AS owner_email"
            " FROM nodes n JOIN users u ON u.id = n.owner_id WHERE n.id = ANY(:ids)"
        ),
        {"ids": list(node_ids)},
    )
    return {row.node_id: row for row in found}


async def jobs_hit(session: AsyncSession, incident_ids: Sequence[str], each: int) -> dict[str, list[str]]:
    """The jobs that each incident hit, at most `each` of one incident."""
    found = await session.execute(
        text(
            "SELECT hit.incident_id, hit.job_id FROM unnest(CAST(:ids AS text[])) AS wanted(id)"
            " CROSS JOIN LATERAL (SELECT DISTINCT incident_id, job_id FROM incident_runs"
            "   WHERE incident_id = wanted.id ORDER BY job_id LIMIT :each) AS hit"
        ),
        {"ids": list(incident_ids), "each": each},
    )
    jobs: dict[str, list[str]] = {incident_id: [] for incident_id in incident_ids}
    for row in found:
        jobs[row.incident_id].append(row.job_id)
    return jobs


async def emails(session: AsyncSession, user_ids: Sequence[str]) -> dict[str, str]:
    """The addresses of these people."""
    found = await session.execute(
        text("SELECT id, email FROM users WHERE id = ANY(:ids)"), {"ids": list(user_ids)}
    )
    return {row.id: row.email for row in found}


async def runs_hit(session: AsyncSession, incident_ids: Sequence[str]) -> dict[str, int]:
    """How many runs each incident hit."""
    found = await session.execute(
        select(IncidentRun.incident_id, func.count())
        .where(IncidentRun.incident_id.in_(incident_ids))
        .group_by(IncidentRun.incident_id)
    )
    return {row[0]: row[1] for row in found}


async def score_changes_of(
    session: AsyncSession, incident_ids: Sequence[str]
) -> Mapping[str, Sequence[Row[Any]]]:
    """(incident_id, before, after, at) of each incident, oldest first."""
    found = await session.execute(
        text(
            "SELECT incident_id, before, after, at FROM score_changes WHERE incident_id = ANY(:ids) ORDER BY id"
        ),
        {"ids": list(incident_ids)},
    )
    changes: dict[str, list[Row[Any]]] = {incident_id: [] for incident_id in incident_ids}
    for row in found:
        changes[row.incident_id].append(row)
    return changes


async def insert_ruling(session: AsyncSession, **values: Any) -> None:
    """Note what an admin said."""
    await session.execute(insert(IncidentRuling).values(**values))


async def standing_ruling(session: AsyncSession, incident_id: str) -> IncidentRuling | None:
    """The newest ruling that was not taken back."""
    query = (
        select(IncidentRuling)
        .where(IncidentRuling.incident_id == incident_id, IncidentRuling.undone_at.is_(None))
        .order_by(IncidentRuling.id.desc())
        .limit(1)
    )
    return (await session.scalars(query)).one_or_none()


async def rulings(session: AsyncSession, incident_ids: Sequence[str]) -> Sequence[IncidentRuling]:
    """All rulings on these incidents, oldest first."""
    query = select(IncidentRuling).where(IncidentRuling.incident_id.in_(incident_ids))
    return (await session.scalars(query.order_by(IncidentRuling.id))).all()


async def undo_ruling(session: AsyncSession, ruling_id: str, *, by: str, at: datetime) -> None:
    """Take a ruling back; its row stays."""
    await session.execute(
        update(IncidentRuling).where(IncidentRuling.id == ruling_id).values(undone_at=at, undone_by=by)
    )
