"""PostgreSQL notifications as wake-ups. Lost ones cost the poll interval and nothing else."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import psycopg
import structlog
from psycopg import sql

from gp4u_server.kit.db import Database

log = structlog.get_logger(__name__)

RECONNECT_S = 1.0
QUIET_S = 30.0


async def notifications(database: Database, channels: Sequence[str]) -> AsyncIterator[tuple[str, str]]:
    """(channel, payload) for ever, over a connection of its own that is opened again whenever it breaks.

    After every (re)connection one ("", "") comes first: something may have been missed, look at everything.
    """
    url = database.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    while True:
        try:
            connection = await psycopg.AsyncConnection.connect(url, autocommit=True)
            async with connection:
                for channel in channels:
                    await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
                yield "", ""
                while True:
                    async for notification in connection.notifies(timeout=QUIET_S):
                        yield notification.channel, notification.payload
                    await connection.execute("SELECT 1")  # a dead peer shows itself
        except (psycopg.Error, OSError) as error:
            log.info("listening_interrupted", error=str(error))
            await asyncio.sleep(RECONNECT_S)
