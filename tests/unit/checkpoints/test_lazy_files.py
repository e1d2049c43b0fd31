"""Which files follow, in which order, and how one gets into a folder that the job owns."""

import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from gp4u_agent.checkpoint.putting import Fate, put_in_place
from gp4u_protocol.checkpoint.lazy import fault_of_patterns, next_batch, split, uncovered
from gp4u_protocol.checkpoint.limits import MIB
from gp4u_protocol.checkpoint.manifest import Entry, EntryKind, Manifest, Trigger
from gp4u_protocol.job_file import JobFileInvalid, parse_job_file
from gp4u_protocol.job_spec import CheckpointRule, JobSpec
from pydantic import ValidationError


def _entries(*names: str, size: int = 1) -> tuple[Entry, ...]:
    folders = {"/".join(name.split("/")[:depth]) for name in names for depth in range(1, name.count("/") + 1)}
    found = [Entry(path=name, kind=EntryKind.DIRECTORY, mode=0o755) for name in folders]
    found += [Entry(path=name, kind=EntryKind.FILE, mode=0o644, size=size) for name in names]
    return tuple(sorted(found, key=lambda entry: entry.path.split("/")))


def _manifest(entries: tuple[Entry, ...]) -> Manifest:
    return Manifest("job_1", 1, 1, Trigger.JOB, None, datetime.now(UTC), entries, (), {})


@pytest.mark.parametrize(
    ("patterns", "later"),
    [
        ([], []),
        (["data/**"], ["data/a.arrow", "data/b/c.txt"]),
        (["data/"], ["data/a.arrow", "data/b/c.txt"]),
        (["*.arrow"], ["data/a.arrow", "x.arrow"]),
        (["/x.arrow"], ["x.arrow"]),
        (["*.txt", "*.arrow"], ["data/b/c.txt", "data/a.arrow", "x.arrow"]),  # the order of the patterns
        (["data/**", "!*.txt"], ["data/a.arrow"]),
        (["*"], ["data/a.arrow", "data/b/c.txt", "model", "x.arrow"]),
    ],
)
def test_patterns_split_a_checkpoint(patterns: list[str], later: list[str]) -> None:
    manifest = _manifest(_entries("data/a.arrow", "data/b/c.txt", "model", "x.arrow"))
    parts = split(manifest, patterns)
    assert [manifest.entries[number].path for number in parts.later] == later
    first = [entry.path for entry in parts.first.entries]
    assert set(first) | set(later) == {entry.path for entry in manifest.entries}
    assert {"data", "data/b"} <= set(first), "folders are there from the beginning"


def test_an_empty_file_never_follows() -> None:
    assert split(_manifest(_entries("data/a", size=0)), ["data/**"]).later == ()


def test_a_batch_is_bounded_and_goes_first_where_somebody_waits() -> None:
    entries = _entries(*(f"d{n // 10}/{n:02}" for n in range(30)), size=4 * MIB)
    waiting = [number for number, entry in enumerate(entries) if entry.kind is EntryKind.FILE]
    assert [entries[number].path for number in next_batch(entries, waiting)] == [f"d0/0{n}" for n in range(8)]
    wanted = next_batch(entries, waiting, {"d2"})
    assert [entries[number].path for number in wanted] == [f"d2/2{n}" for n in range(8)]
    assert next_batch(entries, waiting, {"d1/13"}) == (
        next(n for n in waiting if entries[n].path == "d1/13"),
    )
    assert next_batch(entries, waiting, {"gone"}) == next_batch(entries, waiting)
    huge = _entries("a", "b", size=100 * MIB)
    assert next_batch(huge, [0, 1]) == (0,)
    assert next_batch(huge, []) == ()


def test_what_the_job_put_in_the_way_covers_a_pending_file() -> None:
    pending = _entries("a/b/c")[-1:]
    assert list(uncovered(pending, {})) == list(pending)
    assert list(uncovered(pending, {"a": True, "a/b": True})) == list(pending)
    assert not list(uncovered(pending, {"a": True, "a/b": True, "a/b/c": False}))
    assert not list(uncovered(pending, {"a": False})), "a link or file where its folder was"


