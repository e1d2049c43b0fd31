"""Fixtures that every suite shares: real servers once per session, a fresh migrated database for each test."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import redis
from gp4u_server import migrations
from gp4u_server.embedded import postgres, valkey
from gp4u_server.kit.db import Database, connect

from tests.scheduling import ByNeighbourhood
from tests.stack.fixture import marketplace as marketplace

_TEMPLATE = "gp4u_template"
_SERVER_FOLDER_PREFIX = "gp4u-test-servers-"


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByNeighbourhood:
    """See tests/scheduling.py."""
    return ByNeighbourhood(config, log)


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """A folder for this session's servers. Reachable for the user that PostgreSQL runs as when we are root."""
    _remove_left_overs()
    folder = Path(tempfile.mkdtemp(prefix=f"{_SERVER_FOLDER_PREFIX}{os.getpid()}-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server(server_folder: Path) -> Iterator[postgres.RunningPostgres]:
    """A PostgreSQL for this session, without crash safety."""
    server = postgres.run(
        server_folder / "postgres",
        secrets_dir=server_folder / "secrets",
        log=server_folder / "postgres.log",
        options=postgres.Options(durable=False, system_folder=_system_folder(server_folder)),
    )
    yield server
    server.close()


@pytest.fixture(scope="session")
def postgres_url(postgres_server: postgres.RunningPostgres) -> str:
    """Address of the session's PostgreSQL: its maintenance database, superuser."""
    return postgres_server.url("postgres")


@pytest.fixture(scope="session")
def migrated_template(postgres_server: postgres.RunningPostgres) -> str:
    """Name of a migrated database that tests copy."""
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {_TEMPLATE}")
    migrations.upgrade(postgres_server.url(_TEMPLATE))
    return _TEMPLATE


def _administer(server: postgres.RunningPostgres, statement: str) -> None:
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(statement)


@pytest.fixture
async def database_url(
    postgres_server: postgres.RunningPostgres, migrated_template: str
) -> AsyncIterator[str]:
    """Address of a fresh, migrated database of this test's own."""
    name = f"test_{uuid4().hex}"
    _administer(postgres_server, f"CREATE DATABASE {name} TEMPLATE {migrated_template}")
    yield postgres_server.url(name)
    # Beside the loop: the server waits for a connection that is half signed in before it drops anything, and only the
    # loop can bring that to its end.
    await asyncio.to_thread(_administer, postgres_server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def empty_database_url(postgres_server: postgres.RunningPostgres) -> Iterator[str]:
    """Address of a fresh database without any table."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield postgres_server.url(name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A fresh, migrated database of this test's own, connected."""
    connected = connect(database_url, pool_size=20, application_name="test")
    yield connected
    await connected.close()


@pytest.fixture(scope="session")
def valkey_server(server_folder: Path) -> Iterator[valkey.RunningValkey]:
    """A Valkey for this session."""
    server = valkey.run(
        server_folder / "valkey", secrets_dir=server_folder / "secrets", log=server_folder / "valkey.log"
    )
    yield server
    server.close()


@pytest.fixture
def valkey_url(valkey_server: valkey.RunningValkey) -> str:
    """Address of the session's Valkey, emptied before each test."""
    client = redis.Redis.from_url(valkey_server.url())
    client.flushall()
    client.close()
    return valkey_server.url()


def _system_folder(server_folder: Path) -> Path:
    # The copy of PostgreSQL's programs is made once per machine, the cluster goes away with the session.
    system_folder = server_folder / "system"
    system_folder.mkdir(exist_ok=True)
    if os.geteuid() == 0:
        programs = postgres.SYSTEM_FOLDER / "programs"
        programs.mkdir(mode=0o755, parents=True, exist_ok=True)
        (system_folder / "programs").symlink_to(programs)
    return system_folder


def _remove_left_overs() -> None:
    """A session that was killed could not clean up; its servers died with it."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_SERVER_FOLDER_PREFIX}*"):
        pid = folder.name.removeprefix(_SERVER_FOLDER_PREFIX).split("-")[0]
        if not Path(f"/proc/{pid}").exists():
            shutil.rmtree(folder, ignore_errors=True)
