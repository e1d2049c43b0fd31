"""Every query of telemetry, but those of partitions."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from psycopg import AsyncConnection
from sqlalchemy import Interval, Row, bindparam, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.telemetry.models import DeviceEventRow, Rollup
from gp4u_server.catalyst.telemetry.summing import Resolution, newest_sql, rollup_sql, series_sql

EVENTS_READ_MAX = 1000


class SampleRow(NamedTuple):
    """One row of `telemetry_10s`."""

    at: datetime
    node_id: str
    device_uuid: str
    values: tuple[float | None, ...]


_INCOMING = (
    "CREATE TEMP TABLE IF NOT EXISTS telemetry_incoming"
    " (at timestamptz, node_id text, device_uuid text, values real[]) ON COMMIT DELETE ROWS"
)


async def copy_samples(session: AsyncSession, rows: Sequence[SampleRow]) -> int:
    """Bring rows in by COPY; those that are there already (a batch written twice) are left. Answers how many were new."""
    connection = await (await session.connection()).get_raw_connection()
    driver = connection.driver_connection
    assert isinstance(driver, AsyncConnection)
    async with driver.cursor() as cursor:
        await cursor.execute(_INCOMING)
        async with cursor.copy(
            "COPY telemetry_incoming (at, node_id, device_uuid, values) FROM STDIN"
        ) as copy:
            for row in rows:
                values = [None if value is None else float(value) for value in row.values]
                await copy.write_row((row.at, row.node_id, row.device_uuid, values))
        await cursor.execute(
            "INSERT INTO telemetry_10s (at, node_id, device_uuid, values)"
            " SELECT at, node_id, device_uuid, values FROM telemetry_incoming ON CONFLICT DO NOTHING"
        )
        return cursor.rowcount


async def push_back(session: AsyncSession, earliest: datetime) -> None:
    """Late rows come in this transaction: what was summed up past them is summed up again, from there.

    The marks are locked even where they need not move: whoever sums up now either waits for us (and sees our rows), or
    is done before we look. Rows that are not late need no lock, because the mark stays behind them by more than any
    transaction lasts.
    """
    marks = select(Rollup.resolution).order_by(Rollup.resolution).with_for_update()
    await session.execute(marks)
    for resolution in (Resolution.MINUTE, Resolution.HOUR):
        await session.execute(
            update(Rollup)
            .where(Rollup.resolution == resolution, Rollup.done_until > earliest)
            .values(done_until=floor(earliest, resolution.step))
        )


def floor(at: datetime, step: timedelta) -> datetime:
    """The beginning of the bucket that `at` lies in; buckets are counted from 1970 in UTC."""
    return at - timedelta(seconds=at.timestamp() % step.total_seconds())


_BEFORE_EVERYTHING = datetime(1970, 1, 1, tzinfo=UTC)


async def lock_rollup(session: AsyncSession, target: Resolution) -> datetime | None:
    """How far `target` is filled, locked; None while another controller fills it."""
    await session.execute(
        insert(Rollup).values(resolution=target, done_until=_BEFORE_EVERYTHING).on_conflict_do_nothing()
    )
    statement = select(Rollup.done_until).where(Rollup.resolution == target).with_for_update(skip_locked=True)
    return (await session.scalars(statement)).one_or_none()


async def done_until(session: AsyncSession, target: Resolution) -> datetime | None:
    """How far `target` is filled."""
    return await session.scalar(select(Rollup.done_until).where(Rollup.resolution == target))


async def first_after(session: AsyncSession, source: Resolution, since: datetime) -> datetime | None:
    """The instant of the first row at or after `since`: what lies before it need not be looked at."""
    found: datetime | None = await session.scalar(
        text(f"SELECT min(at) FROM {source.table} WHERE at >= :since"),  # noqa: S608
        {"since": since},
    )
    return found


async def roll_up(
    session: AsyncSession, source: Resolution, target: Resolution, since: datetime, until: datetime
) -> int:
    """Fill buckets in [since, until) and note it. Answers how many rows were written."""
    statement = text(rollup_sql(source, target)).bindparams(bindparam("step", type_=Interval))
    done: Any = await session.execute(statement, {"step": target.step, "since": since, "until": until})
    await session.execute(update(Rollup).where(Rollup.resolution == target).values(done_until=until))
    return int(done.rowcount)


async def series(
    session: AsyncSession,
    source: Resolution,
    positions: Sequence[int],
    *,
    node_id: str,
    device_uuids: Sequence[str],
    since: datetime,
    until: datetime,
    step: timedelta,
    limit: int,
) -> Sequence[Row[Any]]:
    """Buckets of some series of a node, each oldest first."""
    statement = text(series_sql(source, positions)).bindparams(bindparam("step", type_=Interval))
    asked = {
        "node_id": node_id,
        "device_uuids": list(device_uuids),
        "since": since,
        "until": until,
        "step": step,
        "limit": limit,
    }
    return (await session.execute(statement, asked)).all()


async def newest(
    session: AsyncSession, source: Resolution, node_id: str, since: datetime, until: datetime
) -> Sequence[Row[Any]]:
    """The newest row of each series of a node in (since, until]."""
    values = "values" if source is Resolution.TEN_SECONDS else "means"
    asked = {"node_id": node_id, "since": since, "until": until}
    return (await session.execute(text(newest_sql(source, values)), asked)).all()


async def insert_event(session: AsyncSession, **values: Any) -> bool:
    """Store one event. False: it is there already."""
    stored = await session.scalar(
        insert(DeviceEventRow).values(**values).on_conflict_do_nothing().returning(DeviceEventRow.id)
    )
    return stored is not None


async def events_between(
    session: AsyncSession, node_id: str, since: datetime, until: datetime
) -> Sequence[DeviceEventRow]:
    """Events of a node in [since, until), oldest first; the newest thousand."""
    newest_first = (
        select(DeviceEventRow)
        .where(
            DeviceEventRow.node_id == node_id,
            DeviceEventRow.occurred_at >= since,
            DeviceEventRow.occurred_at < until,
        )
        .order_by(DeviceEventRow.occurred_at.desc(), DeviceEventRow.id.desc())
        .limit(EVENTS_READ_MAX)
    )
    return (await session.scalars(newest_first)).all()[::-1]


async def events_page(
    session: AsyncSession, node_id: str, *, before_id: str | None, limit: int
) -> Sequence[DeviceEventRow]:
    """Events of a node, the last received first."""
    query = select(DeviceEventRow).where(DeviceEventRow.node_id == node_id)
    if before_id is not None:
        query = query.where(DeviceEventRow.id < before_id)
    return (await session.scalars(query.order_by(DeviceEventRow.id.desc()).limit(limit))).all()


async def newest_of_many(
    session: AsyncSession, node_ids: Sequence[str], since: datetime
) -> Sequence[Row[Any]]:
    """The newest sample of each series of these nodes after `since`."""
    statement = text(
        "SELECT DISTINCT ON (node_id, device_uuid) node_id, device_uuid, values AS readings FROM telemetry_10s"
        " WHERE node_id = ANY(:node_ids) AND at > :since ORDER BY node_id, device_uuid, at DESC"
    )
    return (await session.execute(statement, {"node_ids": list(node_ids), "since": since})).all()
