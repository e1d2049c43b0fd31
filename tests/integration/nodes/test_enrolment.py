"""Enrolment: one token, one machine, one key, one card in one place."""

import asyncio
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from gp4u_protocol.messages import DeviceFacts
from gp4u_server.kit.errors import DomainError
from gp4u_server.nodes.decisions import FactsInvalid
from gp4u_server.nodes.errors import (
    DeviceElsewhere,
    EnrolmentTokenInvalid,
    KeyInUse,
    NodeBusy,
    NodeNameTaken,
    NodeNotFound,
    NodeWasRemoved,
    ProofInvalid,
)
from gp4u_server.nodes.types import Liveness, NodeStatus

from tests.integration.market_world import World, facts, signed


@pytest.fixture
async def world(database) -> World:
    return World(database)


async def a_token(world: World, owner_id: str, **terms: str) -> str:
    async with world.database.transaction() as session:
        made = await world.nodes.create_enrolment_token(session, owner_id, region="eu-west", **terms)
    return made.token


async def join(world: World, token: str, machine=None, *, key=None, **changes: str):
    async with world.database.transaction() as session:
        return await world.nodes.join(session, **{**signed(token, key), **changes}, facts=machine or facts())


async def view(world: World, owner_id: str, node_id: str):
    async with world.database.transaction() as session:
        return await world.nodes.read_owned(session, owner_id, node_id)


async def test_a_machine_joins_and_is_what_it_said(world):
    owner_id = await world.person()
    joined = await join(world, await a_token(world, owner_id), facts(hostname="Ada's Rig.local", gpus=2))
    node = await view(world, owner_id, joined.node_id)
    assert joined.name == node.name == "ada-s-rig"
    assert (node.status, node.liveness, node.simulated) == (NodeStatus.VERIFIED, Liveness.OFFLINE, True)
    assert [(device.model, device.vram_gb, device.in_use) for device in node.devices] == [
        ("RTX_4090", 24, False)
    ] * 2
    assert (node.cpus, node.memory_gb, node.region) == (32, 128, "eu-west")


