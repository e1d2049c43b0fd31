"""Why jobs leave nodes and how: preemption, maintenance windows, failed GPUs; real rows, real bills, the real loops."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from gp4u_protocol.messages import ActualState, Report
from gp4u_server.bookings.capacity import BookingCapacity
from gp4u_server.catalyst.failover.control import CapacityLoop, LimitsLoop, PlacingLoop
from gp4u_server.catalyst.failover.handlers import CapacityHandlers
from gp4u_server.catalyst.failover.moves import MovesLoop
from gp4u_server.catalyst.health.control import DutyLoop
from gp4u_server.catalyst.jobs.notice import GRACE_S
from gp4u_server.catalyst.jobs.types import JobState, Outcome
from gp4u_server.catalyst.jobs.views import JobView, PlacementView
from gp4u_server.catalyst.routing.service import Router
from gp4u_server.catalyst.telemetry.service import TelemetryService
from gp4u_server.catalyst.telemetry.types import DeviceEvent, EventKind, Severity
from gp4u_server.kit.db import Database
from gp4u_server.kit.ids import new_id
from gp4u_server.market.errors import OfferTaken
from gp4u_server.market.service import Terms
from gp4u_server.market.types import OfferView
from gp4u_server.nodes.errors import WindowInvalid
from gp4u_server.nodes.types import Duty, Liveness, NodeView
from sqlalchemy import text

from tests.checks.ledger import assert_ledger_balances
from tests.integration.bookings.world import BookingWorld
from tests.integration.market_world import facts


class Town(BookingWorld):
    """Bookings, and every loop that makes jobs leave. Its nodes' clock begins now and moves when told to."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.clock.current = datetime.now(UTC)
        CapacityHandlers(self.jobs).subscribe(self.bus)
        self.moves = MovesLoop(database, self.jobs, self.nodes, self.clock, notice_s=60)
        self.limits = LimitsLoop(database, self.jobs)
        self.capacity = CapacityLoop(database, self.jobs, self.nodes)
        self.duties = DutyLoop(database, self.nodes)

    async def machine(
        self, owner: str, *, price: int = 500_000, floor: int | None = 200_000, gpus: int = 1
    ) -> OfferView:
        """A listed node that takes interruptible bookings."""
        made = facts(hostname=f"box{next(self.numbers)}", gpus=gpus)
        joined = await self.enrol(owner, made)
        async with self.database.transaction() as session:
            return await self.market.list_node(
                session,
                owner_id=owner,
                owner_name="Ada",
                node_id=joined.node_id,
                terms=Terms(price, floor and min(floor, price), 60, 604_800),
            )

    async def view(self, node_id: str) -> NodeView:
        async with self.database.transaction() as session:
            return await self.nodes.view(session, node_id)

    async def offered(self, offer_id: str) -> OfferView:
        async with self.database.transaction() as session:
            return await self.market.offer(session, offer_id)

    async def notice_over(self, job: JobView) -> None:
        """Its notice has run out, and the loop sees it."""
        async with self.database.transaction() as session:
            await session.execute(
                text(
                    "UPDATE placements SET stop_due_at = clock_timestamp() WHERE job_id = :id AND stop_due_at IS NOT NULL"
                ),
                {"id": job.id},
            )
        await self.moves.run_once()

    async def stopped(self, job: JobView) -> PlacementView:
        """Its node says that it has ended, as it was told."""
        placement = await self.placement(job.id)
        assert placement.desired == "stop"
        await self.report(placement, ActualState.STOPPED, reason="moving")
        return await self.placement(job.id)

    async def noticed(self, job: JobView) -> tuple[str | None, datetime | None]:
        async with self.database.transaction() as session:
            row = (
                await session.execute(
                    text(
                        "SELECT notice_reason, notice_deadline_at FROM placements"
                        " WHERE job_id = :id ORDER BY epoch DESC LIMIT 1"
                    ),
                    {"id": job.id},
                )
            ).one()
        return row[0], row[1]

    async def waiting(self, job: JobView) -> dict[str, list[dict[str, str]]]:
        async with self.database.transaction() as session:
            found = await session.scalar(text("SELECT waiting FROM jobs WHERE id = :id"), {"id": job.id})
        return dict(found or {})

    async def due_now(self, job: JobView) -> None:
        async with self.database.transaction() as session:
            await session.execute(
                text("UPDATE jobs SET next_attempt_at = clock_timestamp() WHERE id = :id"), {"id": job.id}
            )


