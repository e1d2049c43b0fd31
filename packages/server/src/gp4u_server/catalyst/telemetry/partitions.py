"""Partitions by time: made ahead of what is written, dropped when their retention is over.

Each table has partitions of one length. Their names say where they begin, so nothing else has to be remembered.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.telemetry.summing import Resolution

BEHIND = timedelta(hours=2)
"""Rows may come this late: a gateway keeps what it could not write (`SAMPLE_AGE_MAX` is below it)."""
AHEAD = timedelta(hours=6)
"""So long may every controller be away before a row finds no partition."""
LOCK_TIMEOUT_MS = 2_000
_NAME = re.compile(r"^(telemetry_(?:10s|1m|1h))_p(\d{4})(\d\d)(\d\d)?(\d\d)?$")


@dataclass(frozen=True, order=True)
class Partition:
    """Rows of [since, until) of one table."""

    resolution: Resolution
    since: datetime
    until: datetime

    @property
    def name(self) -> str:
        """For example telemetry_10s_p2026112318."""
        digits = {Resolution.TEN_SECONDS: "%Y%m%d%H", Resolution.MINUTE: "%Y%m%d", Resolution.HOUR: "%Y%m"}
        return f"{self.resolution.table}_p{self.since.strftime(digits[self.resolution])}"


def covering(resolution: Resolution, at: datetime) -> Partition:
    """The partition that `at` belongs to: an hour of samples, a day of minutes, a month of hours; in UTC."""
    at = at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if resolution is Resolution.TEN_SECONDS:
        return Partition(resolution, at, at + timedelta(hours=1))
    day = at.replace(hour=0)
    if resolution is Resolution.MINUTE:
        return Partition(resolution, day, day + timedelta(days=1))
    month = day.replace(day=1)
    return Partition(resolution, month, (month + timedelta(days=32)).replace(day=1))


def named(name: str) -> Partition | None:
    """The partition of this name; None for a table that is none of ours."""
    match = _NAME.match(name)
    if match is None:
        return None
    table, year, month, day, hour = match.groups()
    resolution = Resolution(table.removeprefix("telemetry_"))
    return covering(resolution, datetime(int(year), int(month), int(day or 1), int(hour or 0), tzinfo=UTC))


def wanted(now: datetime) -> list[Partition]:
    """Those that must exist at `now`."""
    found = []
    for resolution in Resolution:
        each = covering(resolution, now - BEHIND)
        while each.since <= now + AHEAD:
            found.append(each)
            each = covering(resolution, each.until)
    return found


def expired(
    standing: Sequence[Partition],
    now: datetime,
    keep: dict[Resolution, timedelta | None],
    summed_until: dict[Resolution, datetime | None],
) -> list[Partition]:
    """Those to drop: past their retention (None: never), and summed up to their end into the next coarser table."""
    coarser = {Resolution.TEN_SECONDS: Resolution.MINUTE, Resolution.MINUTE: Resolution.HOUR}
    found = []
    for each in standing:
        kept = keep[each.resolution]
        if kept is None or each.until > now - max(kept, BEHIND):
            continue
        if each.resolution in coarser:
            done = summed_until.get(coarser[each.resolution])
            if done is None or done < each.until:
                continue
        found.append(each)
    return found


async def standing(session: AsyncSession) -> list[Partition]:
    """Those that exist."""
    names = await session.scalars(
        text(
            "SELECT child.relname FROM pg_inherits"
            " JOIN pg_class child ON child.oid = inhrelid JOIN pg_class parent ON parent.oid = inhparent"
            " JOIN pg_namespace space ON space.oid = parent.relnamespace AND space.nspname = current_schema()"
            " WHERE parent.relname = ANY(:tables)"
        ),
        {"tables": [resolution.table for resolution in Resolution]},
    )
    return sorted(partition for name in names if (partition := named(name)) is not None)


async def create(session: AsyncSession, partition: Partition) -> None:
    """Make it. Attached rather than created in place: that waits for no reader and no writer of the table."""
    await _impatiently(session)
    since, until = partition.since.isoformat(), partition.until.isoformat()
    table, name = partition.resolution.table, partition.name
    await session.execute(text(f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL)"))
    # The bounds are ours, and DDL takes no parameters.
    await session.execute(
        text(f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ('{since}') TO ('{until}')")
    )


async def drop(session: AsyncSession, partition: Partition) -> None:
    """Drop it with all its rows. Waits shortly for whoever reads the table, and gives up until the next look."""
    await _impatiently(session)
    await session.execute(text(f"DROP TABLE {partition.name}"))


async def _impatiently(session: AsyncSession) -> None:
    await session.execute(text(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}"))
