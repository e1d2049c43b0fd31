"""A job from its submission to its end, with its node dying, cut off or confused on the way."""

import pytest
from gp4u_protocol.messages import ActualState, ReportAck
from gp4u_server.catalyst.jobs.errors import StaleEpoch
from gp4u_server.catalyst.jobs.schemas import JobOut

from tests.integration.catalyst_world import Agent, Stage, until


async def test_a_job_runs_to_its_end(stage: Stage) -> None:
    gateway = await stage.start_gateway()
    stage.start_controller()
    agent = await stage.node("alpha")
    await agent.connect(gateway)
    job_id = await stage.submit(await stage.renter())
    spec = await agent.only_placement()
    await stage.until_state(job_id, "running")
    await agent.write(spec.placement_id, spec.epoch, 0, "step 1\n")
    await agent.report(spec.placement_id, spec.epoch, ActualState.EXITED, exit_code=0)
    job = await stage.until_state(job_id, "done")
    assert await stage.kinds(job_id) == ["queued", "matched", "starting", "running", "done"]
    assert job.exit_code == 0
    assert job.placement is not None
    assert job.placement.outcome == "done"


async def test_the_main_job_node_dies_and_the_job_goes_on_elsewhere(stage: Stage) -> None:
    gateway = await stage.start_gateway()
    stage.start_controller()
    first = await stage.node("alpha", price=400_000)
    second = await stage.node("beta", price=900_000)
    await first.connect(gateway)
    await second.connect(gateway)
    job_id = await stage.submit(await stage.renter())
    spec = await first.only_placement()
    await stage.until_state(job_id, "running")
    first.step(spec.placement_id, 7)
    async with stage.database.transaction() as session:
        await stage.jobs.record_checkpoint(
            session, spec.placement_id, spec.epoch, checkpoint_id="ckp_1", seq=1, step=6
        )
    await until("progress heard", lambda: _heard(stage, job_id, 7))
    await first.crash()

    again = await second.only_placement()
    assert again.epoch == spec.epoch + 1
    assert again.restore is not None
    assert again.restore.checkpoint_id == "ckp_1"
    second.step(again.placement_id, 8)
    job = await until("recovery complete", lambda: _first_step(stage, job_id))
    recovery = job.placement.recovery_ms
    assert recovery["restore_ms"] == 12
    assert recovery["start_ms"] == 11
    assert recovery["first_step_ms"] >= recovery["recovery_ms"] >= recovery["detect_ms"] > 0
    await second.report(again.placement_id, again.epoch, ActualState.EXITED, exit_code=0)
    await stage.until_state(job_id, "done")
    kinds = await stage.kinds(job_id)
    assert [kind for kind in kinds if kind not in ("starting", "refunded")] == [
        "queued", "matched", "running", "checkpoint", "node_suspect", "node_lost", "failed_over", "resumed", "done",
    ]  # fmt: skip


async def _heard(stage: Stage, job_id: str, step: int) -> bool:
    job = await stage.job(job_id)
    return job.progress is not None and job.progress.step == step


async def _first_step(stage: Stage, job_id: str) -> object:
    job = await stage.job(job_id)
    recovery = job.placement.recovery_ms if job.placement else None
    return job if recovery and "first_step_ms" in recovery else None


async def test_short_cut_moves_nothing(stage: Stage) -> None:
    gateway = await stage.start_gateway()
    stage.start_controller()
    first = await stage.node("alpha", price=400_000)
    await first.connect(gateway)
    await (await stage.node("beta", price=900_000)).connect(gateway)
    job_id = await stage.submit(await stage.renter())
    await first.only_placement()
    await stage.until_state(job_id, "running")
    first.beating = False

    async def suspect() -> bool:
        return "node_suspect" in await stage.kinds(job_id)

    await until("suspect", suspect)
    first.beating = True

    async def back() -> bool:
        return "node_back" in await stage.kinds(job_id)

    await until("back", back)
    job = await stage.job(job_id)
    assert job.state.value == "running"
    assert job.placements_count == 1
    assert job.placement is not None
    assert job.placement.node_name == "alpha"


async def test_h3_the_old_node_comes_back_and_nothing_it_says_counts(stage: Stage) -> None:
    gateway = await stage.start_gateway()
    stage.start_controller()
    first = await stage.node("alpha", price=400_000)
    second = await stage.node("beta", price=900_000)
    await first.connect(gateway)
    await second.connect(gateway)
    job_id = await stage.submit(await stage.renter())
    old = await first.only_placement()
    await stage.until_state(job_id, "running")
    await first.crash()
    new = await second.only_placement()
    resumed = await until("running on beta", lambda: _runs_on(stage, job_id, "beta"))
    assert resumed.placement.epoch == old.epoch + 1

    await first.connect(gateway)
    assert await until("desired", lambda: _said(first)) is not None
    await first.report(old.placement_id, old.epoch, ActualState.EXITED, exit_code=1)
    acks = await until("answered", lambda: _acks(first, old.placement_id))
    assert acks[-1].stale
    await first.write(old.placement_id, old.epoch, 0, "written by a ghost\n")
    with pytest.raises(StaleEpoch):
        async with stage.database.transaction() as session:
            await stage.jobs.record_checkpoint(
                session, old.placement_id, old.epoch, checkpoint_id="ckp_ghost", seq=99
            )
    with pytest.raises(StaleEpoch):
        async with stage.database.transaction() as session:
            await stage.jobs.assert_current(session, old.placement_id, old.epoch)
    await second.write(new.placement_id, new.epoch, 0, "by the real one\n")
    await second.report(new.placement_id, new.epoch, ActualState.EXITED, exit_code=0)
    job = await stage.until_state(job_id, "done")
    assert job.exit_code == 0
    async with stage.database.transaction() as session:
        log = await stage.reader.log(session, None, job_id, 0, 1 << 20)
    assert log.text == "by the real one\n"
    assert log.ended