@pytest.fixture
async def town(database: Database) -> AsyncIterator[Town]:
    made = Town(database)
    yield made
    await assert_ledger_balances(database)
    await made.check_invariants()


# --- preemption ---------------------------------------------------------------------------------------------


async def test_an_interruptible_job_makes_room_with_notice_and_nobody_slips_in_between(town: Town) -> None:
    owner, renter, other = await town.person("Otto"), await town.renter(), await town.renter()
    offer = await town.machine(owner)
    cheap = await town.submit(renter, kind="interruptible")
    placement = await town.running(cheap)
    assert placement.rate_per_hour_micros == 200_000

    wanted = await town.submit(other)
    assert (await town.job(wanted.id)).state is JobState.QUEUED
    (hint, *_) = (await town.waiting(wanted))["hints"]
    assert hint["kind"] == "making_room"
    assert "making room" in ((await town.job(wanted.id)).detail or "")
    assert await town.moves.run_once() == 1
    reason, deadline = await town.noticed(cheap)
    assert reason == "preemption"
    assert deadline is not None
    assert 30 < (deadline - datetime.now(UTC)).total_seconds() <= 61
    assert (await town.placement(cheap.id)).desired == "run", "it has its notice, and runs on"
    assert await town.moves.run_once() == 0, "told once"

    await town.notice_over(cheap)
    async with town.database.transaction() as session:
        await town.jobs.record_checkpoint(
            session, placement.id, 1, checkpoint_id="ckpt_1", seq=1, trigger="final"
        )
    assert (await town.stopped(cheap)).outcome is Outcome.MOVED
    assert (await town.offered(offer.id)).gpus_free == 0, "kept for who it was made for"
    third = await town.submit(other)
    assert (await town.job(third.id)).epoch == 0
    await town.due_now(third)
    await town.due_now(cheap)
    assert await town.capacity.run_once() >= 1, "who the room was made for is woken"
    for _ in range(2):
        await town.placing.run_once()
    assert (await town.placement(wanted.id)).offer_id == offer.id
    assert (await town.job(third.id)).epoch == 0
    waits = await town.job(cheap.id)
    assert (waits.state, waits.epoch) == (JobState.RECOVERING, 1)
    assert (await town.receipt(placement.booking_id)).final
    assert (await town.view(offer.node_id)).devices[0].reserved_for is None


async def test_what_is_dearer_or_fits_elsewhere_displaces_nobody(town: Town) -> None:
    owner, renter = await town.person("Otto"), await town.renter()
    offer = await town.machine(owner)
    cheap = await town.submit(renter, kind="interruptible")
    await town.running(cheap)
    poor = await town.submit(renter, budget={"per_hour_micros_max": 400_000})
    assert (await town.job(poor.id)).state is JobState.QUEUED
    spare = await town.machine(owner, price=900_000)
    rich = await town.submit(renter)
    assert (await town.placement(rich.id)).offer_id == spare.id
    assert await town.moves.run_once() == 0
    assert (await town.view(offer.node_id)).devices[0].reserved_for is None


async def test_notice_is_taken_back_when_the_room_is_not_needed_any_more(town: Town) -> None:
    owner, renter = await town.person("Otto"), await town.renter()
    offer = await town.machine(owner)
    cheap = await town.submit(renter, kind="interruptible")
    await town.running(cheap)
    wanted = await town.submit(renter)
    assert await town.moves.run_once() == 1
    async with town.database.transaction() as session:
        await town.jobs.request_stop(session, wanted.id, "by_renter")
    assert (await town.view(offer.node_id)).devices[0].reserved_for is None
    assert await town.moves.run_once() == 1
    assert await town.noticed(cheap) == (None, None)
    assert (await town.placement(cheap.id)).desired == "run"


