"""What a job is promised at its submission, and which node can restore which dump."""

import itertools
from pathlib import Path

import pytest
from gp4u_protocol.job_file import JobFileInvalid, parse_job_file
from gp4u_protocol.job_spec import CheckpointSource, JobSpec, OnNodeLoss, Protection
from gp4u_protocol.promise import Saved, promise_of
from gp4u_protocol.transparent import TransparentFacts, why_not_restorable
from pydantic import ValidationError

IMAGE = "registry/name@sha256:" + "0" * 64
HERE = TransparentFacts(
    by="criu 4.2.1 by runc 1.1.5",
    machine="x86_64",
    kernel="6.18.4",
    criu="4.2.1",
    cpu_flags=["avx", "sse2"],
    system="abc",
)


def spec(source: str = "application", **fields: object) -> JobSpec:
    return JobSpec.model_validate({"command": "true", "checkpoint": {"source": source}, **fields})


@pytest.mark.parametrize(
    ("wanted", "whole_here", "saved"),
    [
        (spec(), None, Saved.FOLDER),
        (spec(), True, Saved.FOLDER),  # it is not asked for
        (spec("transparent"), None, Saved.WHOLE),
        (spec("auto"), None, Saved.WHOLE_OR_FOLDER),
        (spec("auto"), True, Saved.WHOLE),
        (spec("auto"), False, Saved.FOLDER),
        (spec("auto", image=IMAGE), None, Saved.WHOLE_OR_FOLDER),
        (spec("auto", image=IMAGE), False, Saved.FOLDER),
        (spec("transparent", image=IMAGE), None, Saved.WHOLE),
        (spec("auto", image=IMAGE, resources={"network": True}), None, Saved.FOLDER),
        (spec("auto", resources={"network": True}), True, Saved.FOLDER),
        (spec("transparent", protection="none"), True, Saved.NOTHING),
        (spec("auto", failover={"on_node_loss": "stop"}), True, Saved.NOTHING),
    ],
)
def test_what_outlives_the_node(wanted: JobSpec, whole_here: bool | None, saved: Saved) -> None:
    assert promise_of(wanted, whole_here).saved is saved


def test_only_the_most_has_no_reason_why_not_more() -> None:
    """Whoever gets less than the whole is told what stands in the way."""
    for source, protection, policy, here in itertools.product(
        CheckpointSource, Protection, OnNodeLoss, (None, True, False)
    ):
        if protection is Protection.HOT and policy is not OnNodeLoss.MOVE:
            continue
        wanted = spec(source.value, protection=protection.value, failover={"on_node_loss": policy.value})
        promise = promise_of(wanted, here)
        assert (promise.why_not_more is None) == (promise.saved is Saved.WHOLE), (wanted, here)
        assert "`" not in promise.says + (promise.why_not_more or ""), (
            "plain text, for pages and terminals alike"
        )
        assert (promise.standby is None) == (protection is not Protection.HOT)
        assert "memory and all" in promise.says or promise.saved not in (Saved.WHOLE, Saved.WHOLE_OR_FOLDER)


def test_a_hot_job_is_told_what_its_second_node_is_for_and_whether_it_is_ready() -> None:
    hot = spec(protection="hot")
    said = {ready: promise_of(hot, standby_ready=ready).standby for ready in (None, True, False)}
    assert "only while it is ready" in (said[None] or "")
    assert "ready now" in (said[True] or "")
    assert "No second node" in (said[False] or "")
    assert promise_of(spec(), standby_ready=True).standby is None


@pytest.mark.parametrize(
    "more", [{"image": IMAGE, "resources": {"network": True}}, {"resources": {"network": True}}]
)
def test_what_cannot_be_saved_whole_is_refused_at_submission_when_nothing_else_will_do(
    more: dict[str, object],
) -> None:
    with pytest.raises(ValidationError, match="cannot be saved whole"):
        spec("transparent", **more)
    assert spec("auto", **more).runtime in ("sandbox", "containers")