async def test_exit_1_is_a_failure_and_no_failover(stage: Stage) -> None:
    gateway = await stage.start_gateway()
    stage.start_controller()
    agent = await stage.node("alpha")
    await agent.connect(gateway)
    job_id = await stage.submit(await stage.renter())
    spec = await agent.only_placement()
    await stage.until_state(job_id, "running")
    await agent.report(spec.placement_id, spec.epoch, ActualState.EXITED, exit_code=1)
    job = await stage.until_state(job_id, "failed")
    assert (job.reason, job.exit_code, job.placements_count) == ("exit_1", 1, 1)


async def test_without_protection_a_lost_node_ends_the_job(stage: Stage) -> None:
    gateway = await stage.start_gateway()
    stage.start_controller()
    agent = await stage.node("alpha")
    await agent.connect(gateway)
    await (await stage.node("beta", price=900_000)).connect(gateway)
    job_id = await stage.submit(await stage.renter(), protection="none")
    await agent.only_placement()
    await stage.until_state(job_id, "running")
    await agent.crash()
    job = await stage.until_state(job_id, "failed")
    assert (job.reason, job.placements_count) == ("node_lost", 1)


async def test_failed_starts_go_elsewhere_with_back_off_and_end(stage: Stage) -> None:
    gateway = await stage.start_gateway()
    stage.start_controller()
    names = ["alpha", "beta", "gamma"]
    for name in names:
        agent = await stage.node(name)
        agent.auto_run = False
        await agent.connect(gateway)
    job_id = await stage.submit(await stage.renter())
    tried = set()
    for _ in names:
        agent, spec = await until("granted somewhere", lambda: _granted(stage, tried))
        tried.add(spec.placement_id)
        await agent.report(
            spec.placement_id,
            spec.epoch,
            ActualState.START_FAILED,
            reason="command_not_found",
            detail="No such file.",
        )
    job = await stage.until_state(job_id, "failed")
    assert job.reason == "start_failed"
    assert "No such file." in (job.detail or "")
    assert job.charged_micros == 0
    assert job.placements_count == 3


async def test_stop_takes_a_final_checkpoint_first(stage: Stage) -> None:
    gateway = await stage.start_gateway()
    stage.start_controller()
    agent = await stage.node("alpha")
    await agent.connect(gateway)
    job_id = await stage.submit(await stage.renter())
    spec = await agent.only_placement()
    await stage.until_state(job_id, "running")
    async with stage.database.transaction() as session:
        await stage.jobs.request_stop(session, job_id, "by_renter")

    async def told() -> bool:
        return bool(
            agent.desired and agent.desired.placements and agent.desired.placements[0].desired == "stop"
        )

    await until("told to stop", told)
    assert (await stage.job(job_id)).state.value == "stopping"
    await agent.report(spec.placement_id, spec.epoch, ActualState.STOPPED)
    job = await stage.until_state(job_id, "stopped")
    assert job.reason == "by_renter"


async def test_stop_of_a_waiting_job_is_immediate(stage: Stage) -> None:
    await stage.start_gateway()
    job_id = await stage.submit(await stage.renter())
    async with stage.database.transaction() as session:
        await stage.jobs.request_stop(session, job_id, "by_renter")
    job = await stage.job(job_id)
    assert (job.state.value, job.reason) == ("stopped", "by_renter")


async def test_h16_controller_dies_and_the_next_one_places_the_job(stage: Stage) -> None:
    gateway = await stage.start_gateway()
    controller = stage.start_controller()
    first = await stage.node("alpha", price=400_000)
    second = await stage.node("beta", price=900_000)
    await first.connect(gateway)
    await second.connect(gateway)
    job_id = await stage.submit(await stage.renter())
    await first.only_placement()
    await stage.until_state(job_id, "running")
    controller.cancel()
    await first.crash()
    await stage.until_state(job_id, "recovering")
    stage.start_controller()
    await second.only_placement()
    await until("running on beta", lambda: _runs_on(stage, job_id, "beta"))


async def test_repeated_reports_count_once(stage: Stage) -> None:
    gateway = await stage.start_gateway()
    agent = await stage.node("alpha")
    await agent.connect(gateway)
    job_id = await stage.submit(await stage.renter())
    spec = await agent.only_placement()
    await stage.until_state(job_id, "running")
    last = await agent.report(spec.placement_id, spec.epoch, ActualState.EXITED, exit_code=0)
    await stage.until_state(job_id, "done")
    before = await stage.timeline(job_id)
    acked = len(agent.report_acks)
    for _ in range(3):
        await agent.send(last)
    await until("acknowledged again", lambda: _count_acks(agent, acked + 3))
    assert not agent.report_acks[-1].stale
    assert await stage.timeline(job_id) == before


async def _said(agent: Agent) -> object:
    return agent.desired


async def _acks(agent: Agent, placement_id: str) -> list[ReportAck]:
    return [ack for ack in agent.report_acks if ack.placement_id == placement_id and ack.stale]


async def _count_acks(agent: Agent, count: int) -> bool:
    return len(agent.report_acks) >= count


async def _granted(stage: Stage, tried: set[str]) -> object:
    for agent in stage.agents:
        for spec in agent.desired.placements if agent.desired else []:
            if spec.placement_id in agent.granted and spec.placement_id not in tried:
                return agent, spec
    return None


async def _runs_on(stage: Stage, job_id: str, node_name: str) -> JobOut | None:
    job = await stage.job(job_id)
    runs = job.state.value == "running" and job.placement is not None and job.placement.node_name == node_name
    return job if runs else None
