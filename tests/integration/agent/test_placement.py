"""A placement's life on a real node: real agent, real shim, real sandbox, a scripted marketplace."""

import io
import signal
import tarfile

import pytest
import zstandard
from gp4u_agent.shim_client import launch
from gp4u_agent.starting import workload_of
from gp4u_protocol.messages import ActualState, RestorePoint

from tests.integration.agent.conftest import AgentProcess
from tests.integration.agent.peer import Peer


def packed(files: dict[str, bytes]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return zstandard.compress(raw.getvalue())


async def test_a_job_runs_and_its_end_output_and_durations_are_reported(
    peer: Peer, node: AgentProcess
) -> None:
    peer.uploads["up_1"] = packed({"hello.sh": b"echo hello $GP4U_JOB_ID $GP4U_EPOCH; sleep 0.5; echo bye"})
    await peer.want(peer.spec("sh hello.sh", upload_id="up_1"))
    report = await peer.until(lambda: peer.report(peer.first, ActualState.EXITED), "the job ends")
    assert (report.exit_code, report.signal, report.reason) == (0, None, None)
    assert peer.log(peer.first) == f"hello {peer.job_id} 1\nbye\n"
    assert peer.states(peer.first) == [
        ActualState.FETCHING,
        ActualState.RESTORING,
        ActualState.RUNNING,
        ActualState.EXITED,
    ]
    running = peer.report(peer.first, ActualState.RUNNING)
    assert running is not None
    assert set(running.durations_ms) == {"fetching", "restoring", "starting"}
    peer.desired.clear()
    await peer.tell_desired()
    await peer.until(lambda: not node.folder().path.exists(), "the folder is cleaned up")


async def test_a_command_that_exits_1_is_reported_with_its_code(peer: Peer, node: AgentProcess) -> None:
    await peer.want(peer.spec("echo oops >&2; exit 1"))
    report = await peer.until(lambda: peer.report(peer.first, ActualState.EXITED), "the job ends")
    assert report.exit_code == 1
    assert "oops" in peer.log(peer.first)
    assert ActualState.RUNNING not in peer.states(peer.first), (
        "a command that fails at once was never proven ready"
    )


async def test_a_job_stops_gracefully_with_a_final_checkpoint(peer: Peer, node: AgentProcess) -> None:
    command = (
        "trap 'echo saved > $GP4U_CHECKPOINT_DIR/state.new; mv $GP4U_CHECKPOINT_DIR/state.new "
        "$GP4U_CHECKPOINT_DIR/state; exit 0' TERM; echo ready; while :; do sleep 0.1; done"
    )
    await peer.want(peer.spec(command))
    await peer.until(lambda: "ready" in peer.log(peer.first), "the job runs")
    await peer.stop(peer.first)
    report = await peer.until(lambda: peer.report(peer.first, ActualState.STOPPED), "the job stops")
    assert report.reason == "by_renter"
    assert ActualState.STOPPING in peer.states(peer.first)
    assert [row["trigger"] for row in peer.checkpoints] == ["final"]


async def test_a_job_that_ignores_sigterm_is_saved_and_killed_after_its_grace(
    peer: Peer, node: AgentProcess
) -> None:
    command = "trap '' TERM; echo 1 > $GP4U_CHECKPOINT_DIR/n; echo ready; while :; do sleep 0.1; done"
    await peer.want(peer.spec(command, stop_grace_s=1))
    await peer.until(lambda: "ready" in peer.log(peer.first), "the job runs")
    await peer.stop(peer.first)
    await peer.until(lambda: peer.report(peer.first, ActualState.STOPPED), "the job stops")
    assert [row["trigger"] for row in peer.checkpoints] == ["final"]
    await peer.until(lambda: not node.folder().shim_alive(), "the shim is gone: " + node.log())


async def test_the_jobs_own_commit_is_answered_and_the_next_epoch_starts_from_it(
    peer: Peer, node: AgentProcess
) -> None:
    command = (
        'cat "$GP4U_CHECKPOINT_DIR/n" 2>/dev/null || echo fresh; echo 41 > $GP4U_CHECKPOINT_DIR/n; '
        "gp4u-checkpoint --step 41 && echo committed; sleep 30"
    )
    await peer.want(peer.spec(command))
    await peer.until(lambda: "committed" in peer.log(peer.first), "the commit is answered")
    assert peer.log(peer.first).startswith("fresh")
    assert [(row["trigger"], row["step"]) for row in peer.checkpoints] == [("job", 41)]

    await peer.supersede(peer.first)
    await peer.until(lambda: not node.folder().path.exists(), "the superseded epoch is gone")
    point = RestorePoint(checkpoint_id="checkpoint-1", epoch=1, seq=1)
    await peer.want(peer.spec(command, placement_id=peer.second, epoch=2, restore=point))
    await peer.until(lambda: peer.log(peer.second).startswith("41\n"), "the state came back")


async def test_interval_checkpoints_are_taken_while_it_runs(peer: Peer, node: AgentProcess) -> None:
    command = "i=0; while :; do i=$((i+1)); echo $i > $GP4U_CHECKPOINT_DIR/n.t; mv $GP4U_CHECKPOINT_DIR/n.t $GP4U_CHECKPOINT_DIR/n; sleep 0.2; done"
    await peer.want(peer.spec(command, checkpoint_every_s=1))
    await peer.until(lambda: len(peer.checkpoints) >= 2, "two interval checkpoints")
    assert {row["trigger"] for row in peer.checkpoints} == {"interval"}


async def test_h3_a_stale_epoch_told_by_the_api_kills_the_job(peer: Peer, node: AgentProcess) -> None:
    command = "i=0; while :; do i=$((i+1)); echo $i > $GP4U_CHECKPOINT_DIR/n.t; mv $GP4U_CHECKPOINT_DIR/n.t $GP4U_CHECKPOINT_DIR/n; sleep 0.2; done"
    await peer.want(peer.spec(command, checkpoint_every_s=1))
    await peer.until(lambda: peer.checkpoints, "it runs and saves")
    peer.epochs[peer.job_id] = 2  # placed elsewhere; this node was not told yet
    await peer.until(lambda: not node.folder().shim_alive(), "the job is killed")
    assert ActualState.EXITED not in peer.states(peer.first)


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("python -c 'b = bytearray()\nwhile True: b += bytes(1 << 22)'", "out_of_memory"),
        ("i=0; while :; do head -c 8388608 /dev/zero > f$i; i=$((i+1)); sleep 0.05; done", "disk_full"),
        ("head -c 134217728 /dev/zero > one", "disk_full"),
    ],
)
async def test_limits_end_a_job_with_the_reason(
    peer: Peer, node: AgentProcess, command: str, reason: str
) -> None:
    await peer.want(peer.spec(command))
    report = await peer.until(
        lambda: peer.report(peer.first, ActualState.EXITED), "the job is ended", within_s=40
    )
    assert report.reason == reason
    assert report.exit_code != 0