async def test_a_reservation_that_nobody_uses_ends_by_itself(town: Town) -> None:
    owner, renter = await town.person("Otto"), await town.renter()
    offer = await town.machine(owner)
    cheap = await town.submit(renter, kind="interruptible")
    placement = await town.running(cheap)
    await town.submit(renter)
    await town.report(placement, ActualState.EXITED, exit_code=0)
    assert (await town.offered(offer.id)).gpus_free == 0
    town.clock.advance(3600)
    assert await town.duties.run_once() == 1
    assert (await town.offered(offer.id)).gpus_free == 1


async def test_h24_an_interruptible_job_that_is_preempted_again_and_again_pauses(town: Town) -> None:
    owner, renter = await town.person("Otto"), await town.renter()
    await town.machine(owner)
    cheap = await town.submit(renter, kind="interruptible")
    pauses = []
    for _ in range(4):
        await town.running(cheap)
        wanted = await town.submit(renter)
        await town.moves.run_once()
        await town.notice_over(cheap)
        await town.stopped(cheap)
        waits = await town.job(cheap.id)
        assert waits.next_attempt_at is not None
        pauses.append(round((waits.next_attempt_at - datetime.now(UTC)).total_seconds(), -1))
        await town.due_now(wanted)
        await town.placing.run_once()
        await town.report(await town.running(wanted), ActualState.EXITED, exit_code=0)
        await town.capacity.run_once()  # what came free does not end the pause
        await town.placing.run_once()
        assert (await town.job(cheap.id)).state is (
            JobState.STARTING if not pauses[-1] else JobState.RECOVERING
        )
        if pauses[-1]:
            await town.due_now(cheap)
            await town.placing.run_once()
    assert pauses == [0, 900, 3600, 3600]


async def test_without_protection_a_preempted_job_ends_and_says_why(town: Town) -> None:
    owner, renter = await town.person("Otto"), await town.renter()
    await town.machine(owner)
    cheap = await town.submit(renter, kind="interruptible", protection="none")
    await town.running(cheap)
    await town.submit(renter)
    await town.moves.run_once()
    await town.notice_over(cheap)
    await town.stopped(cheap)
    ended = await town.job(cheap.id)
    assert (ended.state, ended.reason) == (JobState.FAILED, "preempted")


# --- notice -------------------------------------------------------------------------------------------------


async def test_a_job_that_answers_its_notice_with_a_checkpoint_is_told_to_stop_at_once(town: Town) -> None:
    owner, renter = await town.person("Otto"), await town.renter()
    await town.machine(owner)
    job = await town.submit(renter)
    placement = await town.running(job)
    async with town.database.transaction() as session:
        await town.nodes.drain(session, placement.node_id, owner_id=owner, within_s=3600)
    assert await town.moves.run_once() == 1
    async with town.database.transaction() as session:
        (sent,) = await town.jobs.live_on_node(session, placement.node_id)
    assert sent.spec.notice is not None
    assert sent.spec.notice.reason == "drain"
    assert 30 < sent.spec.notice.seconds_left <= 60
    assert await town.moves.run_once() == 0
    async with town.database.transaction() as session:
        await town.jobs.record_checkpoint(
            session, placement.id, 1, checkpoint_id="ckpt_1", seq=1, trigger="job", ms=1500
        )
    assert await town.moves.run_once() == 1
    assert (await town.placement(job.id)).desired == "stop"


