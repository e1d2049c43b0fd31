"""The catalogue: names people and drivers use, and what contradicts the published figures."""

import pytest
from gp4u_protocol.messages import DeviceFacts, NodeFacts
from gp4u_server.market.catalogue import load
from gp4u_server.market.errors import UnknownModel

CATALOGUE = load()


def node(*devices: DeviceFacts, simulated: bool = False) -> NodeFacts:
    return NodeFacts(
        hostname="h",
        os="linux",
        kernel="6",
        cpu_model="cpu",
        cpus=8,
        memory_mb=32768,
        disk_free_mb=1000,
        devices=list(devices),
        simulated=simulated,
    )


def test_figures_are_sane():
    assert len(CATALOGUE.models) >= 60
    for model in CATALOGUE.models.values():
        assert 4 <= model.vram_gb <= 288
        assert model.fp32_tflops > 0
        assert model.best_tflops >= model.fp32_tflops
        assert model.memory_bandwidth_gb_s > 0


@pytest.mark.parametrize(
    ("name", "models"),
    [
        ("4090", ("RTX_4090",)),
        ("rtx 4090", ("RTX_4090",)),
        ("NVIDIA GeForce RTX 4090", ("RTX_4090",)),
        ("NVIDIA H100 80GB HBM3", ("H100_SXM",)),
        ("NVIDIA A100-SXM4-80GB", ("A100_80GB",)),
        ("NVIDIA A100 80GB PCIe", ("A100_80GB_PCIE",)),
        ("Tesla T4", ("T4",)),
        ("h100", ("H100_SXM", "H100_PCIE", "H100_NVL")),
    ],
)
def test_names_people_and_drivers_use(name, models):
    assert CATALOGUE.resolve(name) == models


def test_every_canonical_name_means_itself():
    for name in CATALOGUE.models:
        assert CATALOGUE.resolve(name) == (name,)
        assert CATALOGUE.resolve(name.lower().replace("_", " ")) == (name,)


@pytest.mark.parametrize(
    ("name", "suggestion"), [("RTX_409", "RTX_4090"), ("H1000", "H100_SXM"), ("?", None)]
)
def test_an_unknown_model_is_refused_with_a_suggestion(name, suggestion):
    with pytest.raises(UnknownModel) as refused:
        CATALOGUE.resolve(name)
    assert refused.value.extra["suggestion"] == suggestion


def test_a_family_name_of_a_card_is_settled_by_its_memory():
    assert CATALOGUE.canonical("NVIDIA A100", 40960) == "A100_40GB"
    assert CATALOGUE.canonical("NVIDIA A100", 81920) == "A100_80GB"
    assert CATALOGUE.canonical("Voodoo 2", 12) is None


def test_plausible_facts_have_no_findings():
    assert CATALOGUE.findings(node(DeviceFacts(uuid="a", model="RTX_4090", vram_mb=24564))) == []


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        (node(), "no GPU"),
        (node(DeviceFacts(uuid="a", model="RTX_4090", vram_mb=49152)), "the model has 24"),
        (node(DeviceFacts(uuid="a", model="RTX_409X", vram_mb=24564)), "not in the catalogue"),
        (node(DeviceFacts(uuid="a", model="RTX_4090", vram_mb=24564, simulated=True)), "simulated"),
    ],
)
def test_a_card_that_contradicts_its_model_is_found(facts, word):
    (sentence,) = CATALOGUE.findings(facts)
    assert word in sentence
