"""The job's own folders: whatever it makes of them, it is measured, read and deleted, and nothing of the agent breaks."""

import os
from pathlib import Path

import pytest
from gp4u_agent.checkpoint.commits import ControlFolder
from gp4u_agent.job_process import read_progress, remove_tree
from gp4u_agent.placement_dir import PlacementDir
from gp4u_agent.reports import ReportJournal
from gp4u_agent.shim.disk import UNMEASURABLE_BYTES, DiskUse


def measured(folder: Path) -> int:
    use = DiskUse([folder])
    while not use.step():
        pass
    return use.bytes_used


def deep(folder: Path, levels: int) -> None:
    """A chain of folders deeper than any path can be written."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d" * 8, dir_fd=here)
        below = os.open("d" * 8, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("hidden", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=here))
    os.close(here)


def test_a_file_of_several_names_is_measured_once(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(bytes(1 << 20))
    for number in range(5):
        os.link(tmp_path / "one", tmp_path / f"again-{number}")
    assert 1 << 20 <= measured(tmp_path) < 2 << 20


def test_nothing_hides_below_what_can_be_measured(tmp_path: Path) -> None:
    deep(tmp_path, 600)
    assert measured(tmp_path) >= UNMEASURABLE_BYTES


def test_a_folder_of_any_depth_and_mode_is_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    deep(folder, 1500)
    (folder / "shut").mkdir()
    (folder / "shut" / "file").touch()
    (folder / "shut").chmod(0)
    remove_tree(folder)
    assert not folder.exists()
    remove_tree(folder)


def test_h27_a_folder_or_pipe_in_place_of_a_file_costs_no_descriptor(tmp_path: Path) -> None:
    folder = PlacementDir(tmp_path)
    folder.control.mkdir()
    (folder.control / "progress.json").mkdir()
    (folder.control / "commit-dir.request").mkdir()
    os.mkfifo(folder.control / "commit-pipe.request")
    (folder.control / "commit-stuck.request").write_text("[]")
    (folder.control / ".commit-stuck.answer").mkdir()
    (folder.control / "commit-good.request").write_text('{"step": 3}')
    control = ControlFolder(folder.control)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        assert read_progress(folder) is None
        assert ("good", 3) in [(request.name, request.step) for request in control.pending()]
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    "text", ["{}", '{"next_seq": null, "pending": []}', '{"next_seq": 2, "pending": [1]}']
)
def test_a_damaged_journal_is_begun_anew_above_every_number_it_may_have_used(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "reports.json").write_text(text)
    journal = ReportJournal.load(PlacementDir(tmp_path), "pl", 1)
    assert journal.next_seq > 100_000
    assert journal.pending == []


def test_an_exit_is_read_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = PlacementDir(tmp_path)
    folder.exit.write_text('{"code": 0')
    assert folder.read(folder.exit) is None
