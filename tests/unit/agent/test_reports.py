"""The report journal: numbered, durable, bounded."""

from pathlib import Path

from gp4u_agent.placement_dir import PlacementDir
from gp4u_agent.reports import PENDING_MAX, ReportJournal
from gp4u_protocol.messages import ActualState


def test_reports_survive_a_restart_until_acknowledged(tmp_path: Path) -> None:
    journal = ReportJournal.load(PlacementDir(tmp_path), "p", 1)
    journal.add(ActualState.RUNNING)
    journal.add(ActualState.EXITED, exit_code=0)
    again = ReportJournal.load(PlacementDir(tmp_path), "p", 1)
    assert [report.seq for report in again.pending] == [1, 2]
    assert again.ended
    again.acknowledge(1)
    assert not again.end_acknowledged
    again.acknowledge(2)
    last = ReportJournal.load(PlacementDir(tmp_path), "p", 1)
    assert (last.pending, last.end_acknowledged, last.next_seq) == ([], True, 3)


def test_numbers_never_repeat_though_all_was_acknowledged(tmp_path: Path) -> None:
    journal = ReportJournal.load(PlacementDir(tmp_path), "p", 1)
    journal.add(ActualState.RUNNING)
    journal.acknowledge(1)
    assert ReportJournal.load(PlacementDir(tmp_path), "p", 1).add(ActualState.EXITED).seq == 2


def test_a_long_outage_stays_bounded_and_keeps_the_first_and_the_last(tmp_path: Path) -> None:
    journal = ReportJournal.load(PlacementDir(tmp_path), "p", 1)
    for _ in range(3 * PENDING_MAX):
        journal.add(ActualState.RUNNING)
    journal.add(ActualState.EXITED)
    assert len(journal.pending) == PENDING_MAX
    assert journal.pending[0].seq == 1
    assert journal.pending[-1].state is ActualState.EXITED


def test_a_damaged_journal_file_is_taken_for_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "reports.json").write_text('{"next_seq": 4, "pend')
    assert ReportJournal.load(PlacementDir(tmp_path), "p", 1).pending == []


def test_h28_a_disk_that_takes_nothing_does_not_keep_a_report_from_being_sent(tmp_path: Path) -> None:
    (tmp_path / "reports.new").mkdir()  # every write fails
    journal = ReportJournal.load(PlacementDir(tmp_path), "p", 1)
    assert journal.add(ActualState.EXITED, exit_code=0) in journal.pending
    journal.acknowledge(1)
    assert journal.end_acknowledged