async def test_a_result_that_was_saved_counts_however_late_its_report_comes(town: Town) -> None:
    owner, renter = await town.person("Otto"), await town.renter()
    await town.machine(owner)
    for lost, saved, state in ((False, True, "done"), (False, False, "recovering"), (True, True, "done")):
        job = await town.submit(renter)
        placement = await town.running(job)
        async with town.database.transaction() as session:
            if lost:
                await town.jobs.record_node_lost(session, placement.node_id, 5.0)
            else:
                await town.jobs.request_move(session, job.id, placement.node_id, "It has to go.")
                await session.execute(
                    text("UPDATE placements SET stop_requested_at = stop_requested_at - interval '2 minutes'")
                )
        if not lost:
            assert await town.limits.run_once() == 1
        ended = await town.placement(job.id)
        assert ended.ended_at is not None
        await town.report(ended, ActualState.EXITED, exit_code=0, saved=saved)
        found = await town.job(job.id)
        assert found.state == state
        if found.state is JobState.DONE:
            assert (found.exit_code, found.next_attempt_at) == (0, None)
        else:
            async with town.database.transaction() as session:
                await town.jobs.request_stop(session, job.id, "by_renter")


async def test_a_stop_that_its_node_never_confirms_is_paid_until_its_grace_was_over(town: Town) -> None:
    await town.machine(await town.person("Otto"))
    job = await town.submit(await town.renter())
    await town.running(job)
    async with town.database.transaction() as session:
        await town.jobs.request_stop(session, job.id, "by_renter")
        for column in ("created_at", "running_at", "metered_from", "stop_requested_at"):
            ago = 600 if column == "stop_requested_at" else 1200
            await session.execute(
                text(f"UPDATE placements SET {column} = clock_timestamp() - interval '{ago} seconds'")
            )
        await session.execute(
            text("UPDATE usage_intervals SET started_at = clock_timestamp() - interval '1200 seconds'")
        )
    await town.limits.run_once()
    ended = await town.placement(job.id)
    async with town.database.transaction() as session:
        paid_s = await session.scalar(
            text(
                "SELECT extract(epoch FROM i.ended_at - p.stop_requested_at) FROM usage_intervals i"
                " JOIN placements p ON p.booking_id = i.booking_id WHERE p.job_id = :job"
            ),
            {"job": job.id},
        )
    assert ended.state == "ended"
    assert paid_s == GRACE_S


async def test_h3_a_late_result_of_an_old_epoch_changes_nothing(town: Town) -> None:
    owner, renter = await town.person("Otto"), await town.renter()
    await town.machine(owner)
    await town.machine(owner, price=900_000)
    job = await town.submit(renter)
    placement = await town.running(job)
    async with town.database.transaction() as session:
        await town.jobs.record_node_lost(session, placement.node_id, 5.0)
        await town.nodes.record_liveness(
            session, placement.node_id, session_no=1, liveness=Liveness.LOST, at=town.clock.now()
        )
    await town.placing.run_once()
    again = await town.running(await town.job(job.id))
    assert again.epoch == 2
    async with town.database.transaction() as session:
        late = Report(
            seq=99,
            placement_id=placement.id,
            epoch=1,
            state=ActualState.EXITED,
            exit_code=0,
            saved=True,
        )
        assert (await town.jobs.record_report(session, placement.node_id, late)).stale
    assert (await town.job(job.id)).state is JobState.RUNNING


# --- maintenance windows --------------------------------------------------------------------------------------


