"""What `gp4u up` tells a person, and what it finds out before it starts anything."""

import os
import shlex
import sys
from pathlib import Path

import pytest
from gp4u_server.demo.fleet import address_for_agents
from gp4u_server.supervisor import outside
from gp4u_server.supervisor.errors import FolderUnusable, OptionsConflict, UpFailed
from gp4u_server.supervisor.folder import DataFolder
from gp4u_server.supervisor.plan import UpOptions, kind_of, names
from gp4u_server.supervisor.progress import commands_to_try, how_to_call

SUMMARY = {"address": "http://127.0.0.1:8000", "demo": True, "data": "/somewhere/my data"}


def test_commands_are_said_as_they_work_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GP4U_DATA", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    ours = str(Path(sys.executable).with_name("gp4u"))
    assert how_to_call(str(tmp_path / ".gp4u")) == (shlex.quote(ours), "")
    assert how_to_call("/somewhere/my data") == (shlex.quote(ours), " --data '/somewhere/my data'")
    monkeypatch.setenv("GP4U_DATA", "/somewhere/my data")
    monkeypatch.setenv("PATH", str(Path(ours).parent))
    assert how_to_call("/somewhere/my data") == ("gp4u", "")


def test_a_clone_calls_the_command_in_its_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.chdir(Path(sys.executable).parents[2])
    program, _ = how_to_call(str(tmp_path))
    assert not Path(program).is_absolute()
    assert Path(program) == Path(*Path(sys.executable).parts[-3:-1]) / "gp4u"


def test_another_data_folder_is_named_wherever_it_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GP4U_DATA", raising=False)
    demo = commands_to_try(SUMMARY, detached=True)
    assert [line for line in demo if "--data '/somewhere/my data' failover" in line]
    assert demo[-1].endswith("down --data '/somewhere/my data'")
    assert commands_to_try(SUMMARY, detached=False)[-1] == "Stop: Ctrl-C"
    real = commands_to_try({**SUMMARY, "demo": False}, detached=True)
    assert [line for line in real if "register http://127.0.0.1:8000" in line]
    assert [line for line in real if "grant" in line]


@pytest.mark.parametrize(
    ("public", "agents"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://[::1]:8541", "http://localhost:8541"),
        ("https://gp4u.example", "https://gp4u.example"),
    ],
)
def test_demo_agents_get_an_address_that_a_proxy_understands(public: str, agents: str) -> None:
    assert address_for_agents(public) == agents


def test_an_endpoint_without_a_bucket_is_refused() -> None:
    with pytest.raises(OptionsConflict, match="S3_BUCKET is not"):
        outside.names_a_store({"S3_ENDPOINT": "http://127.0.0.1:9"})
    assert outside.names_a_store({"S3_BUCKET": "b"})
    assert not outside.names_a_store({"S3_ENDPOINT": ""})


async def test_a_store_that_does_not_answer_is_named() -> None:
    environment = {
        "S3_ENDPOINT": "http://127.0.0.1:9", "S3_BUCKET": "packs",
        "S3_ACCESS_KEY_ID": "a", "S3_SECRET_ACCESS_KEY": "b",
    }  # fmt: skip
    with pytest.raises(UpFailed, match=r"'packs' at http://127\.0\.0\.1:9 cannot be used") as refused:
        await outside.try_store(environment, timeout_s=0.5)
    assert "unset them" in str(refused.value)


@pytest.mark.parametrize("url", ["redis://127.0.0.1:9/0", "nonsense"])
def test_a_cache_that_does_not_answer_is_named(url: str) -> None:
    with pytest.raises(UpFailed, match="REDIS_URL is set") as refused:
        outside.try_cache(url)
    assert ".." not in str(refused.value)


def test_a_folder_that_takes_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderUnusable, match="Choose another one with --data"):
        DataFolder(tmp_path / "file" / "data").make()


def test_the_holder_of_a_folder_is_never_taken_from_an_earlier_start(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    descriptor = folder.lock()
    folder.write_status({"pid": 1, "address": "http://127.0.0.1:1"})
    assert folder.supervisor_pid() == os.getpid()
    os.close(descriptor)
    os.close(folder.lock())
    assert folder.supervisor_pid() == os.getpid()


def test_several_of_a_kind_have_names_and_the_database_has_room_for_them() -> None:
    assert names("api", 3) == ["api", "api-2", "api-3"]
    assert {kind_of(name) for name in names("gateway", 3)} == {"gateway"}
    one = UpOptions("127.0.0.1", 8000, Path("data"), demo=False)
    many = UpOptions(
        "127.0.0.1", 8000, Path("data"), demo=False, apis=16, gateways=16, controllers=16, workers=16
    )
    assert one.connections_max == 200
    # Each process: a pool with its overflow, one that listens; a gateway one more.
    assert many.connections_max >= 64 * (20 + 1) + 16
