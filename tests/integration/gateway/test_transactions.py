"""A transaction whose owner vanishes holds nothing: cancelled anywhere, cancelled twice, or killed with its process."""

import asyncio
import random
import signal
import sys
import textwrap
from collections.abc import AsyncIterator

import pytest
from gp4u_server.kit.db import Database, connect
from sqlalchemy import text

from tests.integration.catalyst_world import until

_VICTIM = "gp4u-victim"
_ROUNDS = 250
_FREED_S_MAX = 8.0
"""Well below the 10 s after which the database ends what idles or waits for a lock."""


@pytest.fixture
async def victim(database: Database, database_url: str) -> AsyncIterator[Database]:
    """A small pool that is maltreated, on two rows to fight for."""
    async with database.transaction() as session:
        await session.execute(text("CREATE TABLE fought_over (id int PRIMARY KEY, n int NOT NULL)"))
        await session.execute(text("INSERT INTO fought_over VALUES (1, 0), (2, 0)"))
    connected = connect(database_url, pool_size=2, application_name=_VICTIM)
    yield connected
    await connected.close()


async def _bump(victim: Database) -> None:
    async with victim.transaction() as session:
        await session.execute(text("SELECT 1 FROM fought_over WHERE id = 1 FOR UPDATE"))
        await session.execute(text("UPDATE fought_over SET n = n + 1 WHERE id = 1"))
        async with session.begin_nested():
            await session.execute(text("UPDATE fought_over SET n = n + 1 WHERE id = 2"))


async def _busy(database: Database) -> list[str]:
    async with database.transaction() as session:
        found = await session.scalars(
            text(
                "SELECT state || ': ' || query FROM pg_stat_activity"
                " WHERE (application_name = :name AND (state LIKE 'idle in%' OR state = 'active'))"
                # Half-opened, by a driver that was cancelled while it signed in.
                " OR state = 'starting'"
            ),
            {"name": _VICTIM},
        )
        return list(found)


async def _nobody_is_busy(database: Database) -> bool:
    return not await _busy(database)


async def _is_free(database: Database, row: int) -> bool:
    async with database.transaction() as session:
        found = await session.scalar(
            text("SELECT id FROM fought_over WHERE id = :id FOR UPDATE SKIP LOCKED"), {"id": row}
        )
    return found is not None


@pytest.mark.parametrize("seed", [1, 2])
async def test_h23_a_cancelled_transaction_leaves_nothing_open(
    database: Database, victim: Database, seed: int
) -> None:
    chance = random.Random(seed)

    async def maltreat() -> None:
        task = asyncio.create_task(_bump(victim))
        # Passes of the loop, not time: every await of checkout, begin, statements, commit and rollback is hit.
        for _ in range(chance.randrange(120)):
            await asyncio.sleep(0)
        for _ in range(chance.choice([1, 1, 2, 4])):
            task.cancel()
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
        await asyncio.wait({task}, timeout=30)
        assert task.done()
        assert task.cancelled() or task.exception() is None

    async def maltreater() -> None:
        for _ in range(_ROUNDS // 5):
            await maltreat()

    await asyncio.gather(
        *(maltreater() for _ in range(5))
    )  # more than the pool has: waiting for it is hit, too
    await until("no transaction is open", lambda: _nobody_is_busy(database), patience_s=_FREED_S_MAX)
    assert await _is_free(database, 1)
    assert await _is_free(database, 2)
    async with database.transaction() as session:
        counts = set(await session.scalars(text("SELECT n FROM fought_over")))
    assert len(counts) == 1  # all of a transaction or nothing
    await asyncio.gather(*(_bump(victim) for _ in range(5)))  # and the pool is whole


async def test_h23_a_waiter_that_was_cancelled_twice_lets_go_of_its_locks(
    database: Database, victim: Database
) -> None:
    async with database.transaction() as holder:
        await holder.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        await holder.execute(text("SELECT 1 FROM fought_over WHERE id = 2 FOR UPDATE"))
        task = asyncio.create_task(_bump(victim))
        await until("the victim waits for row 2", lambda: _waits(database))
        assert not await _is_free(database, 1)
        # The second one hits while the driver asks the server to cancel: it then only drops the connection.
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task}, timeout=30)
        await until("row 1 is free", lambda: _is_free(database, 1), patience_s=_FREED_S_MAX)


async def test_h23_a_process_killed_while_it_waits_lets_go_of_its_locks(
    database: Database, victim: Database, database_url: str
) -> None:
    program = textwrap.dedent(
        """
        import asyncio, sys
        from gp4u_server.kit.db import connect
        from sqlalchemy import text

        async def main():
            async with connect(sys.argv[1], application_name=sys.argv[2]).transaction() as session:
                await session.execute(text("SELECT 1 FROM fought_over WHERE id = 1 FOR UPDATE"))
                await session.execute(text("SELECT 1 FROM fought_over WHERE id = 2 FOR UPDATE"))

        asyncio.run(main())
        """
    )
    async with database.transaction() as holder:
        await holder.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        await holder.execute(text("SELECT 1 FROM fought_over WHERE id = 2 FOR UPDATE"))
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, database_url, _VICTIM)
        await until("the process waits for row 2", lambda: _waits(database))
        process.send_signal(signal.SIGKILL)
        await process.wait()
        await until("row 1 is free", lambda: _is_free(database, 1), patience_s=_FREED_S_MAX)


async def _waits(database: Database) -> bool:
    async with database.transaction() as session:
        found = await session.scalar(
            text(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = :name"
                " AND wait_event_type = 'Lock'"
            ),
            {"name": _VICTIM},
        )
    return bool(found)
