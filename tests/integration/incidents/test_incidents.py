"""Incidents through the real services on a real database: what happened, what it is put down to, what that does."""

import asyncio

import pytest
from gp4u_protocol.messages import ActualState
from gp4u_server.accounts.types import Role
from gp4u_server.catalyst.health.lease_table import NodeState
from gp4u_server.catalyst.incidents.errors import NothingToUndo
from gp4u_server.catalyst.incidents.types import Cause, CauseFilter, IncidentKind, Witness
from gp4u_server.catalyst.telemetry.types import Severity
from sqlalchemy import text

from tests.checks.scale import scaled
from tests.integration.incidents.conftest import LIFE, Town

CRASHED = LIFE.model_copy(update={"run_id": "run-2", "last_run": "crashed"})


async def test_an_agent_that_crashed_costs_its_node_a_loss_that_can_be_followed(town: Town) -> None:
    node_id = await town.node(await town.person(Role.OWNER))
    job_id, _ = await town.run(await town.person(Role.RENTER), node_id)
    before, offered = await town.view(node_id), await town.offer_of(node_id)
    await town.lose(node_id, ttl_s=None)
    await town.settle()
    (waiting,) = await town.of_node(node_id)
    assert (waiting.cause, waiting.settled_at, waiting.runs_hit) == (None, None, 1)
    assert (await town.view(node_id)).host_losses == 0, "one kind of evidence touches nothing"

    await town.connect(node_id, life=CRASHED)
    await town.settle()
    (incident,) = await town.of_node(node_id)
    assert (incident.kind, incident.cause, incident.sub_class) == (
        IncidentKind.NODE_LOST, Cause.HOST_SOFTWARE, "agent_crashed",
    )  # fmt: skip
    assert {each.witness for each in incident.evidence} == {Witness.GATEWAY, Witness.AGENT}
    after, offer = await town.view(node_id), await town.offer_of(node_id)
    assert (after.host_losses, after.network_losses) == (1, 0)
    assert after.record.reliability < before.record.reliability
    assert offer.reliability == pytest.approx(after.record.reliability, abs=1e-5) != offered.reliability
    assert offer.hazard_per_hour > offered.hazard_per_hour
    assert after.away_s >= 6.0
    assert after.record.uptime is not None
    assert after.record.uptime < 1
    (change,) = await town.changes(node_id)
    assert (change.incident_id, change.host_losses) == (incident.id, 1)
    assert change.after < change.before
    assert [(each.before, each.after) for each in incident.score_changes] == [
        (round(change.before, 6), round(change.after, 6))
    ]
    (told,) = [event for event in await town.timeline(job_id) if event.kind.value == "attributed"]
    assert told.title == "Attributed to the host's software (the agent crashed)"
    assert told.detail["incident_id"] == incident.id
    assert len(told.detail["evidence"]) == 2


async def test_a_cut_link_lowers_uptime_and_what_the_router_expects_but_not_the_score(town: Town) -> None:
    node_id = await town.node(await town.person(Role.OWNER))
    before = await town.view(node_id)
    await town.lose(node_id)
    await town.connect(node_id, life=LIFE)
    await town.settle()
    (incident,) = await town.of_node(node_id)
    assert incident.cause is Cause.NETWORK
    after = await town.view(node_id)
    assert (after.host_losses, after.network_losses) == (0, 1)
    assert after.record.reliability >= before.record.reliability
    assert after.hazard_per_hour > before.hazard_per_hour
    assert after.away_s >= 6.0
    (change,) = await town.changes(node_id)
    assert change.before == pytest.approx(change.after)


async def test_a_failing_card_is_the_hardware_even_before_the_node_is_back(town: Town) -> None:
    node_id = await town.node(await town.person(Role.OWNER))
    await town.device_event(node_id, "xid", "79", Severity.CRITICAL)
    await town.lose(node_id)
    await town.settle()
    (incident,) = await town.of_node(node_id)
    assert (incident.cause, incident.sub_class, incident.away_s) == (Cause.HOST_HARDWARE, "xid_79", 0.0)
    await town.connect(node_id, life=CRASHED)
    await town.settle()
    (incident,) = await town.of_node(node_id)
    assert (incident.cause, incident.sub_class) == (Cause.HOST_HARDWARE, "xid_79")
    assert (await town.view(node_id)).host_losses == 1, "counted once, before and after its return"


async def test_what_nobody_knows_is_shown_and_touches_nothing(town: Town) -> None:
    node_id = await town.node(await town.person(Role.OWNER), life=None)
    before = await town.view(node_id)
    await town.lose(node_id)
    await town.connect(node_id, life=None)
    await town.settle()
    (incident,) = await town.of_node(node_id)
    assert incident.cause is Cause.UNKNOWN
    assert "takes two" in (incident.sentence or "")
    after = await town.view(node_id)
    assert (after.host_losses, after.network_losses, after.away_s) == (0, 0, 0.0)
    assert after.losses == before.losses + 1
    assert await town.changes(node_id) == []