def test_the_source_decides_what_a_node_must_offer() -> None:
    assert [spec(source.value).runtime for source in CheckpointSource] == ["sandbox", "bundle", "sandbox"]
    with_image = [spec(source.value, image=IMAGE).runtime for source in CheckpointSource]
    assert with_image == ["containers", "containers-whole", "containers"]


def test_the_source_in_a_job_file() -> None:
    made = parse_job_file("command: x\ncheckpoint: {source: auto}", base=Path())
    assert made.spec.checkpoint.source is CheckpointSource.AUTO
    with pytest.raises(JobFileInvalid) as caught:
        parse_job_file("command: x\ncheckpoint: {source: transparant}", base=Path())
    assert "did you mean `transparent`" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "because"),
    [
        ({}, ""),
        ({"kernel": "6.19.0", "criu": "4.3", "cpu_flags": ["avx", "avx512", "sse2"]}, ""),
        ({"machine": "aarch64"}, "aarch64"),
        ({"cpu_flags": ["sse2"]}, "lacks avx"),
        ({"kernel": "6.9.12"}, "kernel 6.9.12 is older"),
        ({"criu": "4.1"}, "criu 4.1 is older"),
        ({"system": "abd"}, "libraries"),
        ({"why_not": "criu is not installed"}, "criu is not installed"),
        ({"by": ""}, "restores no whole jobs"),
    ],
)
def test_a_dump_goes_only_where_it_can_be_restored(change: dict[str, object], because: str) -> None:
    said = why_not_restorable(HERE, HERE.model_copy(update=change))
    assert bool(said) == bool(because)
    assert because in said


PODMAN = TransparentFacts(
    by="criu 4.2.1 by podman 4.3.1 with runc",
    runtime="containers",
    machine="x86_64",
    kernel="6.18.4",
    criu="4.2.1",
    cpu_flags=["avx"],
    system="podman 4.3.1 with runc",
)


def test_what_a_node_proved_counts_for_jobs_with_an_image_apart_from_those_without() -> None:
    both = HERE.model_copy(update={"containers": PODMAN})
    assert both.of(None) == HERE
    assert both.of(IMAGE) == PODMAN
    assert not HERE.of(IMAGE).works
    assert why_not_restorable(PODMAN, both.of(IMAGE)) == ""
    assert "no job with an image" in why_not_restorable(PODMAN, HERE.of(IMAGE))
    assert "this node restores those of runc and CRIU" in why_not_restorable(PODMAN, both.of(None))
    other = PODMAN.model_copy(update={"system": "podman 5.4.0 with crun"})
    assert why_not_restorable(PODMAN, other) == (
        "the dump is of podman 4.3.1 with runc, it has podman 5.4.0 with crun"
    )
    assert TransparentFacts.model_validate_json(both.model_dump_json()) == both


GVISOR = HERE.model_copy(
    update={"by": "gVisor's runsc", "runtime": "gvisor", "build": "20240729.0 1a2b", "criu": ""}
)


def test_gvisor_s_dumps_go_to_the_same_build_whatever_the_kernel() -> None:
    """It restores its own kernel with the job; no other build reads that, and CRIU reads none of it."""
    older_kernel = GVISOR.model_copy(update={"kernel": "5.10.0"})
    assert why_not_restorable(GVISOR, older_kernel) == ""
    other = GVISOR.model_copy(update={"build": "20250101.0 3c4d"})
    assert "same build of gVisor, 20240729.0 1a2b" in why_not_restorable(GVISOR, other)
    assert (
        why_not_restorable(GVISOR, HERE) == "the dump is of gVisor, this node restores those of runc and CRIU"
    )
    assert (
        why_not_restorable(HERE, GVISOR) == "the dump is of runc and CRIU, this node restores those of gVisor"
    )
    assert "processor lacks" in why_not_restorable(GVISOR, GVISOR.model_copy(update={"cpu_flags": ["sse2"]}))
    assert "libraries" in why_not_restorable(GVISOR, GVISOR.model_copy(update={"system": "xyz"}))
