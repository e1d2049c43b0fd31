"""The migration makes the tables that the models describe."""

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from gp4u_server import migrations
from gp4u_server.kit.db import Base

TABLES = {"checkpoints", "packs", "checkpoint_packs", "open_uploads", "job_uploads"}


def test_models_and_migration_agree(database_url: str) -> None:
    migrations.load_models()
    engine = sa.create_engine(database_url.replace("postgresql://", "postgresql+psycopg://", 1))
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        differences = compare_metadata(context, Base.metadata)
    engine.dispose()
    ours = [difference for difference in differences if any(table in str(difference) for table in TABLES)]
    assert ours == []
    assert set(Base.metadata.tables) >= TABLES