async def test_h23_all_nodes_of_a_gateway_that_died_lose_nothing_of_their_scores(town: Town) -> None:
    """GP4U_SCALE=4: 44 nodes, as in the incident of a peer."""
    owners = [await town.person(Role.OWNER) for _ in range(3)]
    node_ids = [await town.node(owners[number % 3]) for number in range(scaled(11))]
    before = {node_id: await town.view(node_id) for node_id in node_ids}
    await town.lose(*node_ids, ours=True)  # as the controller that ends the gateway does
    for number, node_id in enumerate(node_ids):  # whatever their agents say then
        await town.connect(node_id, life=CRASHED if number % 2 else LIFE)
    await town.settle()
    for node_id in node_ids:
        (incident,) = await town.of_node(node_id)
        assert incident.cause is Cause.PLATFORM
        after = await town.view(node_id)
        assert (after.host_losses, after.network_losses, after.away_s) == (0, 0, 0.0)
        assert after.record.reliability >= before[node_id].record.reliability
    assert [change for node_id in node_ids for change in await town.changes(node_id)] == []


async def test_h23_a_gateway_that_was_away_itself_blames_nobody(town: Town) -> None:
    await town.gateway("gw_gap", since_s=2)  # it was silent until 2 s ago, the node for 6 s
    node_id = await town.node(await town.person(Role.OWNER), "gw_gap")
    await town.lose(node_id)
    await town.connect(node_id, life=CRASHED)
    await town.settle()
    (incident,) = await town.of_node(node_id)
    assert (incident.cause, incident.sub_class) == (Cause.PLATFORM, "authority_gap")
    assert await town.changes(node_id) == []


async def test_44_runs_and_one_hiccup_are_one_loss(town: Town) -> None:
    """11 of them; GP4U_SCALE=4: all 44."""
    many = scaled(11)
    node_id = await town.node(await town.person(Role.OWNER), gpus=many)
    renter_id = await town.person(Role.RENTER)
    jobs = [(await town.run(renter_id, node_id))[0] for _ in range(many)]
    await town.lose(node_id)
    await town.connect(node_id, life=CRASHED)
    await town.settle()
    (incident,) = await town.of_node(node_id)
    assert (incident.runs_hit, incident.counts_as_loss) == (many, True)
    assert (await town.view(node_id)).host_losses == 1
    for job_id in jobs:
        assert [event.kind.value for event in await town.timeline(job_id)].count("attributed") == 1


async def test_a_job_that_fails_is_its_own_and_a_lost_shim_the_hosts(town: Town) -> None:
    node_id = await town.node(await town.person(Role.OWNER), gpus=2)
    renter_id = await town.person(Role.RENTER)
    (_, failing), (lost_id, losing) = [await town.run(renter_id, node_id) for _ in range(2)]
    await town.report(failing, 2, ActualState.EXITED, exit_code=1)
    await town.settle()
    (incident,) = await town.of_node(node_id)
    assert (incident.kind, incident.cause, incident.sub_class) == (
        IncidentKind.JOB_FAILED, Cause.RENTER_JOB, "exit_1",
    )  # fmt: skip
    assert await town.changes(node_id) == []
    await town.report(losing, 2, ActualState.EXITED, reason="shim_lost")
    await town.settle()
    newest, _ = await town.of_node(node_id)
    assert (newest.kind, newest.cause, newest.counts_as_loss) == (
        IncidentKind.RUN_LOST, Cause.HOST_SOFTWARE, True,
    )  # fmt: skip
    assert "attributed" in [event.kind.value for event in await town.timeline(lost_id)]


async def test_a_run_lost_just_before_its_node_is_one_event(town: Town) -> None:
    node_id = await town.node(await town.person(Role.OWNER))
    _, run = await town.run(await town.person(Role.RENTER), node_id)
    await town.report(run, 2, ActualState.EXITED, reason="shim_lost")
    await town.settle()
    await town.lose(node_id)
    await town.connect(node_id, life=CRASHED)
    await town.settle()
    assert [each.cause for each in await town.of_node(node_id)] == [Cause.HOST_SOFTWARE] * 2
    assert (await town.view(node_id)).host_losses == 1


