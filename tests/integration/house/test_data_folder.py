"""The data folder and its database: kept, moved, copied, deleted, damaged."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from gp4u_server.embedded import postgres
from gp4u_server.embedded.program import ServerFailed
from gp4u_server.supervisor.errors import AlreadyRunning, FolderUnusable
from gp4u_server.supervisor.folder import DataFolder


@pytest.fixture
def data(tmp_path: Path, server_folder: Path) -> Iterator[Path]:
    folder = tmp_path / "data"
    DataFolder(folder).inspect()
    yield folder
    for left in (folder, tmp_path / "moved"):
        postgres.delete(left / "postgres")


def _run(data: Path) -> postgres.RunningPostgres:
    return postgres.run(
        data / "postgres",
        secrets_dir=data / "secrets",
        log=data.with_name("postgres.log"),
        options=postgres.Options(durable=False),
    )


def _write(data: Path) -> Path:
    """Make a cluster with a value in it; answers where it lies."""
    server = _run(data)
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS value")
    server.close()
    return server.prepared.cluster.data


def _kept(data: Path) -> bool:
    server = _run(data)
    try:
        with psycopg.connect(server.url()) as connection:
            return connection.execute("SELECT to_regclass('kept')").fetchone() != (None,)
    finally:
        server.close()


def test_a_second_start_keeps_the_data(data: Path) -> None:
    _write(data)
    assert _kept(data)


def test_a_server_that_was_left_running_is_stopped_first(data: Path) -> None:
    left_over = _run(data)
    with psycopg.connect(left_over.url(), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS value")
    assert _kept(data)
    assert left_over.process.wait(5) == 0


def test_deleting_the_data_folder_is_a_reset(data: Path) -> None:
    _write(data)
    shutil.rmtree(data)
    assert not _kept(data)


def test_a_moved_data_folder_has_its_data(data: Path) -> None:
    _write(data)
    moved = data.rename(data.with_name("moved"))
    assert _kept(moved)
    assert _kept(moved)


@pytest.mark.skipif(os.geteuid() != 0, reason="only as root is the cluster outside the data folder")
def test_a_copied_data_folder_does_not_share_the_database(data: Path, tmp_path: Path) -> None:
    _write(data)
    shutil.copytree(data, tmp_path / "moved")
    with pytest.raises(ServerFailed, match="is a copy of"):
        _run(tmp_path / "moved")
    shutil.rmtree(tmp_path / "moved")


def _lose_control_file(cluster: Path) -> None:
    (cluster / "global" / "pg_control").unlink()


def _lose_tables(cluster: Path) -> None:
    shutil.rmtree(cluster / "base")


def _lose_version(cluster: Path) -> None:
    (cluster / "PG_VERSION").unlink()


def _other_version(cluster: Path) -> None:
    (cluster / "PG_VERSION").write_text("17\n")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_lose_control_file, "pg_control"),
        (_lose_tables, "is damaged"),
        (_lose_version, "is damaged"),
        (_other_version, "was made by PostgreSQL 17"),
    ],
)
def test_a_damaged_database_is_refused_with_its_reason(
    data: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(_write(data))
    with pytest.raises(ServerFailed, match=message):
        _run(data)


def test_an_interrupted_initdb_is_done_again(data: Path) -> None:
    cluster = _write(data)
    cluster.rename(cluster.with_name("cluster.making"))
    assert not _kept(data)


def test_the_folder_is_made_once_and_private(data: Path) -> None:
    folder = DataFolder(data)
    folder.lock()
    folder.prepare()
    assert data.stat().st_mode & 0o777 == 0o700
    for name in ("signing.pem", "master.key"):
        assert (folder.secrets / name).stat().st_mode & 0o777 == 0o600
    before = (folder.secrets / "signing.pem").read_bytes(), (folder.secrets / "master.key").read_bytes()
    folder.prepare()
    assert before == (
        (folder.secrets / "signing.pem").read_bytes(),
        (folder.secrets / "master.key").read_bytes(),
    )


def test_one_folder_has_one_supervisor(data: Path) -> None:
    folder = DataFolder(data)
    descriptor = folder.lock()
    with pytest.raises(AlreadyRunning, match="gp4u down"):
        DataFolder(data).lock()
    assert folder.is_locked()
    os.close(descriptor)
    assert not folder.is_locked()


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ('{"format": 99, "made_by": "9.0"}', "has format 99, made by GP4U 9.0"),
    ],
)
def test_a_folder_of_another_version_is_refused(data: Path, marker: str, message: str) -> None:
    folder = DataFolder(data)
    folder.lock()
    folder.prepare()
    folder.marker.write_text(marker)
    with pytest.raises(FolderUnusable, match=message):
        folder.inspect()


def test_a_short_master_key_is_refused(data: Path) -> None:
    folder = DataFolder(data)
    folder.lock()
    folder.prepare()
    (folder.secrets / "master.key").write_bytes(b"short")
    with pytest.raises(FolderUnusable, match="must hold 32 bytes"):
        folder.prepare()


def test_h28_too_little_space_is_named(data: Path) -> None:
    folder = DataFolder(data)
    folder.lock()
    with pytest.raises(FolderUnusable, match="MiB free"):
        folder.prepare(free_bytes_min=1 << 60)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder of somebody else")
def test_somebody_elses_folder_is_refused(data: Path) -> None:
    data.mkdir()
    os.chown(data, 12345, 12345)
    with pytest.raises(FolderUnusable, match="belongs to user 12345"):
        DataFolder(data).inspect()
