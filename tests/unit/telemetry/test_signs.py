"""Which readings are signs of a failing device, and which are a job's own doing."""

from typing import Any

import pytest
from gp4u_protocol.telemetry import DeviceSample, XidEvent
from gp4u_server.catalyst.telemetry.signs import DeviceMemory, Sign, observe, remembered, xid_sign
from gp4u_server.catalyst.telemetry.types import Severity
from gp4u_server.catalyst.telemetry.xids import XIDS

GPU = "GPU-1a2b3c4d-0000"


def watch(
    readings: list[dict[str, Any]], every_s: float = 10.0, memory: DeviceMemory | None = None
) -> list[Sign]:
    """All signs of a row of readings."""
    memory = memory or DeviceMemory()
    found = []
    for number, reading in enumerate(readings):
        memory, signs = observe(memory, DeviceSample(uuid=GPU, **reading), number * every_s)
        found += signs
    return found


def told(signs: list[Sign]) -> list[tuple[str, str, str]]:
    return [(sign.kind.value, sign.code, sign.severity.value) for sign in signs]


@pytest.mark.parametrize("code", [13, 31, 43, 45])
def test_a_jobs_own_error_drains_no_node(code: int) -> None:
    assert xid_sign(XidEvent(code=code, uuid=GPU)).severity is Severity.INFO


@pytest.mark.parametrize("code", [46, 48, 62, 64, 74, 79, 94, 95, 119, 120])
def test_an_xid_of_failing_hardware_is_critical(code: int) -> None:
    sign = xid_sign(XidEvent(code=code, uuid=GPU))
    assert sign.severity is Severity.CRITICAL
    assert f"XID {code}" in sign.sentence
    assert GPU[:12] in sign.sentence


def test_what_nobody_knows_and_what_mends_itself_is_only_worth_a_look() -> None:
    assert {xid_sign(XidEvent(code=code)).severity for code in (63, 92, 4711)} == {Severity.WARNING}
    assert all(xid.meaning and xid.meaning[0].islower() for xid in XIDS.values())


def test_uncorrected_memory_errors_count_from_what_was_there_before() -> None:
    counts = [7, 7, 8, 8]
    assert told(watch([{"ecc_uncorrected": count} for count in counts])) == [
        ("ecc", "uncorrected", "critical")
    ]
    # The driver was loaded anew: the count begins at zero, and one is new.
    assert told(watch([{"ecc_uncorrected": count} for count in (7, 0)])) == []
    assert len(watch([{"ecc_uncorrected": count} for count in (7, 1)])) == 1
    # A gateway that sees the node for the first time knows the stored count.
    known = remembered({"ecc_uncorrected": 7.0})
    assert watch([{"ecc_uncorrected": 7}], memory=known) == []
    assert len(watch([{"ecc_uncorrected": 9}], memory=known)) == 1


def test_a_row_that_cannot_be_replaced_is_told_once() -> None:
    readings = [
        {"row_remap_failure": False, "row_remaps": 0},
        *[{"row_remap_failure": True, "row_remaps": 1}] * 3,
    ]
    assert told(watch(readings)) == [
        ("row_remap", "failure", "critical"),
        ("row_remap", "row_remaps", "warning"),
    ]
    assert watch([{"row_remap_failure": True}], memory=remembered({"row_remap_failure": 1.0})) == []


@pytest.mark.parametrize(
    ("reasons", "readings", "expected"),
    [
        (["hw_thermal"], 6, []),
        (["hw_thermal"], 7, [("thermal", "hw_thermal", "critical")]),
        (["sw_thermal"], 60, []),
        (["sw_thermal"], 61, [("thermal", "sw_thermal", "warning")]),
        (["sw_power_cap"], 100, []),
        (["hw_slowdown"], 100, []),
    ],
)
def test_heat_counts_when_it_lasts(
    reasons: list[str], readings: int, expected: list[tuple[str, str, str]]
) -> None:
    assert told(watch([{"throttle_reasons": reasons, "temperature_c": 97}] * readings)) == expected


def test_heat_that_comes_and_goes_is_none_and_a_new_heat_is_told_anew() -> None:
    hot, cool = {"throttle_reasons": ["hw_thermal"]}, {"throttle_reasons": []}
    assert watch(([hot] * 5 + [cool]) * 10) == []
    assert len(watch(([hot] * 20 + [cool]) * 2)) == 2
    # Nothing is known of the three minutes between two readings.
    assert watch([hot] * 5, every_s=180) == []


def test_a_link_that_loses_lanes_is_failing_and_one_that_saves_power_is_not() -> None:
    full, half = {"pcie_width": 16}, {"pcie_width": 8}
    assert told(watch([full, half, half, half, half])) == [("pcie", "width", "critical")]
    assert watch([full, half, half, full]) == []
    assert watch([half] * 9) == []  # it never had more
    idle = {"pcie_gen": 1, "pcie_gen_max": 4, "utilisation_percent": 0}
    assert watch([idle] * 9) == []
    assert told(watch([{**idle, "utilisation_percent": 95}] * 9)) == [("pcie", "generation", "warning")]


def test_packets_sent_again_count_by_their_rate() -> None:
    assert watch([{"pcie_replays": 5 * number} for number in range(20)]) == []
    assert told(watch([{"pcie_replays": 50 * number} for number in range(20)])) == [
        ("pcie", "replays", "warning")
    ]


def test_a_device_that_tells_nothing_shows_nothing() -> None:
    assert watch([{}] * 20) == []
    assert watch([{"ecc_uncorrected": 3}, {}, {"ecc_uncorrected": 3}]) == []