async def test_a_window_moves_jobs_before_it_begins_and_the_node_is_back_after_it(town: Town) -> None:
    owner, renter = await town.person("Otto"), await town.renter()
    offer = await town.machine(owner, price=100_000)
    other = await town.machine(owner, price=900_000)
    job = await town.submit(renter)
    await town.running(job)
    starts = town.clock.now() + timedelta(hours=1)
    async with town.database.transaction() as session:
        window = await town.nodes.plan_window(
            session, offer.node_id, owner_id=owner, starts_at=starts, duration_s=7200, reason="A new fan."
        )
        with pytest.raises(WindowInvalid):
            await town.nodes.plan_window(
                session,
                offer.node_id,
                owner_id=owner,
                starts_at=window.ends_at - timedelta(1 / 86400),
                duration_s=60,
            )
    assert await town.moves.run_once() == 0, "far away"
    late, short = await town.submit(renter), await town.submit(renter, duration_s_max=1800)
    assert (await town.placement(late.id)).offer_id == other.id, "it would run into the window"
    assert (await town.job(short.id)).epoch == 0, "the only GPU is taken"

    town.clock.advance(3600 - 80)
    assert await town.moves.run_once() == 1
    assert await town.noticed(job) == ("maintenance", starts)
    await town.notice_over(job)
    await town.stopped(job)
    town.clock.advance(81)
    assert await town.duties.run_once() >= 1
    await town.duties.run_once()
    node = await town.view(offer.node_id)
    assert (node.duty, node.maintenance_until, node.duty_reason) == (
        Duty.MAINTENANCE,
        window.ends_at,
        "A new fan.",
    )
    await town.due_now(job)
    await town.placing.run_once()
    hints = (await town.waiting(job))["hints"]
    assert any(hint["at"] == window.ends_at.isoformat() for hint in hints)
    town.clock.advance(7200)
    await town.duties.run_once()
    node = await town.view(offer.node_id)
    assert (node.duty, node.is_usable, node.windows) == (Duty.IN_SERVICE, True, ())
    await town.due_now(job)
    await town.placing.run_once()
    assert (await town.placement(job.id)).offer_id == offer.id


async def test_a_cancelled_window_takes_its_notice_back_and_a_begun_one_ends(town: Town) -> None:
    owner, renter = await town.person("Otto"), await town.renter()
    offer = await town.machine(owner)
    job = await town.submit(renter)
    await town.running(job)
    for begun in (False, True):
        async with town.database.transaction() as session:
            window = await town.nodes.plan_window(
                session,
                offer.node_id,
                owner_id=owner,
                starts_at=town.clock.now() + timedelta(seconds=80),
                duration_s=3600,
            )
        assert await town.moves.run_once() == 1
        if begun:
            await town.notice_over(job)
            await town.stopped(job)
            town.clock.advance(80)
            for _ in range(2):
                await town.duties.run_once()
            assert (await town.view(offer.node_id)).duty is Duty.MAINTENANCE
        async with town.database.transaction() as session:
            await town.nodes.cancel_window(session, offer.node_id, window.id, owner_id=owner)
        if not begun:
            assert await town.moves.run_once() == 1
            assert await town.noticed(job) == (None, None)
    node = await town.view(offer.node_id)
    assert (node.duty, node.is_usable) == (Duty.IN_SERVICE, True)
    assert (await town.offered(offer.id)).window_starts_at is None


# --- one GPU of several ----------------------------------------------------------------------------------------


async def test_of_a_node_with_a_failed_gpu_only_the_job_that_holds_it_moves(town: Town) -> None:
    owner, renter = await town.person("Otto"), await town.renter()
    offer = await town.machine(owner, gpus=3)
    first, second = await town.submit(renter, resources={"gpus": 2}), await town.submit(renter)
    placement, other = await town.running(first), await town.running(second)
    machine = facts(hostname=(await town.view(offer.node_id)).name, gpus=3)
    gone = placement.device_uuids[0]
    without = machine.model_copy(
        update={"devices": [device for device in machine.devices if device.uuid != gone]}
    )
    assert len(without.devices) == 2
    await town.connect(offer.node_id, without)
    shown = {device.uuid: device for device in (await town.view(offer.node_id)).devices}
    assert "does not list" in (shown[gone].fault or "")
    assert (await town.offered(offer.id)).gpus_total == 2
    assert await town.moves.run_once() == 1
    assert (await town.noticed(first))[0] == "device"
    assert (await town.noticed(second))[0] is None
    await town.stopped(first)
    assert (await town.offered(offer.id)).gpus_free == 1, "the whole GPU of the two is for rent again"
    assert (await town.placement(second.id)).ended_at is None
    await town.placing.run_once()
    assert (await town.job(first.id)).state is JobState.RECOVERING, "two GPUs are not free any more"

    await town.connect(offer.node_id, machine)
    shown = {device.uuid: device for device in (await town.view(offer.node_id)).devices}
    assert shown[gone].back_at == town.clock.now() + timedelta(minutes=10)
    assert (await town.offered(offer.id)).gpus_total == 2, "on probation"
    town.clock.advance(600)
    await town.duties.run_once()
    assert (await town.offered(offer.id)).gpus_total == 3
    await town.capacity.run_once()
    await town.placing.run_once()
    assert (await town.placement(first.id)).epoch == 2
    assert other.node_id == offer.node_id


