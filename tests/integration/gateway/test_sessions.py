"""Who may connect, which connection counts, and what a heartbeat costs."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from gp4u_protocol.messages import ActualState, NodeHealth, Refused

from tests.integration.catalyst_world import Agent, Refused401, Stage, until


async def _liveness(stage: Stage, agent: Agent) -> str:
    found: str = await stage.scalar("SELECT liveness FROM nodes WHERE id = :id", id=agent.node_id)
    return found


async def test_wrong_key_is_rejected_for_good(stage: Stage) -> None:
    gateway = await stage.start_gateway()
    agent = await stage.node("alpha")
    agent.key = Ed25519PrivateKey.generate()
    with pytest.raises(Refused401) as refusal:
        await agent.connect(gateway)
    assert refusal.value.message.code == "wrong_key"
    assert refusal.value.message.retry is False
    assert await _liveness(stage, agent) == "offline"


async def test_unknown_node_gets_the_same_answer_as_a_wrong_key(stage: Stage) -> None:
    gateway = await stage.start_gateway()
    agent = await stage.node("alpha")
    agent.node_id = "node_nobody"
    with pytest.raises(Refused401) as refusal:
        await agent.connect(gateway)
    assert refusal.value.message.code == "wrong_key"


async def test_the_newest_connection_of_a_node_wins(stage: Stage) -> None:
    gateway = await stage.start_gateway()
    first = await stage.node("alpha")
    await first.connect(gateway)
    second = Agent(first.node_id, first.name, first.key, first.machine)
    stage.agents.append(second)
    await second.connect(gateway)

    async def dropped() -> bool:
        return bool(first._socket.close_code)

    await until("the older connection is closed", dropped)
    acked = len(second.acks)
    await until("the newer one is served", lambda: _more(second, acked))
    assert await _liveness(stage, second) == "online"


async def _more(agent: Agent, than: int) -> bool:
    return len(agent.acks) > than + 3


async def test_polite_goodbye_is_offline_and_no_loss(stage: Stage) -> None:
    gateway = await stage.start_gateway()
    agent = await stage.node("alpha")
    await agent.connect(gateway)
    await agent.leave()

    async def offline() -> bool:
        return await _liveness(stage, agent) == "offline"

    await until("offline", offline)
    assert await stage.scalar("SELECT losses FROM nodes WHERE id = :id", id=agent.node_id) == 0


async def test_silent_node_becomes_suspect_then_lost(stage: Stage) -> None:
    gateway = await stage.start_gateway()
    agent = await stage.node("alpha")
    await agent.connect(gateway)
    agent.beating = False
    seen: list[str] = []

    async def lost() -> bool:
        state = await _liveness(stage, agent)
        if not seen or seen[-1] != state:
            seen.append(state)
        return state == "lost"

    await until("lost", lost)
    assert seen == ["online", "suspect", "lost"]


async def test_steady_heartbeats_write_nothing(stage: Stage) -> None:
    gateway = await stage.start_gateway()
    agent = await stage.node("alpha")
    await agent.connect(gateway)
    job_id = await stage.submit(await stage.renter())
    spec = await agent.only_placement()
    await stage.until_state(job_id, "running")
    agent.step(spec.placement_id, 3)
    sums = (
        "SELECT md5(string_agg(t::text, ',')) FROM (SELECT xmin, ctid, id FROM nodes UNION ALL SELECT xmin, ctid, id"
        " FROM placements UNION ALL SELECT xmin, ctid, id FROM jobs) t"
    )

    async def twenty_beats_wrote_nothing() -> bool:
        before, beats = await stage.scalar(sums), len(agent.acks)
        await until("twenty more beats", lambda: _beats(agent, beats + 20))
        return bool(await stage.scalar(sums) == before)

    # A machine that stalls makes beats late, and a node that falls suspect is written: such a stretch is not steady.
    await until("twenty beats that wrote nothing", twenty_beats_wrote_nothing)


async def _beats(agent: Agent, count: int) -> bool:
    return len(agent.acks) >= count


async def test_h6_agent_clock_a_day_off_is_served_and_changes_no_bill(stage: Stage) -> None:
    gateway = await stage.start_gateway()
    agent = await stage.node("alpha")
    agent.health = NodeHealth(agent_clock=datetime.now(UTC) + timedelta(days=1))
    await agent.connect(gateway)
    job_id = await stage.submit(await stage.renter())
    spec = await agent.only_placement()
    await stage.until_state(job_id, "running")
    await agent.report(spec.placement_id, spec.epoch, ActualState.EXITED, exit_code=0)
    job = await stage.until_state(job_id, "done")
    assert job.started_at is not None
    assert job.ended_at is not None
    assert 0 <= job.running_s < 60
    assert job.running_s == pytest.approx((job.ended_at - job.started_at).total_seconds(), abs=0.001)


async def test_the_end_of_a_process_that_could_not_be_told_in_time_is_dated_by_its_node(stage: Stage) -> None:
    gateway = await stage.start_gateway()
    agent = await stage.node("alpha")
    await agent.connect(gateway)
    job_id = await stage.submit(await stage.renter())
    spec = await agent.only_placement()
    await stage.until_state(job_id, "running")
    await agent.crash()
    status = agent.statuses[spec.placement_id]
    agent.statuses[spec.placement_id] = status.model_copy(update={"over": True, "over_s": 3600.0})
    await agent.connect(gateway)
    acks = len(agent.acks)
    await until("a beat said so", lambda: _beats(agent, acks + 1))
    await agent.report(spec.placement_id, spec.epoch, ActualState.EXITED, exit_code=0)
    job = await stage.until_state(job_id, "done")
    # Its word takes back what was counted meanwhile, and no more than the placement's own time.
    assert job.running_s == 0
    assert await stage.scalar("SELECT sum(ended_at - started_at) = '0 s' FROM usage_intervals")


async def test_a_node_cannot_date_an_end_before_it_was_last_heard_running(stage: Stage) -> None:
    gateway = await stage.start_gateway()
    agent = await stage.node("alpha")
    await agent.connect(gateway)
    job_id = await stage.submit(await stage.renter())
    spec = await agent.only_placement()
    await stage.until_state(job_id, "running")
    heard = await stage.scalar("SELECT clock_timestamp()")
    acks = len(agent.acks)
    await until("two beats said that it runs", lambda: _beats(agent, acks + 2))
    status = agent.statuses[spec.placement_id]
    agent.statuses[spec.placement_id] = status.model_copy(update={"over": True, "over_s": 1e300})
    acks = len(agent.acks)
    await until("two said that it is over", lambda: _beats(agent, acks + 2))
    await agent.report(spec.placement_id, spec.epoch, ActualState.EXITED, exit_code=0)
    await stage.until_state(job_id, "done")
    assert await stage.scalar("SELECT max(ended_at) FROM usage_intervals") > heard


async def test_h3_claim_of_a_wrong_epoch_is_refused(stage: Stage) -> None:
    gateway = await stage.start_gateway()
    agent = await stage.node("alpha")
    agent.auto_claim = False
    await agent.connect(gateway)
    await stage.submit(await stage.renter())

    async def offered() -> object:
        return agent.desired and agent.desired.placements

    await until("offered", offered)
    assert agent.desired is not None
    spec = agent.desired.placements[0]
    await agent.claim(spec.model_copy(update={"epoch": spec.epoch + 1}))

    async def refused() -> list[Refused]:
        return agent.refused

    assert (await until("refused", refused))[0].code == "stale_epoch"
    assert not agent.granted


async def test_offers_are_repeated_until_claimed(stage: Stage) -> None:
    gateway = await stage.start_gateway()
    agent = await stage.node("alpha")
    agent.auto_claim = False
    await agent.connect(gateway)
    await stage.submit(await stage.renter())
    heard: list[int] = []

    async def thrice() -> bool:
        if (
            agent.desired is not None
            and agent.desired.placements
            and (not heard or heard[-1] != id(agent.desired))
        ):
            heard.append(id(agent.desired))
        return len(heard) >= 3

    await until("the same offer three times", thrice)


async def test_a_gateway_that_was_taken_over_begins_anew(stage: Stage) -> None:
    gateway = await stage.start_gateway()
    agent = await stage.node("alpha")
    await agent.connect(gateway)
    before = gateway.hub.gateway_id
    async with stage.database.transaction() as session:
        rows = await gateway.hub.health.standing_authorities(session)
        assert await gateway.hub.health.take_over(session, before, rows[before]) is not None

    async def anew() -> bool:
        return bool(gateway.hub.gateway_id) and gateway.hub.gateway_id != before

    await until("a new authority", anew)
    assert gateway.hub.table.nodes == []


async def test_h23_stale_take_over_changes_nothing(stage: Stage) -> None:
    gateway = await stage.start_gateway()
    async with stage.database.transaction() as session:
        rows = await gateway.hub.health.standing_authorities(session)
    async with stage.database.transaction() as session:
        assert await gateway.hub.health.renew_authority(session, gateway.hub.gateway_id)
    async with stage.database.transaction() as session:
        seen = rows[gateway.hub.gateway_id]
        assert await gateway.hub.health.take_over(session, gateway.hub.gateway_id, seen) is None


async def test_malformed_frames_end_the_connection_with_a_reason(stage: Stage) -> None:
    gateway = await stage.start_gateway()
    agent = await stage.node("alpha")
    await agent.connect(gateway)
    await agent._socket.send('{"type": "make_coffee"}')

    async def told() -> bool:
        return any(getattr(message, "code", "") == "malformed_message" for message in agent.others)

    await until("rejected", told)


async def test_gateway_dies_and_another_takes_the_session_over_in_time(stage: Stage) -> None:
    first = await stage.start_gateway()
    agent = await stage.node("alpha")
    await agent.connect(first)
    job_id = await stage.submit(await stage.renter())
    spec = await agent.only_placement()
    await stage.until_state(job_id, "running")
    second = await stage.start_gateway()
    await first.kill()
    await agent.crash()
    await agent.connect(second)
    deadline = agent.lease.deadline(spec.placement_id, spec.epoch)
    assert deadline is not None

    async def renewed() -> bool:
        return (agent.lease.deadline(spec.placement_id, spec.epoch) or 0) > deadline

    await until("the lease is renewed without a new claim", renewed)
    job = await stage.job(job_id)
    assert job.state.value == "running"
    assert job.placements_count == 1
