"""Telemetry on the wire: what a broken driver says spoils no connection, and an older peer is not spoken to."""

import json

import pytest
from gp4u_protocol.messages import Welcome, decode_from_agent, decode_from_gateway
from gp4u_protocol.telemetry import AGE_S_MAX, SAMPLES_MAX, Telemetry


def test_numbers_that_no_gpu_reads_are_taken_for_silence() -> None:
    sample = {
        "age_s": float("nan"),
        "load_1m": float("inf"),
        "rtt_ms": 1e300,
        "devices": [{"uuid": "GPU-\0x", "power_w": "much", "temperature_c": 50, "pcie_gen": True}],
        "xids": [{"code": 79, "age_s": 1e9, "detail": "x" * 10_000}],
        "of a later version": 1,
    }
    message = decode_from_agent(json.dumps({"type": "telemetry", "samples": [sample] * 100}))
    assert isinstance(message, Telemetry)
    assert len(message.samples) == SAMPLES_MAX
    first = message.samples[0]
    assert (first.age_s, first.load_1m, first.rtt_ms) == (0.0, None, None)
    device = first.devices[0]
    assert (device.power_w, device.temperature_c, device.pcie_gen) == (None, 50.0, None)
    assert "\0" not in device.uuid
    assert first.xids[0].age_s == AGE_S_MAX
    assert len(first.xids[0].detail) <= 300


@pytest.mark.parametrize(("told", "every_s"), [({}, None), ({"telemetry_every_s": 10}, 10.0)])
def test_a_gateway_that_does_not_ask_is_an_older_one(told: dict[str, float], every_s: float | None) -> None:
    frame = {
        "type": "welcome",
        "protocol_version": 1,
        "session_id": "s",
        "heartbeat_interval_s": 1,
        "lease_ttl_s": 5,
        "http_token": "t",
    }
    message = decode_from_gateway(json.dumps({**frame, **told}))
    assert isinstance(message, Welcome)
    assert message.telemetry_every_s == every_s
