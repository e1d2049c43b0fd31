"""Hot standbys on real servers: chosen, proven, used first, paid only while proven, left when its GPUs are taken."""

from typing import Any

from gp4u_protocol.messages import ActualState, RestorePoint, StandbyReport, StandbySpec
from gp4u_server.billing.statements import Statements

from tests.checks.ledger import assert_ledger_balances
from tests.integration.catalyst_world import Agent, Stage, until


async def wanted(agent: Agent, seq: int | None = None) -> StandbySpec:
    """What the node is told to stand by for, once its checkpoint has number `seq`."""

    async def told() -> StandbySpec | None:
        for spec in (agent.desired.standbys if agent.desired else None) or []:
            if seq is None or (spec.checkpoint is not None and spec.checkpoint.seq == seq):
                return spec
        return None

    found: StandbySpec = await until(f"{agent.name} stands by", told)
    return found


async def save(stage: Stage, agent: Agent, seq: int) -> RestorePoint:
    """The job's placement on this node commits a checkpoint."""
    spec = await agent.only_placement()
    async with stage.database.transaction() as session:
        await stage.jobs.record_checkpoint(
            session, spec.placement_id, spec.epoch, checkpoint_id=f"ckp_{seq}", seq=seq
        )
    return RestorePoint(checkpoint_id=f"ckp_{seq}", epoch=spec.epoch, seq=seq)


async def hold(agent: Agent, spec: StandbySpec, **more: Any) -> None:
    """The node says that it holds what it was told to."""
    await agent.send(
        StandbyReport(standby_id=spec.standby_id, held=spec.checkpoint, ready=True, bytes_held=7, **more)
    )


async def shown(stage: Stage, job_id: str, state: str, **fields: Any) -> Any:
    """The job's standby as its page shows it, once it is so."""

    async def so() -> Any:
        standby = (await stage.job(job_id)).standby
        if standby is None or standby.state != state:
            return None
        return standby if all(getattr(standby, name) == value for name, value in fields.items()) else None

    return await until(f"standby {state} {fields}", so)


async def _more(heard: list[Any], count: int) -> bool:
    return len(heard) > count


async def test_the_ready_standby_is_tried_first_and_paid_for_what_was_proven(stage: Stage) -> None:
    gateway = await stage.start_gateway()
    stage.start_controller()
    first = await stage.node("alpha", price=400_000)
    second = await stage.node("beta", price=500_000)
    for agent in (first, second):
        await agent.connect(gateway)
    renter = await stage.renter()
    job_id = await stage.submit(renter, protection="hot")
    await stage.until_state(job_id, "running")
    home = await first.only_placement()
    await save(stage, first, 1)
    spec = await wanted(second, 1)
    assert (await stage.job(job_id)).standby.state == "preparing"
    await hold(second, spec)
    standby = await shown(stage, job_id, "ready")
    assert (standby.node_name, standby.checkpoint_seq) == ("beta", 1)
    assert standby.rate_per_hour_micros == 25_000

    third = await stage.node("gamma", price=100_000)  # cheaper than both, and nothing of the job lies there
    await third.connect(gateway)
    await save(stage, first, 2)
    await hold(second, await wanted(second, 2))
    await shown(stage, job_id, "ready", checkpoint_seq=2)
    heard = len(first.acks)
    await until("the job's own node beat since", lambda: _more(first.acks, heard + 1))
    await save(stage, first, 3)
    await hold(second, await wanted(second, 3))
    proven = "SELECT proven_at > ready_since FROM standbys WHERE state = 'ready' AND held_seq = 3"
    await until("it was proven ready for a while", lambda: stage.scalar(proven))
    await first.crash()

    again = await second.only_placement()
    assert (again.epoch, again.restore.checkpoint_id if again.restore else None) == (2, "ckp_3")
    await stage.until_state(job_id, "running")
    assert (await wanted(third)).job_id == job_id, "the job has a new standby"
    settled = "SELECT count(*) FROM standbys WHERE reason = 'used' AND settled_at IS NOT NULL"
    await until("the used standby is settled", lambda: stage.scalar(settled))

    titles = [event.title for event in await stage.timeline(job_id) if event.kind == "standby"]
    assert titles == [
        "beta prepares to stand by",
        "beta stands by, ready to take over",
        "gamma prepares to stand by",
    ]
    booking = await stage.scalar("SELECT booking_id FROM placements WHERE id = :id", id=home.placement_id)
    async with stage.database.transaction() as session:
        receipt = await stage.platform.get(Statements).receipt(session, booking, renter)
        owner = await stage.scalar("SELECT owner_id FROM meters WHERE booking_id = :id", id=booking)
        theirs = await stage.platform.get(Statements).receipt(session, booking, owner)
    [bill] = receipt.standbys
    assert (bill.node_name, bill.rate_per_hour_micros, bill.final) == ("beta", 25_000, True)
    assert bill.billed_us > 0
    assert bill.charged_micros - bill.refunded_micros == round(bill.billed_us * 25_000 / 3_600_000_000)
    assert theirs.standbys == [], "whom else the renter pays is no business of the owner"
    await assert_ledger_balances(stage.database)


