"""What containers are made of, without an engine: the profile, the request, the progress of a pull."""

import errno
import os
from pathlib import Path

import pytest
from gp4u_agent.runtime import seccomp
from gp4u_agent.runtime.cgroups import JobCgroups
from gp4u_agent.runtime.containers import hardening
from gp4u_agent.runtime.containers.engine import _engine
from gp4u_agent.runtime.containers.images import BY_DIGEST, PullProgress, _pulled
from gp4u_agent.runtime.containers.probe import root_file_system
from gp4u_agent.runtime.port import Limits, Workload
from gp4u_agent.runtime.seccomp_profile import profile

LIMITS = Limits(memory_bytes=64 << 20, disk_bytes=16 << 20, cpus=2, pids_max=32)


def workload(tmp_path: Path, **fields: object) -> Workload:
    return Workload(
        **{
            "name": "pl.1",
            "command": "true",
            "environment": {},
            "job_dir": tmp_path,
            "control_dir": tmp_path,
            "inside_dir": tmp_path,
            "checkpoint_path": "c",
            "limits": LIMITS,
            "network": False,
            **fields,
        }  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_engines_profile_denies_what_our_filter_denies_and_answers_alike(machine: str) -> None:
    told: dict[str, int] = {}
    rules = profile(machine)["syscalls"]
    for rule in rules:
        assert rule["action"] == "SCMP_ACT_ERRNO"
        if not rule["args"]:
            told |= dict.fromkeys(rule["names"], rule["errnoRet"])
    ours = {
        name: denied.error
        for name, denied in seccomp.DENIED.items()
        if (denied.x86_64 if machine == "x86_64" else denied.aarch64) is not None
    }
    assert told == ours
    clone = [rule["args"][0]["value"] for rule in rules if rule["names"] == ["clone"]]
    assert sum(clone) == seccomp.CLONE_NAMESPACES
    families = {rule["args"][0]["valueTwo"] for rule in rules if rule["names"] == ["socket"]}
    assert families == set(range(64)) - set(seccomp.SOCKET_FAMILIES.values())
    # The kernel reads 32 bits of these: comparing all 64 would be evaded by a high one.
    assert {r["args"][0]["value"] for r in rules if r["names"] in (["socket"], ["ioctl"])} == {0xFFFFFFFF}
    assert {r["errnoRet"] for r in rules if r["names"] == ["socket"]} == {errno.EAFNOSUPPORT}


def test_a_container_is_asked_for_with_nothing_left_to_the_engines_defaults(tmp_path: Path) -> None:
    config = hardening.host_config(
        workload(tmp_path),
        real_devices=[],
        output=tmp_path / "out",
        network="none",
        seccomp_option="{}",
        podman=False,
    )
    assert config["CapDrop"] == ["ALL"]
    assert not config["CapAdd"]
    assert not config["Privileged"]
    assert config["ReadonlyRootfs"]
    assert config["SecurityOpt"] == ["no-new-privileges", "seccomp={}"]
    assert config["NetworkMode"] == "none"
    assert config["Memory"] == config["MemorySwap"] == LIMITS.memory_bytes
    assert config["PidsLimit"] == 32
    assert config["NanoCpus"] == 2_000_000_000
    assert not any("sock" in bind for bind in config["Binds"])
    assert "DeviceRequests" not in config


def test_gpus_are_asked_for_by_their_cdi_names(tmp_path: Path) -> None:
    config = hardening.host_config(
        workload(tmp_path),
        real_devices=["GPU-1", "GPU-2"],
        output=tmp_path / "out",
        network="none",
        seccomp_option="{}",
        podman=False,
    )
    assert config["DeviceRequests"] == [
        {"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=GPU-1", "nvidia.com/gpu=GPU-2"]}
    ]


def test_a_process_that_is_not_isolated_is_found_lacking_in_everything(tmp_path: Path) -> None:
    lacking = hardening.shortcomings(os.getpid(), 12345, workload(tmp_path), JobCgroups(), os.getpid())
    for word in ("seccomp", "privileges", "user", "mnt", "pid", "net", "ipc", "uts", "memory", "pids", "cpu"):
        assert any(word in sentence for sentence in lacking), word


@pytest.mark.parametrize(
    ("name", "ok"),
    [
        (f"docker.io/library/busybox@sha256:{'a' * 64}", True),
        (f"sha256:{'0' * 64}", True),
        ("busybox:latest", False),
        (f"busybox@sha256:{'a' * 63}", False),
        (f"-v@sha256:{'a' * 64}", False),
        (f"busybox@sha256:{'a' * 64} --privileged", False),
    ],
)
def test_only_digests_name_an_image(name: str, ok: bool) -> None:
    assert bool(BY_DIGEST.fullmatch(name)) is ok


def test_the_progress_of_a_pull_is_told_in_bytes_of_all_layers() -> None:
    progress = PullProgress()
    assert progress.fraction == 0
    progress.hear({"id": "a", "status": "Downloading", "progressDetail": {"current": 25, "total": 100}})
    assert progress.fraction == 0.25
    progress.hear({"id": "b", "status": "Downloading", "progressDetail": {"current": 0, "total": 100}})
    assert progress.fraction == 0.125
    progress.hear({"id": "a", "status": "Pull complete"})
    assert progress.fraction == 0.5
    progress.hear({"status": "Status: Downloaded newer image"})
    assert progress.fraction == 0.5


def test_a_refused_pull_says_why_whatever_pieces_it_comes_in() -> None:
    lines = [b'{"id": "a", "status": "Downl', b'oading", "progressDetail": {"current": 1, "total": 2}}\n\n']
    heard: list[float] = []
    assert _pulled([*lines, b'{"error": "denied"}\n'], heard.append) == "denied"
    assert heard == [0.5]
    assert _pulled(lines, heard.append) is None


@pytest.mark.parametrize(
    ("said", "kind", "devices"),
    [
        ({"Components": [{"Name": "Podman Engine"}], "Version": "4.3.1"}, "podman", False),
        ({"Components": [{"Name": "Podman Engine"}], "Version": "5.0.3"}, "podman", True),
        ({"Components": [{"Name": "Engine"}], "Version": "20.10.24+dfsg1"}, "docker", False),
        ({"Version": "28.0.1-rc1"}, "docker", True),
        ({}, "docker", False),
    ],
)
def test_what_an_engine_can_do_is_read_from_what_it_says(
    said: dict[str, object], kind: str, devices: bool
) -> None:
    found = _engine("unix:///x", said, {"SecurityOptions": ["name=rootless"]})
    assert (found.kind, found.gives_devices, found.rootless) == (kind, devices, True)


def test_the_probes_image_is_the_same_every_time_and_readable_by_anybody() -> None:
    assert root_file_system(("sh",)) == root_file_system(("sh",))
    with pytest.raises(OSError, match="not installed"):
        root_file_system(("no-such-program",))
