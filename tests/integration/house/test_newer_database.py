"""A database that this program cannot bring up to date is told apart, and told in words."""

import psycopg
import pytest
from gp4u_server import migrations


def test_a_database_of_a_newer_version_is_recognised(empty_database_url: str) -> None:
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
        connection.execute("INSERT INTO alembic_version VALUES ('9999')")
    with pytest.raises(migrations.DatabaseIsNewer) as refused:
        migrations.upgrade(empty_database_url)
    assert refused.value.revision == "9999"


def test_what_the_database_refuses_is_said_in_its_words(empty_database_url: str) -> None:
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE outbox ()")
    with pytest.raises(migrations.Failed, match='"outbox" already exists'):
        migrations.upgrade(empty_database_url)
    with psycopg.connect(empty_database_url) as connection:
        found = connection.execute("SELECT to_regclass('idempotency_keys')").fetchone()
    assert found == (None,)
