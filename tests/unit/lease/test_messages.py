"""What a job writes about itself travels in its node's frames; nothing it can write may spoil them."""

import json

import pytest
from gp4u_protocol.messages import (
    FRAME_BYTES_MAX,
    ActualState,
    Heartbeat,
    NodeHealth,
    PlacementStatus,
    Progress,
    Report,
    decode_from_agent,
)


def _through_the_wire(progress_file: str) -> Progress:
    progress = Progress.model_validate(json.loads(progress_file))
    status = PlacementStatus(placement_id="p", epoch=1, state=ActualState.RUNNING, progress=progress)
    frame = Heartbeat(seq=1, health=NodeHealth(), placements=[status]).model_dump_json()
    heard = decode_from_agent(frame)
    assert isinstance(heard, Heartbeat)
    assert heard.placements[0].progress == progress
    return progress


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "null", "true", '"low"', "1" + "0" * 400])
def test_h27_poison_message_a_diverged_loss_does_not_cost_the_node_its_heartbeats(value: str) -> None:
    progress = _through_the_wire(f'{{"step": 7, "metrics": {{"loss": {value}, "rate": 0.5}}}}')
    assert progress == Progress(step=7, metrics={"rate": 0.5})


def test_h27_poison_message_names_of_metrics_can_be_stored() -> None:
    progress = _through_the_wire(r'{"step": 7, "metrics": {"a\u0000b": 1, "c\ud800": 2}}')
    assert progress.metrics == {"a\ufffdb": 1.0, "c?": 2.0}


def test_h27_poison_message_progress_of_a_full_node_fits_into_a_frame() -> None:
    metrics = {f"{number}" + "\x01" * 1000: 1.2345678901234567e-300 for number in range(1000)}
    progress = Progress.model_validate({"step": 1, "metrics": metrics})
    assert len(progress.model_dump_json()) * 16 < FRAME_BYTES_MAX


@pytest.mark.parametrize("step", [1 << 60, -(1 << 60), 10**30])
def test_a_step_beyond_what_a_browser_can_count_is_no_step(step: int) -> None:
    with pytest.raises(ValueError, match="step"):
        Progress.model_validate({"step": step})


def test_h27_poison_message_a_report_with_a_nul_can_be_stored() -> None:
    frame = (
        r'{"type": "report", "seq": 1, "placement_id": "p", "epoch": 1, "state": "start_failed",'
        r' "reason": "start\u0000failed", "detail": "not \u0000 text"}'
    )
    report = decode_from_agent(frame)
    assert isinstance(report, Report)
    assert (report.reason, report.detail) == ("start\ufffdfailed", "not \ufffd text")
    assert (
        len(
            Report(seq=1, placement_id="p", epoch=1, state=ActualState.EXITED, detail="x" * 99_999).detail
            or ""
        )
        < 5_000
    )


def test_h27_poison_message_a_detail_is_bounded_and_has_no_half_characters() -> None:
    made = Report(seq=1, placement_id="p", epoch=1, state=ActualState.EXITED, detail="\ud800" + "x" * 99_999)
    assert decode_from_agent(made.model_dump_json()) == made
    assert len(made.detail or "") < 5_000