async def test_a_standby_whose_gpus_are_booked_moves_on_and_costs_nothing_more(stage: Stage) -> None:
    gateway = await stage.start_gateway()
    stage.start_controller()
    first, second = await stage.node("alpha", price=400_000), await stage.node("beta", price=500_000)
    for agent in (first, second):
        await agent.connect(gateway)
    renter = await stage.renter()
    job_id = await stage.submit(renter, protection="hot")
    await stage.until_state(job_id, "running")
    await save(stage, first, 1)
    await hold(second, await wanted(second, 1))
    await shown(stage, job_id, "ready")

    other = await stage.submit(renter)
    await stage.until_state(other, "running")
    assert (await second.only_placement()).job_id == other
    await shown(stage, job_id, "none", why_none="No second node fits the job at present.")
    open_time = (
        "SELECT count(*) FROM usage_intervals i JOIN meters m USING (booking_id)"
        " WHERE m.beside_booking_id IS NOT NULL AND i.ended_at IS NULL"
    )
    assert await stage.scalar(open_time) == 0, "no standby is metered"

    third = await stage.node("gamma", price=900_000)
    await third.connect(gateway)
    assert (await wanted(third)).job_id == job_id
    placement = await first.only_placement()
    await first.report(placement.placement_id, placement.epoch, ActualState.EXITED, exit_code=0)
    await stage.until_state(job_id, "done")
    over = "SELECT NOT EXISTS (SELECT 1 FROM standbys WHERE settled_at IS NULL)"
    await until("every standby is settled", lambda: stage.scalar(over))
    reasons = "SELECT string_agg(reason, ' ' ORDER BY number) FROM standbys"
    assert await stage.scalar(reasons) == "gpus_taken job_ended"
    await assert_ledger_balances(stage.database)


async def test_h3_a_standby_reports_only_what_is_its_own(stage: Stage) -> None:
    gateway = await stage.start_gateway()
    stage.start_controller()
    first, second = await stage.node("alpha", price=400_000), await stage.node("beta", price=500_000)
    for agent in (first, second):
        await agent.connect(gateway)
    job_id = await stage.submit(await stage.renter(), protection="hot")
    await stage.until_state(job_id, "running")
    await save(stage, first, 1)
    spec = await wanted(second, 1)
    await hold(first, spec)  # another node's
    ahead = spec.model_copy(update={"checkpoint": RestorePoint(checkpoint_id="ckp_9", epoch=1, seq=9)})
    await hold(second, ahead)  # never committed
    await second.send(StandbyReport(standby_id="sby_none", held=spec.checkpoint, ready=True))
    await second.send(StandbyReport(standby_id=spec.standby_id, problem="The disk is full."))
    standby = await shown(stage, job_id, "preparing", problem="The disk is full.")
    assert standby.checkpoint_id is None
    await hold(second, spec)
    await shown(stage, job_id, "ready", checkpoint_id="ckp_1")