async def test_a_hostile_archive_is_refused_without_touching_the_node(peer: Peer, node: AgentProcess) -> None:
    peer.uploads["up_1"] = packed({"../../escaped": b"x"})
    await peer.want(peer.spec("true", upload_id="up_1"))
    report = await peer.until(lambda: peer.report(peer.first, ActualState.START_FAILED), "it is refused")
    assert report.reason == "bad_job_folder"
    assert not (node.state / "escaped").exists()
    assert not (node.state / "placements" / "escaped").exists()


async def test_progress_and_usage_ride_on_the_heartbeat(peer: Peer, node: AgentProcess) -> None:
    command = (
        """echo '{"step": 7, "total_steps": 9, "metrics": {"loss": 0.5}}' > $GP4U_PROGRESS_FILE.t; """
        "mv $GP4U_PROGRESS_FILE.t $GP4U_PROGRESS_FILE; while :; do :; done"
    )
    await peer.want(peer.spec(command))

    def told() -> bool:
        status = peer.statuses.get(peer.first)
        return bool(status and status.progress and status.usage and status.usage.cpu_percent > 0)

    await peer.until(told, "progress and usage are told")
    progress = peer.statuses[peer.first].progress
    assert progress is not None
    assert (progress.step, progress.total_steps, progress.metrics) == (7, 9, {"loss": 0.5})
    assert peer.hellos[0].facts.simulated
    assert peer.hellos[0].facts.devices[0].model == "RTX_4090"


