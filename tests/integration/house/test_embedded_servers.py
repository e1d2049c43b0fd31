"""The embedded servers and the migrations, for real."""

import subprocess
import sys

import psycopg
import pytest
import redis
from gp4u_server.kit.db import Database
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import text


async def test_each_test_gets_a_migrated_database(database: Database) -> None:
    async with database.transaction() as session:
        assert await session.scalar(text("SELECT count(*) FROM alembic_version")) == 1
        assert str(await session.scalar(text("SHOW server_version"))).startswith("18")


def test_valkey_wants_its_password(valkey_url: str) -> None:
    client = redis.Redis.from_url(valkey_url)
    client.set("a", 1)
    assert client.dbsize() == 1
    port = int(valkey_url.rsplit(":", 1)[1].split("/")[0])
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=port, retry=Retry(NoBackoff(), 0)).ping()


def test_postgres_wants_its_password(postgres_url: str) -> None:
    with pytest.raises(
        psycopg.OperationalError, match=r"no password supplied|password authentication failed"
    ):
        psycopg.connect(postgres_url, password="wrong")


def test_two_starters_migrate_one_after_the_other(empty_database_url: str) -> None:
    program = "import sys; from gp4u_server import migrations; migrations.upgrade(sys.argv[1])"
    starters = [subprocess.Popen([sys.executable, "-c", program, empty_database_url]) for _ in range(2)]
    assert [starter.wait(120) for starter in starters] == [0, 0]
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)
