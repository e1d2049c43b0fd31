"""A sign that half the fleet shows at once drains nothing until an admin has looked: real rows, the real loops."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from gp4u_server.catalyst.telemetry.control import HeldDrainsLoop
from gp4u_server.catalyst.telemetry.drain_guard import GuardTerms
from gp4u_server.catalyst.telemetry.errors import HoldDecided
from gp4u_server.catalyst.telemetry.service import TelemetryService
from gp4u_server.catalyst.telemetry.types import DeviceEvent, DrainHold, EventKind, HoldState, Severity
from gp4u_server.kit.db import Database
from gp4u_server.kit.ids import new_id
from gp4u_server.market.types import OfferView
from gp4u_server.nodes.types import Duty
from sqlalchemy import text

from tests.checks.ledger import assert_ledger_balances
from tests.integration.catalyst.test_leaving import Town


class Fleet(Town):
    """Nodes that show signs."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.telemetry = TelemetryService(
            self.bus, self.clock, self.nodes, guard=GuardTerms(nodes_min=3, percent=20)
        )
        self.holds = self.telemetry.holds
        self.deciding = HeldDrainsLoop(database, self.holds)

    async def shows(self, offer: OfferView, code: str, *, position: int = 0) -> None:
        """A critical XID of one of its GPUs, as a gateway writes it."""
        device = (await self.view(offer.node_id)).devices[position]
        event = DeviceEvent(
            id=new_id("dev"),
            node_id=offer.node_id,
            device_uuid=device.uuid,
            kind=EventKind.XID,
            code=code,
            severity=Severity.CRITICAL,
            occurred_at=self.clock.now(),
            received_at=self.clock.now(),
            detail={"sentence": f"XID {code}."},
        )
        async with self.database.transaction() as session:
            await self.telemetry.record(session, [event])

    async def standing(self) -> list[DrainHold]:
        async with self.database.transaction() as session:
            return await self.holds.page(session, before_id=None, limit=10)

    async def decide(self, hold: DrainHold, state: HoldState) -> None:
        async with self.database.transaction() as session:
            await self.holds.decide(session, hold.id, state, decided_by="usr_admin", reason="Looked.")

    async def duties_of(self, offers: list[OfferView]) -> list[Duty]:
        return [(await self.view(offer.node_id)).duty for offer in offers]


@pytest.fixture
async def fleet(database: Database) -> AsyncIterator[Fleet]:
    made = Fleet(database)
    yield made
    await assert_ledger_balances(database)
    await made.check_invariants()


async def test_a_mass_of_one_sign_is_held_and_drained_when_an_admin_confirms(fleet: Fleet) -> None:
    owner, renter = await fleet.person("Otto"), await fleet.renter()
    offers = [await fleet.machine(owner) for _ in range(6)]
    jobs = [await fleet.submit(renter) for _ in range(6)]
    for job in jobs:
        await fleet.running(job)

    for offer in offers:
        await fleet.shows(offer, "48")
    in_service, drained = Duty.IN_SERVICE, Duty.DRAINING
    assert await fleet.duties_of(offers) == [drained, drained, *[in_service] * 4]
    assert await fleet.moves.run_once() == 2, "those before it was a mass, and nobody after"
    (hold,) = await fleet.standing()
    assert (hold.state, hold.nodes_showing, hold.nodes_held) == (HoldState.HELD, 3, 4)
    assert "3 of 6 nodes" in hold.reason
    assert (await fleet.view(offers[5].node_id)).watched_reason == "XID 48."
    async with fleet.database.transaction() as session:
        told = await session.scalar(text("SELECT count(*) FROM outbox WHERE topic = 'drains.held'"))
    assert told == 1, "admins are told once"

    # Its owner has seen to one of them; the others are drained when the admin says so.
    async with fleet.database.transaction() as session:
        await fleet.nodes.undrain(session, offers[5].node_id, owner_id=owner)
    await fleet.deciding.run_once()
    assert await fleet.duties_of(offers[2:]) == [in_service] * 4, "nothing happens before"
    await fleet.decide(hold, HoldState.CONFIRMED)
    with pytest.raises(HoldDecided):
        await fleet.decide(hold, HoldState.DISMISSED)
    await fleet.deciding.run_once()
    assert await fleet.duties_of(offers) == [*[drained] * 5, in_service]
    assert await fleet.moves.run_once() == 3
    assert (await fleet.view(offers[2].node_id)).watched_reason is None


async def test_a_dismissed_mass_moves_nobody_and_a_gpu_off_the_bus_still_does(fleet: Fleet) -> None:
    owner, renter = await fleet.person("Otto"), await fleet.renter()
    offers = [await fleet.machine(owner) for _ in range(6)]
    for offer in offers[:3]:
        await fleet.shows(offer, "79")  # two are drained, the third begins a hold
    async with fleet.database.transaction() as session:
        for offer in offers[:2]:
            await fleet.nodes.undrain(session, offer.node_id, owner_id=owner)
    jobs = [await fleet.submit(renter) for _ in range(5)]
    runs = {(await fleet.running(job)).node_id: job for job in jobs}
    (hold,) = await fleet.standing()

    # A GPU that the driver cannot reach: its job has nothing to stay for. The node is held like the others.
    gone = next(offer for offer in offers[3:] if offer.node_id in runs)
    await fleet.shows(gone, "79")
    assert await fleet.moves.run_once() == 1
    assert (await fleet.placement(runs[gone.node_id].id)).desired == "stop"
    assert (await fleet.view(gone.node_id)).duty is Duty.IN_SERVICE

    await fleet.decide(hold, HoldState.DISMISSED)
    await fleet.deciding.run_once()
    assert [(await fleet.view(offer.node_id)).watched_reason for offer in offers] == [None] * 6
    another = next(offer for offer in offers if offer.node_id in runs and offer is not gone)
    await fleet.shows(another, "48")
    assert (await fleet.view(another.node_id)).duty is Duty.DRAINING, "another sign is judged by itself"


async def test_a_hold_that_nobody_decides_ends_when_its_sign_is_gone(fleet: Fleet) -> None:
    owner = await fleet.person("Otto")
    offers = [await fleet.machine(owner) for _ in range(4)]
    for offer in offers:
        await fleet.shows(offer, "94")
    fleet.clock.current += timedelta(hours=24)
    await fleet.deciding.run_once()
    (hold,) = await fleet.standing()
    assert hold.state is HoldState.LAPSED
    assert (await fleet.view(offers[3].node_id)).watched_reason is None
    assert (await fleet.view(offers[3].node_id)).duty is Duty.IN_SERVICE
    await fleet.shows(offers[3], "94")
    assert (await fleet.view(offers[3].node_id)).duty is Duty.DRAINING, "one again is one"
