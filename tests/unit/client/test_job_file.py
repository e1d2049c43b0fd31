"""Job files: the example of the documentation, every field wrong once, and no crash on anything."""

from pathlib import Path

import pytest
from gp4u_protocol.job_file import JobFileInvalid, parse_job_file, read_job_file
from gp4u_protocol.job_spec import FailoverRule, OnNodeLoss
from hypothesis import given
from hypothesis import strategies as st

GOOD = """
name: digits
command: python train.py --epochs 300
files: .
env: {SEED: 7, EMPTY: }
resources: {gpus: 1, vram_gb: ">=24", gpu_model: [RTX_4090, A100_80GB], region: eu-west}
checkpoint: {path: ckpt, every: 5s}
budget: {per_hour: 0.80, total: 5.00}
protection: catalyst
failover: {on_node_loss: wait, max_moves: 3, per_hour: 1.20, same_region_only: true, deadline: 2d}
max_duration: 2h
"""


def test_a_good_file_becomes_an_exact_specification(tmp_path: Path) -> None:
    parsed = parse_job_file(GOOD, base=tmp_path)
    spec = parsed.spec
    assert parsed.files == tmp_path.resolve()
    assert spec.resources.vram_gb_min == 24
    assert spec.resources.gpu_models == ["RTX_4090", "A100_80GB"]
    assert spec.resources.regions == ["eu-west"]
    assert spec.checkpoint.every_s == 5
    assert (spec.budget.per_hour_micros_max, spec.budget.total_micros_max) == (800_000, 5_000_000)
    assert spec.duration_s_max == 7200
    assert spec.failover == FailoverRule(
        on_node_loss=OnNodeLoss.WAIT,
        moves_max=3,
        per_hour_micros_max=1_200_000,
        same_region_only=True,
        deadline_s=172_800,
    )
    assert spec.environment == {"SEED": "7", "EMPTY": ""}


@pytest.mark.parametrize(
    ("line", "field", "part"),
    [
        ("name: Has Spaces", "name", "lower case"),
        ("name: [a]", "name", "lower case"),
        ("files: ./nowhere", "files", "no folder"),
        ("files: 3", "files", "path of a folder"),
        ("env: [a, b]", "env", "mapping"),
        ("env: {1BAD: x}", "env.1BAD", "match"),
        ("resources: 4", "resources", "mapping"),
        ("resources: {gpus: 0}", "resources.gpus", "greater than or equal to 1"),
        ("resources: {gpus: -1}", "resources.gpus", "greater than or equal to 1"),
        ("resources: {gpus: many}", "resources.gpus", "whole number"),
        ("resources: {vram_gb: lots}", "resources.vram_gb", "GiB"),
        ("resources: {vram_gb: 99999}", "resources.vram_gb", "less than or equal"),
        ("resources: {gpu_model: 7}", "resources.gpu_model", "list"),
        ("resources: {cpus: 0}", "resources.cpus", "greater"),
        ("resources: {memory_gb: 0}", "resources.memory_gb", "greater"),
        ("resources: {disk_gb: x}", "resources.disk_gb", "whole number"),
        ("resources: {region: 9}", "resources.region", "list"),
        ("resources: {network: perhaps}", "resources.network", "true or false"),
        ("failover: always", "failover", "mapping"),
        ("failover: {on_node_loss: run}", "failover.on_node_loss", "move, wait, stop"),
        ("failover: {max_moves: -1}", "failover.max_moves", "greater than or equal to 0"),
        ("failover: {max_moves: many}", "failover.max_moves", "whole number"),
        ("failover: {per_hour: 0}", "failover.per_hour", "positive amount"),
        ("failover: {same_region_only: perhaps}", "failover.same_region_only", "true or false"),
        ("failover: {deadline: 5}", "failover.deadline", "greater than or equal to 60"),
        ("failover: {deadlin: 5h}", "failover.deadlin", "no such field"),
        ("checkpoint: ckpt", "checkpoint", "mapping"),
        ("checkpoint: {path: /etc}", "checkpoint.path", "inside the job's folder"),
        ("checkpoint: {path: ../up}", "checkpoint.path", "inside the job's folder"),
        ("checkpoint: {every: soon}", "checkpoint.every", "duration"),
        ("checkpoint: {every: 0s}", "checkpoint.every", "greater"),
        ("budget: 5", "budget", "mapping"),
        ("budget: {per_hour: 0}", "budget.per_hour", "positive"),
        ("budget: {per_hour: -1}", "budget.per_hour", "positive"),
        ("budget: {total: .inf}", "budget.total", "positive"),
        ("budget: {total: 1e-9}", "budget.total", "positive"),
        ("budget: {total: 999999999999}", "budget.total", "less than or equal"),
        ("protection: catalist", "protection", "one of"),
        ("max_duration: 10s", "max_duration", "greater"),
        ("max_duration: true", "max_duration", "duration"),
    ],
)
def test_each_wrong_field_is_named(tmp_path: Path, line: str, field: str, part: str) -> None:
    with pytest.raises(JobFileInvalid) as caught:
        parse_job_file(f"command: 'true'\n{line}\n", base=tmp_path)
    assert [mistake.field for mistake in caught.value.mistakes] == [field]
    assert part in caught.value.mistakes[0].message


def test_a_mistyped_field_gets_a_suggestion_and_is_never_dropped(tmp_path: Path) -> None:
    with pytest.raises(JobFileInvalid) as caught:
        parse_job_file("comand: x\nresources: {gpu_modle: RTX_4090}\n", base=tmp_path)
    found = {mistake.field: mistake.suggestion for mistake in caught.value.mistakes}
    assert found["comand"] == "command"
    assert found["resources.gpu_modle"] == "gpu_model"
    assert found["command"] is None  # and it is missing, which is said too


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(JobFileInvalid) as caught:
        parse_job_file("command: ''\nbudget: {total: -1}\nresources: {gpus: 99}\n", base=tmp_path)
    assert {m.field for m in caught.value.mistakes} == {"command", "budget.total", "resources.gpus"}


@pytest.mark.parametrize("text", ["", "just words", "- a\n- b", "a: [", "\t: x", "command: &a [*a]"])
def test_what_is_not_a_job_is_refused_clearly(tmp_path: Path, text: str) -> None:
    with pytest.raises(JobFileInvalid):
        parse_job_file(text, base=tmp_path)


def test_a_missing_and_a_huge_file(tmp_path: Path) -> None:
    with pytest.raises(JobFileInvalid, match="cannot be read"):
        read_job_file(tmp_path / "none.yaml")
    (tmp_path / "huge.yaml").write_text("#" * 300_000)
    with pytest.raises(JobFileInvalid, match="larger than"):
        read_job_file(tmp_path / "huge.yaml")


@given(st.text(max_size=300))
def test_no_text_makes_it_crash(text: str) -> None:
    try:
        parse_job_file(text, base=Path())
    except JobFileInvalid as error:
        assert error.mistakes


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "name",
                "command",
                "files",
                "env",
                "resources",
                "checkpoint",
                "budget",
                "protection",
                "max_duration",
            ]
        ),
        _json,
    )
)
def test_no_value_in_any_field_makes_it_crash(document: dict[str, object]) -> None:
    import yaml  # noqa: PLC0415

    try:
        parse_job_file(yaml.safe_dump(document), base=Path())
    except JobFileInvalid as error:
        assert error.mistakes
