"""Facts: invented ones are stable and marked, real ones are spelled like the catalogue."""

from pathlib import Path

import pytest
from gp4u_agent.facts import machine, simulated
from gp4u_agent.facts.collect import Sensors
from gp4u_agent.facts.nvidia import catalogue_name
from gp4u_agent.facts.simulated import BadSimulationSpec, SimulationSpec

SPEC = SimulationSpec.model_validate(
    {"devices": [{"model": "RTX_4090", "vram_gb": 24, "count": 2}, {"model": "L40S", "vram_gb": 48}]}
)


def test_simulated_devices_are_stable_distinct_and_marked() -> None:
    devices = simulated.devices(SPEC, "key")
    assert devices == simulated.devices(SPEC, "key")
    assert len({device.uuid for device in devices}) == 3
    assert {d.uuid for d in devices}.isdisjoint(d.uuid for d in simulated.devices(SPEC, "other key"))
    assert all(device.simulated and device.uuid.startswith("SIM-") for device in devices)
    assert [(device.model, device.vram_mb) for device in devices] == [
        ("RTX_4090", 24576),
        ("RTX_4090", 24576),
        ("L40S", 49152),
    ]


def test_simulated_readings_follow_the_work() -> None:
    devices = simulated.devices(SPEC, "key")
    for now_s in range(100):
        busy, idle, _ = simulated.health(SPEC, devices, {devices[0].uuid}, float(now_s))
        assert busy.utilisation_percent is not None
        assert 80 < busy.utilisation_percent <= 100
        assert idle.utilisation_percent == 0
        assert busy.temperature_c is not None
        assert idle.temperature_c is not None
        assert idle.temperature_c < busy.temperature_c < 80


@pytest.mark.parametrize(
    "text",
    [
        "",
        "devices: []",
        "devices: [{model: x y, vram_gb: 1}]",
        "devices: [{model: A, vram_gb: 0}]",
        "a: [",
        "devices: [{model: A, vram_gb: 1, speed: 9}]",
    ],
)
def test_a_bad_spec_says_which_file(tmp_path: Path, text: str) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(text)
    with pytest.raises(BadSimulationSpec, match=r"spec\.yaml"):
        simulated.load(file)


def test_only_the_gpus_are_invented(tmp_path: Path) -> None:
    facts = Sensors(tmp_path, {"sandbox": "proven"}, SPEC, "key").facts()
    assert facts.simulated
    assert facts.hostname == machine.hostname()
    assert facts.cpus >= 1
    assert facts.memory_mb > 100
    assert facts.disk_free_mb > 0
    health = Sensors(tmp_path, {}, SPEC, "key").health(set())
    assert len(health.devices) == 3
    assert health.memory_used_mb > 0


@pytest.mark.parametrize(
    ("product", "vram_mb", "name"),
    [
        ("NVIDIA GeForce RTX 4090", 24564, "RTX_4090"),
        ("NVIDIA A100-SXM4-80GB", 81920, "A100_80GB"),
        ("NVIDIA A100 80GB PCIe", 81920, "A100_80GB"),
        ("NVIDIA A100-PCIE-40GB", 40960, "A100_40GB"),
        ("NVIDIA H100 80GB HBM3", 81559, "H100"),
        ("NVIDIA H100 PCIe", 81559, "H100"),
        ("NVIDIA H200", 143771, "H200"),
        ("NVIDIA L40S", 46068, "L40S"),
        ("Tesla V100-SXM2-16GB", 16384, "V100_16GB"),
        ("Tesla T4", 15360, "T4"),
        ("NVIDIA RTX A6000", 49140, "RTX_A6000"),
        ("NVIDIA GeForce RTX 3090", 24576, "RTX_3090"),
    ],
)
def test_products_are_spelled_like_the_catalogue(product: str, vram_mb: int, name: str) -> None:
    assert catalogue_name(product, vram_mb) == name


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff\xfe", "not a text file"),
        (b"- 5", "must be a mapping such as"),
        (b"a: b: c", "not valid YAML"),
        (b"devices: [{model: L40S, vram_gb: lots}]", "devices.0.vram_gb: "),
    ],
)
def test_a_wrong_simulation_file_is_told_in_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "spec.yaml").write_bytes(content)
    with pytest.raises(BadSimulationSpec) as refused:
        simulated.load(tmp_path / "spec.yaml")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
