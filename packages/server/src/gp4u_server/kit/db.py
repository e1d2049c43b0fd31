"""The database base: declarative base, naming rules, engine and the one way to open a transaction."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

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
        """A session whose work is committed when the block ends and rolled back when it raises."""
        async with self.sessions() as session, session.begin():
            yield session

    async def close(self) -> None:
        """Close every pooled connection."""
        await self.engine.dispose()


# A transaction of ours lasts milliseconds. One whose owner vanished in the middle must not hold its locks for ever:
# it would keep a lost node from being declared lost.
_LIMITS = "-c idle_in_transaction_session_timeout=10s -c lock_timeout=10s -c statement_timeout=60s"


def connect(url: str, *, pool_size: int = 10, application_name: str = "gp4u") -> Database:
    """Open a pool on `url` (`postgresql://…`). No connection is made before the first use."""
    engine = create_async_engine(
        url.replace("postgresql://", "postgresql+psycopg://", 1),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        connect_args={"application_name": application_name, "options": f"-c timezone=UTC {_LIMITS}"},
    )
    return Database(engine, async_sessionmaker(engine, expire_on_commit=False))
