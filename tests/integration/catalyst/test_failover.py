"""A job from its submission to its end, with its node dying, cut off or confused on the way."""

from gp4u_protocol.messages import ActualState

from tests.integration.catalyst_world import Stage, until


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