async def test_h27_poison_message_a_request_that_cannot_be_answered_does_not_hide_the_jobs_end(
    peer: Peer, node: AgentProcess
) -> None:
    command = "cd $GP4U_CONTROL_DIR; mkdir .commit-x.answer; echo '[]' > commit-x.request; sleep 0.5"
    await peer.want(peer.spec(command))
    report = await peer.until(lambda: peer.report(peer.first, ActualState.EXITED), "the job's end is told")
    assert report.exit_code == 0


async def test_h27_a_job_that_litters_its_control_folder_and_ignores_sigterm_is_ended_all_the_same(
    peer: Peer, node: AgentProcess
) -> None:
    command = (
        "trap '' TERM; cd $GP4U_CONTROL_DIR; mkdir .commit-x.answer commit-y.request; echo '[]' > commit-x.request; "
        "mkdir progress.json; echo ready; while :; do sleep 0.1; done"
    )
    await peer.want(peer.spec(command, stop_grace_s=1))
    await peer.until(lambda: "ready" in peer.log(peer.first), "the job runs")
    await peer.stop(peer.first)
    await peer.until(lambda: peer.report(peer.first, ActualState.STOPPED), "the job stops")


async def test_a_job_ready_but_never_ordered_to_start_is_started_by_the_next_agent(
    peer: Peer, node: AgentProcess
) -> None:
    """The agent is killed between launching the shim and ordering the start."""
    node.signal(signal.SIGKILL)
    wanted = peer.spec("echo ran; sleep 60")
    folder = node.folder()
    for path in (folder.path, folder.job, folder.control):
        path.mkdir()
    folder.write(folder.placement, {"spec": wanted.model_dump(mode="json"), "started": True, "proven": False})
    workload = workload_of(wanted, folder.path.name, folder, node.state / "inside")
    folder.write(folder.shim_order, {"runtime": "sandbox", "workload": workload.to_json()})
    await launch(folder)
    idle = node.shim_pid()
    peer.desired[wanted.placement_id], peer.epochs[wanted.job_id] = wanted, 1
    node.start()
    await peer.until(lambda: "ran" in peer.log(peer.first), "the job runs")
    assert node.shim_pid() != idle
    assert peer.states(peer.first) == [ActualState.RESTORING, ActualState.RUNNING]


async def test_reports_of_an_agent_killed_while_it_prepared_are_counted_on(
    peer: Peer, node: AgentProcess
) -> None:
    """The server passes over numbers that it has seen: a start that fails then would never be heard of."""
    node.signal(signal.SIGKILL)
    wanted = peer.spec("true", upload_id="missing")
    folder = node.folder()
    folder.path.mkdir()
    folder.write(
        folder.placement, {"spec": wanted.model_dump(mode="json"), "started": False, "proven": False}
    )
    folder.write(folder.path / "reports.json", {"next_seq": 8, "pending": [], "end_acknowledged": False})
    peer.desired[wanted.placement_id], peer.epochs[wanted.job_id] = wanted, 1
    node.start()
    await peer.until(lambda: peer.report(peer.first, ActualState.START_FAILED), "it fails")
    assert [report.seq for report in peer.reports] == [8, 9]


async def test_an_order_taken_back_and_given_again_before_anything_began_is_carried_out(
    peer: Peer, node: AgentProcess
) -> None:
    spec = peer.spec("true")
    peer.epochs[spec.job_id] = spec.epoch
    for placements in ([spec], [], [spec], [], [spec]):
        peer.desired = {each.placement_id: each for each in placements}
        await peer.tell_desired()
    await peer.until(lambda: peer.report(peer.first, ActualState.EXITED), "it ran")


async def test_a_beat_says_for_how_long_a_process_is_over_that_ended_while_nobody_listened(
    peer: Peer, node: AgentProcess
) -> None:
    await peer.want(peer.spec("echo ready; sleep 1"))
    await peer.until(lambda: "ready" in peer.log(peer.first), "it runs")
    await peer.cut()
    await peer.until(lambda: node.folder().exit.exists(), "it ended")
    peer.closed = False
    await peer.until(lambda: peer.first in peer.over_s, "a beat says so")
    over_s = peer.over_s[peer.first]
    assert over_s is not None
    assert over_s > 0
