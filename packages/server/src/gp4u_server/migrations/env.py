"""Alembic's entry: one transaction per migration, under one advisory lock, with a limit on waiting for table locks."""

import os

from alembic import context
from sqlalchemy import create_engine, pool, text

from gp4u_server.kit.db import Base
from gp4u_server.migrations import load_models

_LOCK_KEY = 0x6770_3475  # "gp4u"
_LOCK_TIMEOUT_MS = (
    10_000  # a migration that waits for a table blocks everybody behind it: give up and try again
)


def _database_url() -> str:
    url = context.config.attributes.get("database_url") or os.environ.get("DATABASE_URL")
    if not url:
        raise RuntimeError("Set DATABASE_URL to the database to migrate.")
    return str(url).replace("postgresql://", "postgresql+psycopg://", 1)


def _migrate() -> None:
    if not context.config.attributes.get("without_models"):
        load_models()
    engine = create_engine(
        _database_url(),
        poolclass=pool.NullPool,
        connect_args={
            "options": f"-c lock_timeout={_LOCK_TIMEOUT_MS}",
            "application_name": "gp4u migrations",
        },
    )
    guards = create_engine(_database_url(), poolclass=pool.NullPool, isolation_level="AUTOCOMMIT")
    with guards.connect() as guard, engine.connect() as connection:
        guard.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK_KEY})
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            compare_type=True,
            compare_server_default=True,
            transaction_per_migration=True,
        )
        with context.begin_transaction():
            context.run_migrations()


_migrate()
