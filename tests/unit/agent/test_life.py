"""What the agent says of itself: which boot, which run, how the last one ended, whether it stood still."""

import time
from pathlib import Path

import pytest
from gp4u_agent import life as module
from gp4u_agent.life import Life
from gp4u_protocol.messages import AgentLife, Hello

from tests.integration.market_world import facts


def said(life: Life) -> AgentLife:
    return life.said(runs_kept=1, runs_gone=2)


def test_another_run_of_the_same_boot(tmp_path: Path) -> None:
    first = Life(tmp_path / "run.json", boot_id="b")
    assert said(first).last_run == "none"
    second = Life(tmp_path / "run.json", boot_id="b")
    assert said(second).last_run == "crashed", "nothing ended the first one"
    assert said(second).run_id != said(first).run_id
    second.ended()
    third = said(Life(tmp_path / "run.json", boot_id="b"))
    assert (third.last_run, third.boot_id, third.runs_kept, third.runs_gone) == ("clean", "b", 1, 2)
    assert third.booted_s_ago is not None


@pytest.mark.parametrize("text", ["", "[]", '{"state": 1}', "nonsense"])
def test_a_damaged_note_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    assert said(Life(tmp_path / "run.json", boot_id="b")).last_run in ("unknown", "crashed")


def test_a_folder_that_cannot_be_written_keeps_no_agent_from_work(tmp_path: Path) -> None:
    assert said(Life(tmp_path / "none" / "run.json", boot_id="b")).last_run == "none"


def test_standing_still_is_noticed_and_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    monkeypatch.setattr(module, "_now", lambda: now)
    life = Life(tmp_path / "run.json", boot_id="b")
    for step in (0.5, 40.0, 0.5):
        now += step
        life.tick()
    assert said(life).stood_still_s == pytest.approx(40.0)
    life.session_began()
    now += 0.5
    assert said(life).stood_still_s == pytest.approx(0.5)


def test_this_machine_has_a_boot_id(tmp_path: Path) -> None:
    assert len(said(Life(tmp_path / "run.json")).boot_id) == 36


def test_an_old_agent_says_nothing_of_itself() -> None:
    hello = Hello(agent_version="1", node_id="n", facts=facts())
    assert Hello.model_validate_json(hello.model_dump_json(exclude={"life"})).life is None