async def test_a_fault_within_the_probation_begins_a_longer_one(town: Town) -> None:
    owner = await town.person("Otto")
    offer = await town.machine(owner)
    machine = facts(hostname=(await town.view(offer.node_id)).name)
    (device,) = machine.devices
    for minutes in (10, 20, 40):
        town.clock.advance(1)
        async with town.database.transaction() as session:
            assert await town.nodes.record_device_fault(
                session, offer.node_id, device.uuid, "XID 79", town.clock.now()
            )
            assert not await town.nodes.record_device_fault(
                session, offer.node_id, device.uuid, "XID 79", town.clock.now()
            )
        assert (await town.offered(offer.id)).gpus_total == 0
        town.clock.advance(1)
        await town.connect(offer.node_id, machine)
        (shown,) = (await town.view(offer.node_id)).devices
        assert shown.back_at == town.clock.now() + timedelta(minutes=minutes)
    async with town.database.transaction() as session:  # its owner has seen to it
        await town.nodes.undrain(session, offer.node_id, owner_id=owner)
    assert (await town.offered(offer.id)).gpus_total == 1


async def test_a_failing_gpu_takes_its_node_out_of_service_only_when_it_has_no_other(town: Town) -> None:
    owner, renter = await town.person("Otto"), await town.renter()
    telemetry = TelemetryService(town.bus, town.clock, town.nodes)
    for gpus in (2, 1):
        offer = await town.machine(owner, gpus=gpus)
        jobs = [await town.submit(renter) for _ in range(gpus)]
        runs = [await town.running(job) for job in jobs]
        failing = runs[0].device_uuids[0]
        event = DeviceEvent(
            id=new_id("dev"),
            node_id=offer.node_id,
            device_uuid=failing,
            kind=EventKind.XID,
            code="79",
            severity=Severity.CRITICAL,
            occurred_at=town.clock.now(),
            received_at=town.clock.now(),
            detail={},
        )
        async with town.database.transaction() as session:
            assert await telemetry.record(session, [event]) == [event]
        node = await town.view(offer.node_id)
        assert node.duty is (Duty.DRAINING if gpus == 1 else Duty.IN_SERVICE)
        assert await town.moves.run_once() == 1, "the job that holds it, and no other"
        assert (await town.placement(jobs[0].id)).desired == "stop"
        await town.stopped(jobs[0])
        for job, placement in zip(jobs[1:], runs[1:], strict=True):
            assert (await town.placement(job.id)).id == placement.id
            assert (await town.placement(job.id)).desired == "run"
        async with town.database.transaction() as session:
            await town.jobs.request_stop(session, jobs[0].id, "by_renter")


# --- the replacement pool ---------------------------------------------------------------------------------------


async def test_the_pool_takes_only_who_lost_his_node_and_him_before_the_market(town: Town) -> None:
    owner, renter = await town.person("Otto"), await town.renter()
    first = await town.machine(owner, price=100_000)
    pool = await town.machine(owner, price=900_000)
    async with town.database.transaction() as session:
        await town.nodes.set_pool(session, pool.node_id, owner_id=owner, in_pool=True)
    job = await town.submit(renter)
    placement = await town.running(job)
    assert placement.offer_id == first.id
    other = await town.submit(renter)
    assert (await town.job(other.id)).state is JobState.QUEUED
    assert any(hint["kind"] == "pool" for hint in (await town.waiting(other))["hints"])
    await town.machine(owner, price=150_000)
    async with town.database.transaction() as session:
        await town.jobs.record_node_lost(session, placement.node_id, 5.0)
        await town.nodes.record_liveness(
            session, placement.node_id, session_no=1, liveness=Liveness.LOST, at=town.clock.now()
        )
    await town.placing.run_once()
    assert (await town.placement(job.id)).offer_id == pool.id


