"""The database is away for longer than a gateway's authority: jobs freeze, nobody moves, nobody pays for it."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from gp4u_protocol.messages import PlacementSpec
from gp4u_server.billing.control import MeteringLoop
from gp4u_server.catalyst.health.authority import AUTHORITY_WINDOW_S
from gp4u_server.catalyst.jobs.schemas import JobOut
from gp4u_server.controller.loops import control_loops
from gp4u_server.kit.db import connect
from sqlalchemy import text

from tests.integration.catalyst_world import TTL_S, Agent, Refused401, Stage, until


async def test_h23_time_frozen_by_an_outage_of_ours_is_not_on_the_bill(stage: Stage) -> None:
    gateway = await stage.start_gateway()
    agent = await stage.node("alpha")
    await agent.connect(gateway)
    job_id = await stage.submit(await stage.renter())
    spec = await agent.only_placement()
    await stage.until_state(job_id, "running")
    table, clock = gateway.hub.table, gateway.hub.clock

    async def frozen() -> bool:
        deadline = agent.lease.deadline(spec.placement_id, spec.epoch)
        return deadline is not None and clock.monotonic_s() > deadline + TTL_S

    async with stage.database.transaction() as stuck:
        await stuck.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        await stuck.execute(text("LOCK TABLE gateway_authorities IN ACCESS EXCLUSIVE MODE"))
        await until("the lease has run out for a while", frozen)
        assert not table.has_authority(clock.monotonic_s())
        await until("sent away, to find a gateway that can renew", lambda: _is(agent.link_is_open, False))
        with pytest.raises(Refused401) as refused:
            await agent.connect(gateway)
        assert (refused.value.message.code, refused.value.message.retry) == ("not_ready", True)
    await until("ready again", lambda: _is(gateway.hub.ready, True))
    await agent.connect(gateway)

    async def back() -> bool:
        return "node_back" in await stage.kinds(job_id)

    await until("on the timeline", back)
    job = await stage.job(job_id)
    assert (job.state.value, job.placements_count) == ("running", 1)
    assert "The platform could not confirm the lease" in [
        event.title for event in await stage.timeline(job_id)
    ]
    frozen_s = await stage.scalar(
        "SELECT extract(epoch FROM b.started_at - a.ended_at) FROM usage_intervals a, usage_intervals b"
        " WHERE a.job_id = :job AND b.job_id = :job AND a.seq = 0 AND b.seq = 1",
        job=job_id,
    )
    assert frozen_s > TTL_S


async def test_a_change_that_waited_for_the_database_is_dated_from_when_it_happened(stage: Stage) -> None:
    gateway = await stage.start_gateway()
    agent = await stage.node("alpha")
    await agent.connect(gateway)
    job_id = await stage.submit(await stage.renter())
    await agent.only_placement()
    await stage.until_state(job_id, "running")
    async with stage.database.transaction() as stuck:
        await stuck.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        await stuck.execute(text("SELECT 1 FROM nodes WHERE id = :id FOR UPDATE"), {"id": agent.node_id})
        silent_at = await stuck.scalar(text("SELECT clock_timestamp()"))
        agent.beating = False
        await until("suspect", lambda: _is(gateway.hub.table.state(agent.node_id), "suspect"))
        await asyncio.sleep(3.0)  # the write waits; how long is what is measured here
    ended_at = None

    async def interrupted() -> bool:
        nonlocal ended_at
        ended_at = await stage.scalar("SELECT ended_at FROM usage_intervals WHERE job_id = :job", job=job_id)
        return ended_at is not None

    await until("the interval is closed", interrupted)
    assert (ended_at - silent_at).total_seconds() < 1.0


async def _is(state: object, wanted: str) -> bool:
    return state == wanted


async def test_metering_knows_until_when_a_gateway_vouched(stage: Stage) -> None:
    gateway = await stage.start_gateway()
    agent = await stage.node("alpha")
    await agent.connect(gateway)
    loop = next(loop for loop in control_loops(stage.platform) if isinstance(loop, MeteringLoop))
    assert loop.coverage is not None
    async with stage.database.transaction() as session:
        known = await loop.coverage.confirmed_until(session, agent.node_id)
        renewed_at = await session.scalar(
            text("SELECT renewed_at FROM gateway_authorities WHERE gateway_id = :id"),
            {"id": gateway.hub.gateway_id},
        )
    assert known == renewed_at is not None


async def test_h23_a_used_up_pool_does_not_cost_the_gateway_its_authority(stage: Stage) -> None:
    gateway = await stage.start_gateway()
    table = gateway.hub.table
    async with AsyncExitStack() as hoard:
        for _ in range(20):
            await hoard.enter_async_context(stage.database.engine.connect())
        used_up_at = gateway.hub.clock.monotonic_s()

        async def renewed() -> bool:
            return table.has_authority(used_up_at + AUTHORITY_WINDOW_S)

        await until("authority beyond what was had before", renewed, patience_s=2 * AUTHORITY_WINDOW_S)


async def test_h2_no_claim_between_a_loss_and_its_write(stage: Stage) -> None:
    gateway = await stage.start_gateway()
    stage.start_controller()
    first, second = await stage.node("alpha", price=400_000), await stage.node("beta", price=900_000)
    first.auto_claim = False
    await first.connect(gateway)
    await second.connect(gateway)
    job_id = await stage.submit(await stage.renter())
    offered = await until("offered", lambda: _offer(first))
    async with stage.database.transaction() as stuck:
        await stuck.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        await stuck.execute(text("SELECT 1 FROM nodes WHERE id = :id FOR UPDATE"), {"id": first.node_id})
        first.beating = False
        await until("lost", lambda: _is(gateway.hub.table.state(first.node_id), "lost"))
        first.beating = True  # the link was bad for a moment; the loss is not written yet
        await until("heard again", lambda: _is(gateway.hub.table.state(first.node_id), "online"))
        await first.claim(offered)
        acks = len(first.acks)
        await until("some beats later", lambda: _is(len(first.acks) > acks + 3, True))
    resumed = await until("running on beta", lambda: _on(stage, job_id, "beta"))
    assert resumed.placement.epoch == offered.epoch + 1
    assert first.granted == {}


async def _offer(agent: Agent) -> PlacementSpec | None:
    return agent.desired.placements[0] if agent.desired and agent.desired.placements else None


async def _on(stage: Stage, job_id: str, name: str) -> JobOut | None:
    job = await stage.job(job_id)
    running = job.state.value == "running" and job.placement is not None
    return job if running and job.placement and job.placement.node_name == name else None


async def test_an_agent_whose_handshakes_overtook_each_other_may_dial_again(stage: Stage) -> None:
    gateway = await stage.start_gateway()
    agent = await stage.node("alpha")
    gateway.hub.table.opened(agent.node_id, "ses_newer", 99, [], gateway.hub.clock.monotonic_s())
    with pytest.raises(Refused401) as refused:
        await agent.connect(gateway)
    assert refused.value.message.code == "superseded"
    assert refused.value.message.retry


async def test_h23_an_offer_that_our_outage_kept_from_being_claimed_is_not_held_against_anybody(
    stage: Stage,
) -> None:
    gateway = await stage.start_gateway()
    agent = await stage.node("alpha")
    agent.auto_claim = False
    await agent.connect(gateway)
    job_id = await stage.submit(await stage.renter())
    await until("offered", lambda: _offer(agent))

    async def unclaimed(**instants: str) -> int:
        """With these rows older than they are."""
        tables = {"created_at": "placements", "session_began_at": "nodes", "unbroken_since": "gateways"}
        async with stage.database.transaction() as session:
            for column, ago in instants.items():
                await session.execute(
                    text(
                        f"UPDATE {tables[column]} SET {column} = clock_timestamp() - CAST(:ago AS interval)"
                    ),
                    {"ago": ago},
                )
        async with stage.database.transaction() as session:
            return await stage.jobs.fail_unclaimed(session, after_s=8.0)

    assert await unclaimed(created_at="60 seconds", session_began_at="1 second", unbroken_since="1 hour") == 0
    assert await unclaimed(session_began_at="1 hour", unbroken_since="1 second") == 0
    assert "retrying" not in await stage.kinds(job_id)
    assert await unclaimed(unbroken_since="1 hour") == 1
    assert "retrying" in await stage.kinds(job_id)


async def test_h23_a_gateway_cut_off_alone_sends_its_agents_to_another_and_moves_no_job(
    stage: Stage, empty_database_url: str
) -> None:
    cut, whole = await stage.start_gateway(), await stage.start_gateway()
    stage.start_controller()
    agent = await stage.node("alpha")
    await agent.connect(cut)
    job_id = await stage.submit(await stage.renter())
    spec = await agent.only_placement()
    await stage.until_state(job_id, "running")

    elsewhere = connect(empty_database_url, pool_size=1)  # without our tables: nothing can be renewed there
    stage.platform.closers.append(elsewhere.close)
    cut.hub._authority_database = elsewhere
    await until("sent away", lambda: _is(agent.link_is_open, False))
    assert not cut.hub.ready
    await agent.connect(whole)
    acks = len(agent.acks)
    await until("renewed by the other", lambda: _renewed(agent, spec, acks))
    # The controller watched the first one's row stand still; the node is not there any more.
    # It starts its watch over whenever it was itself kept from looking for seconds, as on a loaded machine.
    await until("the dead one is ended", lambda: _ended(stage, cut.hub.gateway_id), patience_s=120)
    job = await stage.job(job_id)
    assert (job.state.value, job.placements_count) == ("running", 1)
    assert await stage.scalar("SELECT losses FROM nodes WHERE id = :id", id=agent.node_id) == 0
    assert (agent.node_id in whole.hub.table.nodes, cut.hub.connections) == (True, {})


async def _renewed(agent: Agent, spec: PlacementSpec, acks: int) -> bool:
    return any(
        key.placement_id == spec.placement_id and key.epoch == spec.epoch
        for ack in agent.acks[acks:]
        for key in ack.renewed
    )


async def _ended(stage: Stage, gateway_id: str) -> bool:
    return bool(
        await stage.scalar(
            "SELECT ended_at IS NOT NULL FROM gateway_authorities WHERE gateway_id = :id", id=gateway_id
        )
    )