@pytest.mark.parametrize("wrong", [["!x"], ["# remark"], [" "], ["a\nb"], ["x"] * 33, ["y" * 257]])
def test_wrong_patterns_are_refused(wrong: list[str]) -> None:
    with pytest.raises(ValidationError):
        CheckpointRule(lazy=wrong)


def test_the_job_file_takes_one_pattern_or_several(tmp_path: Path) -> None:
    def lazy(text: str) -> list[str]:
        return parse_job_file(f"command: x\ncheckpoint: {{lazy: {text}}}", base=tmp_path).spec.checkpoint.lazy

    assert lazy("datasets/**") == ["datasets/**"]
    assert lazy("['*.arrow', '!a.arrow']") == ["*.arrow", "!a.arrow"]
    assert fault_of_patterns(["*.arrow"]) is None
    for wrong in ("7", "['!x']"):
        with pytest.raises(JobFileInvalid) as refused:
            lazy(wrong)
        assert refused.value.mistakes[0].field == "checkpoint.lazy"


def test_a_whole_job_is_never_restored_lazily() -> None:
    with pytest.raises(ValidationError, match="restored whole"):
        JobSpec(command="x", checkpoint={"source": "transparent", "lazy": ["x"]})  # type: ignore[arg-type]


# --- into the job's folder ----------------------------------------------------------------------------------


class Place:
    """A job's folder with a file of ours waiting beside it."""

    def __init__(self, root: Path) -> None:
        self.job, self.staged = root / "job", root / "staged"
        self.job.mkdir()
        self.staged.write_text("ours")
        self.staged.chmod(0o640)

    def put(self, path: str, modes: dict[int, int] | None = None) -> Fate:
        anchor = os.open(self.job, os.O_RDONLY)
        try:
            *folders, name = path.split("/")
            return put_in_place(anchor, folders, name, self.staged, modes or {})
        finally:
            os.close(anchor)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_file_is_put_in_place_with_its_mode_and_missing_folders(place: Place) -> None:
    assert place.put("a/b/file", {1: 0o700}) is Fate.PLACED
    assert (place.job / "a/b/file").read_text() == "ours"
    assert stat.S_IMODE((place.job / "a/b/file").stat().st_mode) == 0o640
    assert stat.S_IMODE((place.job / "a/b").stat().st_mode) == 0o700
    assert not place.staged.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_it_belongs_to_the_jobs_user(place: Place) -> None:
    os.chown(place.job, 0x30000001, 0x30000001)
    assert place.put("a/file") is Fate.PLACED
    for path in ("a", "a/file"):
        status = (place.job / path).stat()
        assert (status.st_uid, status.st_gid) == (0x30000001, 0x30000001)


@pytest.mark.parametrize("own", ["file", "folder", "link", "dangling", "pipe"])
def test_what_the_job_put_there_is_never_replaced(place: Place, own: str) -> None:
    target = place.job / "file"
    {
        "file": lambda: target.write_text("the job's"),
        "folder": target.mkdir,
        "link": lambda: target.symlink_to("/etc/passwd"),
        "dangling": lambda: target.symlink_to("nowhere"),
        "pipe": lambda: os.mkfifo(target),
    }[own]()
    before = target.lstat().st_ino
    assert place.put("file") is Fate.YIELDED
    assert target.lstat().st_ino == before
    assert not (place.job / "nowhere").exists()
    assert place.staged.exists()


@pytest.mark.parametrize("depth", ["a/file", "a/b/file"])
@pytest.mark.parametrize("own", ["link", "file"])
def test_no_link_is_followed_on_the_way(place: Place, tmp_path: Path, own: str, depth: str) -> None:
    outside = tmp_path / "outside"
    (outside / "b").mkdir(parents=True)
    if own == "link":
        (place.job / "a").symlink_to(outside)
    else:
        (place.job / "a").write_text("in the way")
    assert place.put(depth) is Fate.BLOCKED
    assert sorted(str(p.relative_to(outside)) for p in outside.rglob("*")) == ["b"]
    assert place.staged.exists()


def test_data_that_was_made_read_only_takes_its_files(place: Place) -> None:
    folder = place.job / "a"
    folder.mkdir()
    folder.chmod(0o555)
    assert place.put("a/b/file") is Fate.PLACED
    assert stat.S_IMODE(folder.stat().st_mode) == 0o555