async def test_h21_fifty_joins_with_one_token_make_one_node(world):
    owner_id = await world.person()
    token = await a_token(world, owner_id)
    outcomes = await asyncio.gather(
        *(join(world, token, facts(hostname=f"box-{number}")) for number in range(50)),
        return_exceptions=True,
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert len(refused) == 49
    assert {type(outcome) for outcome in refused} == {EnrolmentTokenInvalid}
    async with world.database.transaction() as session:
        assert len(await world.nodes.list_owned(session, owner_id, before_id=None, limit=100)) == 1


async def test_h21_a_used_token_is_refused_for_ever(world):
    owner_id = await world.person()
    token = await a_token(world, owner_id)
    await join(world, token)
    with pytest.raises(EnrolmentTokenInvalid):
        await join(world, token, facts(hostname="other"))


async def test_a_token_lives_ten_minutes(world):
    owner_id = await world.person()
    token = await a_token(world, owner_id)
    world.clock.advance(timedelta(minutes=10).total_seconds())
    with pytest.raises(EnrolmentTokenInvalid):
        await join(world, token)


async def test_a_refused_join_leaves_the_token_good(world):
    owner_id = await world.person()
    token = await a_token(world, owner_id)
    with pytest.raises(FactsInvalid):
        await join(world, token, facts().model_copy(update={"cpus": 0}))
    await join(world, token)


async def test_the_key_must_be_proven(world):
    token = await a_token(world, await world.person())
    other = signed(token)
    for changes in ({"signature": other["signature"]}, {"public_key": "AAAA"}, {"signature": "!"}):
        with pytest.raises(ProofInvalid):
            await join(world, token, **changes)


async def test_a_signature_for_one_token_is_none_for_another(world):
    owner_id = await world.person()
    first, second = await a_token(world, owner_id), await a_token(world, owner_id)
    with pytest.raises(ProofInvalid):
        await join(world, second, signature=signed(first)["signature"])


async def test_one_key_is_one_node(world):
    owner_id = await world.person()
    key = Ed25519PrivateKey.generate()
    await join(world, await a_token(world, owner_id), key=key)
    with pytest.raises(KeyInUse):
        await join(world, await a_token(world, owner_id), facts(hostname="other"), key=key)


async def test_a_card_cannot_be_in_two_machines(world):
    owner_id, other_id = await world.person(), await world.person()
    await join(world, await a_token(world, owner_id), facts(hostname="a", tag="same"))
    with pytest.raises(DeviceElsewhere):
        await join(world, await a_token(world, other_id), facts(hostname="b", tag="same"))


async def test_machines_of_one_name_get_numbers_even_at_once(world):
    owner_id = await world.person()
    tokens = [await a_token(world, owner_id) for _ in range(3)]
    joined = await asyncio.gather(*(join(world, token, facts(hostname="rig", tag=token)) for token in tokens))
    assert sorted(node.name for node in joined) == ["rig", "rig-2", "rig-3"]


async def test_a_name_that_the_owner_chose_is_kept_or_refused(world):
    owner_id = await world.person()
    joined = await join(world, await a_token(world, owner_id, node_name="mine"))
    assert joined.name == "mine"
    with pytest.raises(NodeNameTaken):
        await a_token(world, owner_id, node_name="mine")


@pytest.mark.parametrize(
    "change",
    [
        {"cpus": 10**30},
        {"memory_mb": -1},
        {"hostname": "a\0b"},
        {"kernel": "x" * 1000},
        {"devices": [DeviceFacts(uuid="a", model="RTX_4090", vram_mb=0)]},
        {"devices": [DeviceFacts(uuid="a", model="RTX_4090", vram_mb=24564)] * 2},
        {"devices": [DeviceFacts(uuid=f"{n}", model="RTX_4090", vram_mb=24564) for n in range(65)]},
    ],
)
async def test_absurd_facts_are_refused(world, change):
    token = await a_token(world, await world.person())
    with pytest.raises(FactsInvalid):
        await join(world, token, facts().model_copy(update=change))


async def test_a_real_machine_is_pending_until_it_connects_with_plausible_facts(world):
    owner_id = await world.person()
    machine = facts(simulated=False)
    joined = await world.enrol(owner_id, machine, online=False)
    assert joined.status is NodeStatus.PENDING
    await world.connect(joined.node_id, machine)
    node = await view(world, owner_id, joined.node_id)
    assert (node.status, node.liveness, node.findings) == (NodeStatus.VERIFIED, Liveness.ONLINE, ())


async def test_a_machine_with_an_impossible_card_stays_pending_and_says_why(world):
    owner_id = await world.person()
    machine = facts(simulated=False).model_copy(
        update={"devices": [DeviceFacts(uuid="x", model="RTX_4090", vram_mb=80 * 1024)]}
    )
    joined = await world.enrol(owner_id, machine)
    node = await view(world, owner_id, joined.node_id)
    assert node.status is NodeStatus.PENDING
    assert "the model has 24" in node.findings[0]


async def test_another_owner_sees_no_such_node(world):
    owner_id, other_id = await world.person(), await world.person()
    joined = await world.enrol(owner_id)
    with pytest.raises(NodeNotFound):
        await view(world, other_id, joined.node_id)
    async with world.database.transaction() as session:
        with pytest.raises(NodeNotFound):
            await world.nodes.remove(session, other_id, joined.node_id)


async def test_a_removed_node_opens_nothing_and_gives_back_name_and_cards(world):
    owner_id = await world.person()
    machine = facts(hostname="rig")
    joined = await world.enrol(owner_id, machine)
    async with world.database.transaction() as session:
        await world.nodes.remove(session, owner_id, joined.node_id)
    with pytest.raises(NodeWasRemoved):
        await world.connect(joined.node_id, machine)
    async with world.database.transaction() as session:
        identity = await world.nodes.identity(session, joined.node_id)
        assert identity is not None
        assert identity.status is NodeStatus.REMOVED
        assert not await world.nodes.record_liveness(
            session, joined.node_id, session_no=1, liveness=Liveness.ONLINE, at=world.clock.now()
        )
    again = await world.enrol(owner_id, machine)
    assert again.name == "rig"


async def test_a_busy_node_cannot_be_removed(world):
    owner_id = await world.person()
    offer = await world.offer(owner_id)
    async with world.database.transaction() as session:
        taken = await world.market.take_devices(session, offer.id, 1)
    async with world.database.transaction() as session:
        with pytest.raises(NodeBusy):
            await world.nodes.remove(session, owner_id, offer.node_id)
    async with world.database.transaction() as session:
        await world.market.release_devices(session, offer.id, taken.device_ids)
        await world.nodes.remove(session, owner_id, offer.node_id)
    await world.check_invariants()


async def test_every_refusal_speaks(world):
    with pytest.raises(DomainError) as refused:
        await join(world, "gp4u_join_unknown")
    assert refused.value.code == "enrolment_token_invalid"
    assert refused.value.detail.endswith(".")
