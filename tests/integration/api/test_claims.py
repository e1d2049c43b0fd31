"""Claims on rows: nobody works on a row twice, and who was too slow changes nothing."""

import asyncio

import pytest
from gp4u_server.foundation.claims import Claim, Claims
from gp4u_server.kit.db import Database
from sqlalchemy import BigInteger, Column, DateTime, MetaData, Table, Text, text

CHORES = Table(
    "chores",
    MetaData(),
    Column("id", Text, primary_key=True),
    Column("done", BigInteger, nullable=False, server_default="0"),
    Column("claim_token", Text),
    Column("claimed_until", DateTime(timezone=True)),
)
DUE = CHORES.c.done == 0
CLAIMS = Claims(CHORES)


@pytest.fixture
async def chores(database: Database) -> Database:
    """A table of a hundred chores."""
    async with database.engine.begin() as connection:
        await connection.run_sync(CHORES.metadata.create_all)
        await connection.execute(CHORES.insert(), [{"id": f"{number:03}"} for number in range(100)])
    return database


async def take(database: Database, limit: int, ttl_s: float = 60) -> list[Claim]:
    async with database.transaction() as session:
        return list(await CLAIMS.take(session, due=DUE, order_by=CHORES.c.id, limit=limit, ttl_s=ttl_s))


async def finish(database: Database, claim: Claim) -> bool:
    async with database.transaction() as session:
        return await CLAIMS.finish(session, claim, done=1)


async def test_workers_at_once_claim_different_rows(chores: Database) -> None:
    claimed = [
        claim for mine in await asyncio.gather(*(take(chores, 7) for _ in range(20))) for claim in mine
    ]
    assert len(claimed) == len({claim.row_id for claim in claimed}) <= 100
    while mine := await take(chores, 50):
        claimed += mine
    assert sorted(claim.row_id for claim in claimed) == [f"{number:03}" for number in range(100)]
    assert await take(chores, 50) == []


async def test_a_claim_takes_no_more_than_its_limit_and_the_first_ones(chores: Database) -> None:
    assert sorted(claim.row_id for claim in await take(chores, 3)) == ["000", "001", "002"]
    assert sorted(claim.row_id for claim in await take(chores, 2)) == ["003", "004"]


async def test_a_finished_row_is_free_again_and_not_due(chores: Database) -> None:
    (claim,) = await take(chores, 1)
    assert await finish(chores, claim)
    assert not await finish(chores, claim)
    async with chores.transaction() as session:
        row = (await session.execute(text("SELECT * FROM chores WHERE id = '000'"))).one()
    assert tuple(row) == ("000", 1, None, None)


async def test_who_was_too_slow_changes_nothing(chores: Database) -> None:
    (slow,) = await take(chores, 1, ttl_s=-1)
    (quick,) = await take(chores, 1)
    assert quick.row_id == slow.row_id
    assert not await finish(chores, slow)
    assert await finish(chores, quick)
