"""What was felt and what happened: events, snapshots. Takes a session; owns no transaction."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.telemetry import repository
from gp4u_server.catalyst.telemetry.metrics import OF_NODE, Metric, metrics_of
from gp4u_server.catalyst.telemetry.models import DeviceEventRow
from gp4u_server.catalyst.telemetry.planning import POINTS_MAX, Plan
from gp4u_server.catalyst.telemetry.summing import Resolution
from gp4u_server.catalyst.telemetry.types import (
    DeviceEvent,
    NodeSnapshot,
    Reading,
    Readings,
    Series,
    Severity,
)

SNAPSHOT_LOOKS = (
    (Resolution.TEN_SECONDS, timedelta(minutes=5)),
    (Resolution.MINUTE, timedelta(minutes=10)),
    (Resolution.HOUR, timedelta(hours=2)),
)
"""Where a snapshot is looked for, and how old it may be there. Older readings say nothing of the instant asked for."""


async def events_of(
    session: AsyncSession, node_id: str, since: datetime, until: datetime
) -> list[DeviceEvent]:
    """What happened to a node's devices in [since, until), oldest first (the newest thousand of them)."""
    return [event_of_row(row) for row in await repository.events_between(session, node_id, since, until)]


async def snapshot_of(session: AsyncSession, node_id: str, at: datetime) -> NodeSnapshot:
    """How the node and each of its devices felt last at or before `at`.

    Finest resolution first. From a coarser one, the instant is the beginning of the minute or hour and the values are
    its means; only those that were over by `at` are taken, so that nothing after `at` is mixed in.
    """
    for resolution, age in SNAPSHOT_LOOKS:
        until = at if resolution is Resolution.TEN_SECONDS else at - resolution.step
        rows = await repository.newest(session, resolution, node_id, until - age, until)
        if rows:
            found = {row.device_uuid: Readings(row.at, _named(row.device_uuid, row.readings)) for row in rows}
            return NodeSnapshot(node_id, at, found.pop(OF_NODE, None), found)
    return NodeSnapshot(node_id, at, None, {})


def event_of_row(row: DeviceEventRow) -> DeviceEvent:
    """A row as other modules see it."""
    return DeviceEvent(
        id=row.id,
        node_id=row.node_id,
        device_uuid=row.device_uuid,
        kind=row.kind,
        code=row.code,
        severity=Severity(row.severity),
        occurred_at=row.occurred_at,
        received_at=row.received_at,
        detail=row.detail,
    )


def _named(device_uuid: str, values: list[float | None]) -> dict[str, float]:
    metrics = metrics_of(device_uuid)
    return {
        metric.name: value
        for metric, value in zip(metrics, values[: len(metrics)], strict=False)
        if value is not None
    }


async def newest_of_many(
    session: AsyncSession, node_ids: Sequence[str], since: datetime
) -> dict[str, dict[str, dict[str, float]]]:
    """The newest sample of each device of these nodes after `since`: node → device → metric → value."""
    found: dict[str, dict[str, dict[str, float]]] = {node_id: {} for node_id in node_ids}
    for row in await repository.newest_of_many(session, node_ids, since):
        if row.device_uuid != OF_NODE:
            found[row.node_id][row.device_uuid] = _named(row.device_uuid, row.readings)
    return found


async def series_of(
    session: AsyncSession,
    node_id: str,
    device_uuids: Sequence[str],
    metrics: frozenset[str] | None,
    since: datetime,
    until: datetime,
    planned: Plan,
) -> list[Series]:
    """What was felt in [since, until): a series for each of `device_uuids` (empty: the node itself) that told anything.

    `metrics` None: all of them. A metric that was never told is left out.
    """
    found = []
    for group in ([OF_NODE] if OF_NODE in device_uuids else [], [uuid for uuid in device_uuids if uuid]):
        wanted = [
            (position, metric)
            for position, metric in enumerate(metrics_of(group[0]) if group else (), start=1)
            if metrics is None or metric.name in metrics
        ]
        if not wanted:
            continue
        rows = await repository.series(
            session,
            planned.resolution,
            [position for position, _ in wanted],
            node_id=node_id,
            device_uuids=group,
            since=since,
            until=until,
            step=planned.step,
            limit=(POINTS_MAX + 1) * len(group),
        )
        for uuid, of_device in groupby(rows, key=lambda row: row.device_uuid):
            found.append(_series(uuid, list(of_device), [metric for _, metric in wanted]))
    return found


def _series(uuid: str, rows: list[Row[Any]], metrics: list[Metric]) -> Series:
    readings = {
        metric.name: Reading(
            metric.unit,
            tuple(row.means[index] for row in rows),
            tuple(row.lows[index] for row in rows),
            tuple(row.highs[index] for row in rows),
        )
        for index, metric in enumerate(metrics)
        if any(row.counts[index] for row in rows)
    }
    return Series(uuid or None, tuple(row.bucket for row in rows), readings)