@pytest.mark.parametrize("alone", [False, True])
async def test_h24_a_flapping_node_moves_its_job_three_times_at_most_and_then_is_quarantined(
    town: Town, alone: bool
) -> None:
    """24 hours of a node that is lost every 20 s while it is in service. With another one to go to the job moves at most
    three times in all; with none it is back there after each quarantine, which lasts twice as long each time."""
    owner, renter = await town.person("Otto"), await town.renter()
    flapping = await town.machine(owner, price=100_000)
    if not alone:
        await town.machine(owner, price=900_000)
    machine = facts(hostname=(await town.view(flapping.node_id)).name)
    router = Router(town.market, town.jobs, BookingCapacity(town.market, town.billing), town.clock)
    placing = PlacingLoop(town.database, town.jobs, router)
    job = await town.submit(renter)
    ends = town.clock.now() + timedelta(hours=24)
    flaps = quarantines = 0
    while town.clock.now() < ends:
        session_no = await town.connect(flapping.node_id, machine)
        if (await town.job(job.id)).state is JobState.RECOVERING:
            await town.due_now(job)
            await placing.run_once()
        if (await town.job(job.id)).state is JobState.STARTING:
            await town.running(job)
        town.clock.advance(20)
        async with town.database.transaction() as session:
            await town.jobs.lock_on_node(session, flapping.node_id)
            await town.nodes.record_liveness(
                session,
                flapping.node_id,
                session_no=session_no,
                liveness=Liveness.LOST,
                at=town.clock.now(),
            )
            await town.jobs.record_node_lost(session, flapping.node_id, 5.0)
        flaps += 1
        await placing.run_once()
        node = await town.view(flapping.node_id)
        if node.quarantined_until is not None:
            quarantines += 1
            town.clock.current = max(town.clock.now(), node.quarantined_until)
            await town.duties.run_once()
    found = await town.job(job.id)
    moves = found.epoch - 1
    assert (flaps, quarantines) == (21, 7)
    assert moves <= 3 * (quarantines if alone else 1), f"{moves} moves"
    assert not found.state.is_final


# --- a chosen offer that is held ------------------------------------------------------------------------------


async def test_a_chosen_offer_that_is_held_says_when_it_comes_free_and_who_would_make_room(
    town: Town,
) -> None:
    owner, renter, other = await town.person("Otto"), await town.renter(), await town.renter()
    offer = await town.machine(owner)
    cheap = await town.submit(renter, kind="interruptible")
    placement = await town.running(cheap)
    with pytest.raises(OfferTaken) as refused:
        await town.submit(other, offer.id)
    ends_by = (await town.job(cheap.id)).started_at
    assert ends_by is not None
    ends_by += timedelta(seconds=cheap.spec.duration_s_max)
    assert refused.value.extra == {"free_by": ends_by.isoformat(), "makes_room": True}
    assert f"by {ends_by:%Y-%m-%d %H:%M} UTC at the latest" in refused.value.detail
    assert "60 s of notice" in refused.value.detail
    assert await town.moves.run_once() == 0, "nobody is told to leave for a booking that was not made"
    # What it says is so: without a chosen offer the job gets the GPU.
    wanted = await town.submit(other)
    assert await town.moves.run_once() == 1
    await town.notice_over(cheap)
    await town.stopped(cheap)
    await town.capacity.run_once()
    await town.placing.run_once()
    assert (await town.placement(wanted.id)).node_id == placement.node_id

    # An on-demand job makes room for nobody.
    with pytest.raises(OfferTaken) as held:
        await town.submit(renter, offer.id)
    assert held.value.extra.keys() == {"free_by"}
    with pytest.raises(OfferTaken) as interruptible:
        await town.submit(renter, offer.id, kind="interruptible")
    assert "makes_room" not in interruptible.value.extra
