"""A snapshot takes only what the job has finished: real processes that write slowly, in place, by rename, by mmap."""

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gp4u_agent.checkpoint.commits import ControlFolder
from gp4u_protocol.checkpoint.manifest import Trigger

from tests.unit.checkpoints.platform import Platform
from tests.unit.checkpoints.scene import Node, tree

DEADLINE_S = 20.0


@contextmanager
def job(code: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A job's process: Python `code` in the checkpoint folder. It goes on when a line is sent to it."""
    folder.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", textwrap.dedent(code)],
        cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def says(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline().strip() == word


def go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def _restored(platform: Platform, root: Path) -> dict[str, object]:
    reader = Node(platform, root)
    await reader.engine.restore()
    return tree(reader.folder)


async def test_a_file_that_is_written_slowly_is_taken_when_it_is_finished(tmp_path: Path) -> None:
    platform = Platform()
    node = Node(platform, tmp_path / "a")
    code = """
        with open("model", "wb") as file:
            file.write(b"a" * 300_000); file.flush()
            print("half"); input()
            file.write(b"b" * 300_000)
        print("done"); input()
    """
    with job(code, node.folder) as process:
        node.pids = lambda: [process.pid]
        node.restart()
        (node.folder / "other").write_text("finished")
        says(process, "half")
        result = await node.engine.snapshot("interval")
        assert result is not None
        assert result.left_out == ("model",), "there is no earlier version to keep"
        assert set(await _restored(platform, tmp_path / "b")) == {"other"}
        go_on(process)
        says(process, "done")
        assert await node.engine.snapshot("interval") is not None
    assert (await _restored(platform, tmp_path / "c"))["model"] == (
        "file",
        0o644,
        b"a" * 300_000 + b"b" * 300_000,
    )


async def test_a_file_that_is_rewritten_in_place_keeps_its_whole_previous_version(tmp_path: Path) -> None:
    platform = Platform()
    node = Node(platform, tmp_path / "a")
    node.folder.mkdir()
    (node.folder / "model").write_bytes(b"old" * 200_000)
    assert await node.engine.snapshot("interval") is not None
    code = """
        with open("model", "r+b") as file:
            file.write(b"new" * 100_000); file.flush()
            print("half"); input()
            file.write(b"new" * 100_000)
        print("done"); input()
    """
    with job(code, node.folder) as process:
        node.pids = lambda: [process.pid]
        node.restart()
        says(process, "half")
        (node.folder / "other").write_text("finished")
        result = await node.engine.snapshot("interval")
        assert result is not None
        assert result.kept_back == ("model",)
        assert (await _restored(platform, tmp_path / "b"))["model"] == ("file", 0o644, b"old" * 200_000)
        go_on(process)
        says(process, "done")
        assert await node.engine.snapshot("interval") is not None
    assert (await _restored(platform, tmp_path / "c"))["model"] == ("file", 0o644, b"new" * 200_000)


async def test_a_file_mapped_into_memory_is_not_finished(tmp_path: Path) -> None:
    node = Node(Platform(), tmp_path / "a")
    code = """
        import mmap
        with open("weights", "w+b") as file:
            file.truncate(1 << 20)
            memory = mmap.mmap(file.fileno(), 1 << 20)
        memory[0] = 1
        print("mapped"); input()
    """
    with job(code, node.folder) as process:
        node.pids = lambda: [process.pid]
        node.restart()
        says(process, "mapped")
        (node.folder / "other").write_text("finished")
        result = await node.engine.snapshot("interval")
    assert result is not None
    assert result.left_out == ("weights",)


async def test_a_job_that_never_stops_rewriting_in_place_never_gives_a_mixture(tmp_path: Path) -> None:
    platform = Platform()
    node = Node(platform, tmp_path / "a")
    node.folder.mkdir()
    (node.folder / "model").write_bytes(b"finished" * 40 * 4096)
    assert await node.engine.snapshot("interval") is not None
    code = """
        import itertools
        for number in itertools.count():
            with open("model", "r+b") as file:
                for _ in range(40):
                    file.write(number.to_bytes(8, "big") * 4096); file.flush()
    """
    with job(code, node.folder) as process:
        node.pids = lambda: [process.pid]
        node.restart()
        until(lambda: (node.folder / "model").read_bytes()[:8] != b"finished")
        for number in range(5):
            (node.folder / "other").write_text(str(number))
            assert await node.engine.snapshot("interval") is not None
    assert len(platform.rows) == 6
    for row in list(platform.rows):
        platform.rows = [row]
        content = (await _restored(platform, tmp_path / row.id))["model"][2]  # type: ignore[index]
        assert len(content) == 40 * 8 * 4096
        assert len({content[at : at + 8] for at in range(0, len(content), 8)}) == 1


async def test_a_job_that_renames_into_place_all_the_time_is_always_saved_whole(tmp_path: Path) -> None:
    platform = Platform()
    node = Node(platform, tmp_path / "a")
    code = """
        import itertools, os
        for number in itertools.count():
            with open("model.tmp", "wb") as file:
                for _ in range(40):
                    file.write(number.to_bytes(8, "big") * 4096); file.flush()
            os.replace("model.tmp", "model")
    """
    numbers = []
    with job(code, node.folder) as process:
        node.pids = lambda: [process.pid]
        node.restart()
        until(lambda: (node.folder / "model").exists())
        for attempt in range(6):
            result = await node.engine.snapshot("interval")
            assert result is not None, "every snapshot finds a newer version"
            assert result.left_out == ()
            content = (await _restored(platform, tmp_path / f"b{attempt}"))["model"][2]  # type: ignore[index]
            found = {content[at : at + 8] for at in range(0, len(content), 8)}
            assert len(content) == 40 * 8 * 4096
            assert len(found) == 1
            numbers.append(int.from_bytes(found.pop(), "big"))
    assert numbers == sorted(set(numbers)), "always forward"


async def test_temporary_names_and_folders_are_not_taken(tmp_path: Path) -> None:
    platform = Platform()
    node = Node(platform, tmp_path / "a")
    for name in ("a.tmp", "b.part", ".hidden", "c~", "step-2.tmp/model", "step-1/model"):
        path = node.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    assert await node.engine.snapshot("interval") is not None
    assert set(await _restored(platform, tmp_path / "b")) == {"step-1", "step-1/model"}
    (node.folder / "step-2.tmp").rename(node.folder / "step-2")
    assert await node.engine.snapshot("interval") is not None
    assert "step-2/model" in await _restored(platform, tmp_path / "c")


def test_commit_requests_are_read_and_answered(tmp_path: Path) -> None:
    control = ControlFolder(tmp_path)
    assert ControlFolder(tmp_path / "missing").pending() == []
    (tmp_path / "commit-1.request").write_text('{"step": 5}')
    (tmp_path / "commit-2.request").write_text("{}")
    (tmp_path / "commit-3.request").write_text("rubbish")
    (tmp_path / "commit-4.request").symlink_to("/etc/passwd")
    (tmp_path / "commit-5.request").write_text('{"step": "7"}')
    (tmp_path / "commit-..-6.request").write_text("{}")
    requests = control.pending()
    assert [(request.name, request.step) for request in requests] == [("1", 5), ("2", None)]
    for name in "345":
        assert "malformed" in (tmp_path / f"commit-{name}.done").read_text()
    control.answer(requests[0], {"ok": True})
    assert (tmp_path / "commit-1.done").read_text() == '{"ok": true}'
    assert [request.name for request in control.pending()] == ["2"]


async def test_h6_a_file_of_tomorrow_is_saved_like_any_other(tmp_path: Path) -> None:
    """The machine's clock stepped back after it was written, or the job set its time: it must not count as unfinished for
    ever, or the job is told that its newest state is saved while an older one is."""
    platform = Platform()
    node = Node(platform, tmp_path)
    node.folder.mkdir()
    tomorrow = time.time() + 86_400
    saved = []
    for step in (1, 2):
        (node.folder / "state").write_text(f"step {step}")
        os.utime(node.folder / "state", (tomorrow, tomorrow))
        result = await node.engine.snapshot(Trigger.JOB, step=step)
        assert result is not None
        saved.append((result.kept_back, result.files))
    assert saved == [((), 1), ((), 1)]
    other = Node(platform, tmp_path / "other")
    await other.engine.restore()
    assert (other.folder / "state").read_text() == "step 2"
