"""Sweeping the outbox reads its oldest rows and nothing else, whether or not anything is old."""

from gp4u_server.foundation.outbox import sweep_outbox
from gp4u_server.foundation.relay import OutboxPruning
from gp4u_server.kit.db import Database
from sqlalchemy import text

FILL = (
    "INSERT INTO outbox (topic, key, payload, sent_at)"
    " SELECT 't', 'k', '{}', clock_timestamp() - make_interval(secs => :age) FROM generate_series(1, :rows)"
)


async def fill(database: Database, rows: int, age_s: float) -> None:
    async with database.transaction() as session:
        await session.execute(text(FILL), {"rows": rows, "age": age_s})


async def test_old_messages_go_and_young_and_unsent_ones_stay(database: Database) -> None:
    await fill(database, 30, 90_000)
    async with database.transaction() as session:
        await session.execute(text("INSERT INTO outbox (topic, key, payload) VALUES ('t', 'k', '{}')"))
    await fill(database, 20, 60)
    async with database.transaction() as session:
        assert await sweep_outbox(session, batch=25) == 25
    assert await OutboxPruning(database).run_once() == 5
    assert await OutboxPruning(database).run_once() == 0
    async with database.transaction() as session:
        assert await session.scalar(text("SELECT count(*) FROM outbox")) == 21


async def test_with_nothing_old_a_sweep_reads_one_batch_and_not_the_table(database: Database) -> None:
    await fill(database, 20_000, 60)
    async with database.engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text("VACUUM ANALYZE outbox"))
    read = text(
        "SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables WHERE relname = 'outbox'"
    )
    async with database.transaction() as session:
        before = await session.scalar(read)
        assert await sweep_outbox(session, batch=100) == 0
        assert await session.scalar(read) - before <= 200
