"""A migrated database that lives as long as a `with` block, for the tools in this folder."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gp4u_server import migrations
from gp4u_server.embedded import postgres


@contextmanager
def migrated_database() -> Iterator[str]:
    """Address of a fresh, migrated database."""
    folder = Path(tempfile.mkdtemp(prefix="gp4u-scratch-"))
    server = postgres.run(
        folder / "postgres",
        secrets_dir=folder / "secrets",
        log=folder / "postgres.log",
        options=postgres.Options(durable=False),
    )
    try:
        migrations.upgrade(server.url())
        yield server.url()
    finally:
        server.close()
        postgres.delete(folder / "postgres")
        shutil.rmtree(folder, ignore_errors=True)