async def test_an_admins_ruling_is_followed_kept_and_taken_back(town: Town) -> None:
    node_id = await town.node(await town.person(Role.OWNER))
    job_id, _ = await town.run(await town.person(Role.RENTER), node_id)
    admin = await town.person(Role.RENTER)
    await town.lose(node_id)
    await town.connect(node_id, life=CRASHED)
    await town.settle()
    (incident,) = await town.of_node(node_id)
    for cause in (Cause.RENTER_JOB, Cause.PLATFORM):
        async with town.database.transaction() as session:
            await town.incidents.rule(
                session, incident.id, by=admin, cause=cause, reason="A switch of ours failed."
            )
        await town.settle()
    ruled = await town.view(node_id)
    assert (ruled.host_losses, ruled.away_s) == (0, 0.0)
    case = await town.case(cause=CauseFilter.PLATFORM, kind=IncidentKind.NODE_LOST, ruled=True)
    assert (case.id, case.ruled, case.evidence_cause) == (incident.id, True, Cause.HOST_SOFTWARE)
    assert case.job_ids == [job_id]
    assert [ruling.by for ruling in case.rulings] == [case.rulings[0].by] * 2 != [None] * 2
    async with town.database.transaction() as session:
        await town.incidents.undo_ruling(session, incident.id, by=admin)
    await town.settle()
    case = await town.case(ruled=False, node_id=node_id)
    assert (case.ruled, case.evidence_cause) == (False, Cause.HOST_SOFTWARE)
    (incident,) = await town.of_node(node_id)
    assert (incident.cause, incident.sub_class) == (Cause.HOST_SOFTWARE, "agent_crashed")
    assert (await town.view(node_id)).host_losses == 1
    first, second = incident.rulings
    assert (first.was, second.was) == (Cause.HOST_SOFTWARE, Cause.HOST_SOFTWARE)
    assert first.undone_at is not None
    assert second.undone_at is not None
    with pytest.raises(NothingToUndo):
        async with town.database.transaction() as session:
            await town.incidents.undo_ruling(session, incident.id, by=admin)
    changes = await town.changes(node_id)
    assert [change.host_losses for change in changes[::-1]] == [1, -1, 1]
    assert {change.incident_id for change in changes} == {incident.id}
    told = [
        event.detail["cause"] for event in await town.timeline(job_id) if event.kind.value == "attributed"
    ]
    assert told == ["host_software", "renter_job", "platform", "host_software"]


async def test_two_controllers_settle_each_incident_once(town: Town) -> None:
    owner = await town.person(Role.OWNER)
    node_ids = [await town.node(owner) for _ in range(4)]
    for node_id in node_ids:
        await town.device_event(node_id, "xid", "79", Severity.CRITICAL)
        await town.lose(node_id)
        await town.connect(node_id, life=CRASHED)
    await asyncio.gather(*(town.settle() for _ in range(4)))
    await town.settle()
    for node_id in node_ids:
        assert (await town.view(node_id)).host_losses == 1
        assert len(await town.changes(node_id)) == 1


async def test_a_stale_claim_changes_nothing(town: Town) -> None:
    node_id = await town.node(await town.person(Role.OWNER))
    await town.lose(node_id)
    await town.connect(node_id, life=CRASHED)
    async with town.database.transaction() as session:
        (claim,) = await town.incidents.take_due(session, 10)
    async with town.database.transaction() as session:
        look = await town.incidents.look(session, claim.row_id)
        assert list(await town.incidents.take_due(session, 10)) == []
    stale = type(claim)(claim.row_id, "clm_another")
    async with town.database.transaction() as session:
        assert await town.incidents.settle(session, stale, look) is None
    assert (await town.view(node_id)).host_losses == 0
    async with town.database.transaction() as session:
        assert await town.incidents.settle(session, claim, look) is not None
    assert (await town.view(node_id)).host_losses == 1


async def test_going_out_of_service_while_away_ends_what_counts_against_uptime(town: Town) -> None:
    node_id = await town.node(await town.person(Role.OWNER))
    await town.lose(node_id)
    async with town.database.transaction() as session:
        await town.nodes.drain(session, node_id, owner_id=None)
    (incident,) = await town.of_node(node_id)
    await town.connect(node_id, life=CRASHED)
    await town.settle()
    (settled,) = await town.of_node(node_id)
    assert settled.away_s < (settled.returned_at - incident.began_at).total_seconds()
    await town.change(node_id, NodeState.LOST)


async def test_an_unknown_node_starts_from_its_owners_record(town: Town) -> None:
    # A fleet without a single loss would expect of a bad owner just what it expects of a stranger: somebody has one.
    good, usual, bad, new = [await town.person(Role.OWNER) for _ in range(4)]
    for owner, losses in ((good, 0), (usual, 1), (bad, 12)):
        node_id = await town.node(owner, model="L40S")
        async with town.database.transaction() as session:
            await session.execute(
                text("UPDATE nodes SET online_ms = 8760 * 3600000::bigint WHERE id = :id"),
                {"id": node_id},
            )
            if losses:
                await town.nodes.attribute(
                    session, node_id, host_losses=losses, incident_id=None, reason="test"
                )
    async with town.database.transaction() as session:
        await town.nodes.tally_all(session)
    fresh = {owner: await town.view(await town.node(owner, model="L40S")) for owner in (good, bad, new)}
    scores = {owner: view.record.reliability for owner, view in fresh.items()}
    assert scores[good] > scores[new] > scores[bad]
    assert fresh[good].prior.owner.online_h == pytest.approx(8760, rel=0.01)
    assert fresh[new].prior.owner.online_h == 0
    assert fresh[new].prior.fleet.losses == 13
