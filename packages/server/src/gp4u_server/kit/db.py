"""The database base: declarative base, naming rules, engine and the one way to open a transaction."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from sqlalchemy import BigInteger, DateTime, MetaData, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """Base of all tables. Text ids, aware timestamps, 64-bit integers, JSONB documents."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {
        str: Text,
        int: BigInteger,
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        list[str]: ARRAY(Text),
    }


@dataclass(frozen=True)
class Database:
    """An engine and its sessions. One per process."""

    engine: AsyncEngine
    sessions: async_sessionmaker[AsyncSession]

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """A session whose work is committed when the block ends and rolled back when it raises.

        Cancelled at any await of it, also twice, it leaves no transaction and no lock behind: the connection is discarded
        (tests/integration/gateway/test_transactions.py). Whether a commit that was cancelled took place is not known.
        """
        async with self.sessions() as session, session.begin():
            yield session

    async def close(self) -> None:
        """Close every pooled connection."""
        await self.engine.dispose()


# A transaction of ours lasts milliseconds. One whose owner vanished in the middle must not hold its locks for ever:
# it would keep a lost node from being declared lost. Cancelled work rolls back at once; what is left is a statement whose
# client is gone (killed, or cancelled again while the driver was asking the server to stop): while it waits for a lock
# the server does not look at its socket by itself, and keeps every lock that the transaction has taken before.
_LIMITS = (
    "-c client_connection_check_interval=1s"
    " -c idle_in_transaction_session_timeout=10s -c lock_timeout=10s -c statement_timeout=60s"
    # A host that fell off the network closes no socket: both ends ask.
    " -c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3"
)
_KEEPALIVES = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


def connect(url: str, *, pool_size: int = 10, application_name: str = "gp4u") -> Database:
    """Open a pool on `url` (`postgresql://…`). No connection is made before the first use."""
    engine = create_async_engine(
        url.replace("postgresql://", "postgresql+psycopg://", 1),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        connect_args={
            **_KEEPALIVES,
            "async_creator_fn": _dial,
            "application_name": application_name,
            "options": f"-c timezone=UTC {_LIMITS}",
        },
    )
    return Database(engine, async_sessionmaker(engine, expire_on_commit=False))


async def _dial(*args: Any, **options: Any) -> psycopg.AsyncConnection[Any]:
    """A connection that is opened to its end even if the caller is cancelled, and closed then.

    A driver that is cancelled while it signs in keeps the socket until some later garbage collection; the server waits a
    minute for the password, and meanwhile holds up whoever needs all its backends (dropping a database, for one).
    """
    dialling = asyncio.create_task(psycopg.AsyncConnection.connect(*args, **options))
    try:
        return await asyncio.shield(dialling)
    except asyncio.CancelledError:
        dialling.add_done_callback(_hang_up)
        raise


def _hang_up(dialled: "asyncio.Task[psycopg.AsyncConnection[Any]]") -> None:
    if not dialled.cancelled() and dialled.exception() is None:
        dialled.result().pgconn.finish()
