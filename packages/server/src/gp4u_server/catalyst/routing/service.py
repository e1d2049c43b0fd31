"""Placing jobs: decide, reserve, place, and remember why."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from gp4u_protocol.job_spec import CheckpointSource
from gp4u_protocol.transparent import TransparentFacts, why_not_restorable
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.jobs.decisions import STOP_OVERDUE_S
from gp4u_server.catalyst.jobs.notice import LiveRun
from gp4u_server.catalyst.jobs.service import JobService
from gp4u_server.catalyst.jobs.views import JobView, PlacementView
from gp4u_server.catalyst.routing import repository
from gp4u_server.catalyst.routing.chosen import is_busy, refusal
from gp4u_server.catalyst.routing.decisions import (
    PASSING,
    Candidate,
    Limit,
    Need,
    counts_by_reason,
    need_of,
    put_first,
    retry_pause,
    saved_whole,
    summary_of_choice,
    weigh,
)
from gp4u_server.catalyst.routing.models import RoutingDecisionRow
from gp4u_server.catalyst.routing.ports import Capacity, FirstChoice, Footprint, Reservation
from gp4u_server.catalyst.routing.room import may_make_room, room_for
from gp4u_server.catalyst.routing.waiting import Circumstances, Hint, hints, making_room, summary
from gp4u_server.kit.clock import Clock
from gp4u_server.kit.ids import new_id
from gp4u_server.market.errors import OfferTaken
from gp4u_server.market.service import MarketService
from gp4u_server.market.types import OfferView
from gp4u_server.nodes.types import ReservedDevice

ATTEMPTS_MAX = 8
"""Offers that are tried when others are faster, before the job waits for the next round."""
ROOM_NODES_MAX = 10
HINTED_NODES_MAX = 10
HINTED = PASSING | {Limit.OTHER_NODE}
CANDIDATES_STORED_MAX = 50
DECISIONS_SHOWN_MAX = 50


@dataclass(frozen=True)
class PlaceResult:
    """What came of one attempt. `placed` False with `retry_at` set: nothing fits now; None: nothing to place."""

    placed: bool
    job_id: str
    summary: str
    decision_id: str | None = None
    placement_id: str | None = None
    epoch: int | None = None
    node_id: str | None = None
    offer_id: str | None = None
    booking_id: str | None = None
    retry_at: datetime | None = None


@dataclass(frozen=True)
class Router:
    """Chooses where a job runs."""

    market: MarketService
    jobs: JobService
    capacity: Capacity
    clock: Clock
    footprint: Footprint | None = None
    first_choice: FirstChoice | None = None
    notice_s: float = 60.0

    async def place(self, session: AsyncSession, job_id: str, *, now: datetime | None = None) -> PlaceResult:
        """Place a waiting job, in the caller's transaction. Harmless when the job does not wait (any more).

        A job that was submitted with a chosen offer (`job.offer_id`) and never ran is placed there or not at all:
        OfferTaken and RequirementsNotMet are raised, so the submission is refused as a whole. Otherwise nothing that
        fits is an outcome, not an error. DomainErrors of `Capacity.reserve` (insufficient funds) and UnknownModel
        pass through.
        """
        began_s = self.clock.monotonic_s()
        now = now or self.clock.now()
        job = await self.jobs.lock_for_placing(session, job_id)
        if job is None:
            return PlaceResult(False, job_id, "The job does not wait for a placement.")
        chosen_offer_id = job.offer_id if job.epoch == 0 else None
        need = await self._need(session, job, now)
        kept = await self.market.nodes.reservation_of(session, job.id)
        if kept and not any(device.in_use for device in kept):
            # The room that was made for it is empty. From here to the commit the node is locked: nobody slips in between.
            await self.market.nodes.release_reservation(session, job.id)
            kept = []
        offers = await self.market.candidates(
            session, job.spec.resources, runtime=job.spec.runtime, offer_id=chosen_offer_id
        )
        need = await self._with_dump(session, job, need, offers)
        candidates = weigh(need, offers)
        prepared = await self.first_choice.first_choice(session, job) if self.first_choice else None
        if prepared is not None:
            candidates = put_first(candidates, prepared)
        if chosen_offer_id is not None:
            await self._refuse_unfit(session, need, candidates[0])
        taken, reservation = await self._reserve(session, job, need, candidates, now)
        took_ms = (self.clock.monotonic_s() - began_s) * 1000
        if taken is None or reservation is None:
            if chosen_offer_id is not None:
                raise OfferTaken("Somebody was faster: this offer has not enough free GPUs any more.")
            room = await self._room(session, job, need, candidates, kept, now)
            return await self._wait(session, job, need, candidates, room, now, took_ms)
        if kept:
            await self.market.nodes.release_reservation(session, job.id)  # it needs no room any more
        chosen_because = summary_of_choice(taken, candidates, is_prepared=taken.offer.node_id == prepared)
        decision_id = await self._remember(session, job, chosen_because, candidates, taken, now, took_ms)
        placement = await self.jobs.create_placement(
            session,
            job,
            offer=taken.offer,
            booking_id=reservation.booking_id,
            device_uuids=reservation.device_uuids,
            rate_per_hour_micros=reservation.rate_per_hour_micros,
            transparent=saved_whole(need, taken.offer),
            decision={"id": decision_id, "summary": chosen_because},
            now=now,
        )
        if self.first_choice is not None:
            await self.first_choice.placed(session, job, placement.node_id)
        return PlaceResult(
            placed=True,
            job_id=job_id,
            summary=chosen_because,
            decision_id=decision_id,
            placement_id=placement.id,
            epoch=placement.epoch,
            node_id=placement.node_id,
            offer_id=placement.offer_id,
            booking_id=placement.booking_id,
        )

    async def weigh_for_move(
        self, session: AsyncSession, job: JobView, placement: PlacementView, now: datetime
    ) -> list[Candidate]:
        """Where a running job would go if it had to move now: every offer with its numbers, the best first.

        Nothing is reserved. The node that the job runs on is among them; what it may not be chosen for is the caller's.
        """
        need = await self._need(session, job, now)
        need = replace(need, is_replacement=True, home_region=placement.region)
        offers = await self.market.candidates(session, job.spec.resources, runtime=job.spec.runtime)
        return weigh(await self._with_dump(session, job, need, offers), offers)

    async def decisions_of(self, session: AsyncSession, job_id: str) -> Sequence[RoutingDecisionRow]:
        """Decisions about a job, newest first, at most fifty. The caller has checked whose job it is."""
        return await repository.decisions_of(session, job_id, DECISIONS_SHOWN_MAX)

    async def _need(self, session: AsyncSession, job: JobView, now: datetime) -> Need:
        last = await self.jobs.newest_placement(session, job.id) if job.epoch else None
        setbacks = await self.jobs.setbacks(session, job.id) if job.epoch else []
        fetched = await self.footprint.bytes_to_fetch(session, job) if self.footprint else 0
        return need_of(
            job.spec,
            models=self.market.models_of(job.spec.resources),
            setbacks=[(setback.node_id, (now - setback.at).total_seconds()) for setback in setbacks],
            progress=job.progress,
            bytes_to_fetch=fetched,
            home_region=last.region if last else None,
            home_node_id=last.node_id if last else None,
            is_replacement=last is not None and job.started_at is not None,
            ends_by=(job.started_at or now) + timedelta(seconds=job.spec.duration_s_max),
        )

    async def _with_dump(
        self, session: AsyncSession, job: JobView, need: Need, offers: Sequence[OfferView]
    ) -> Need:
        """The need of a job that goes on from a dump of the whole: which nodes cannot restore it, and why."""
        saves_whole = job.spec.checkpoint.source is not CheckpointSource.APPLICATION
        dumped_on = await self.footprint.dumped_on(session, job) if self.footprint and saves_whole else None
        if dumped_on is None:
            return need
        nodes = await self.market.nodes.transparent_facts(session, {offer.node_id for offer in offers})
        reasons = {
            offer.node_id: why_not_restorable(
                dumped_on, (nodes.get(offer.node_id) or TransparentFacts()).of(job.spec.image)
            )
            for offer in offers
        }
        return replace(need, unrestorable={node_id: why for node_id, why in reasons.items() if why})

    async def _reserve(
        self, session: AsyncSession, job: JobView, need: Need, candidates: list[Candidate], now: datetime
    ) -> tuple[Candidate | None, Reservation | None]:
        """Try the best candidates in turn; those that were taken meanwhile are marked in `candidates`."""
        for place, candidate in enumerate(candidates[:ATTEMPTS_MAX]):
            if not candidate.fits:
                break
            try:
                # The savepoint gives back the locks of a failed try, so that no two routers wait for each other.
                async with session.begin_nested():
                    reservation = await self.capacity.reserve(
                        session,
                        job=job,
                        offer=candidate.offer,
                        gpus=job.spec.resources.gpus,
                        now=now,
                    )
                    cap = need.rate_cap_micros
                    if cap is not None and reservation.rate_per_hour_micros > cap:
                        raise OfferTaken("The offer has just become dearer than the job allows.")
            except OfferTaken:
                candidates[place] = candidate.without(Limit.TAKEN, "somebody took it while this was decided")
            else:
                return candidate, reservation
        return None, None

    async def _room(
        self,
        session: AsyncSession,
        job: JobView,
        need: Need,
        candidates: list[Candidate],
        kept: list[ReservedDevice],
        now: datetime,
    ) -> Hint | None:
        """Have interruptible runs make room for an on-demand job that fits nowhere else, or say that they are at it.

        Only marks the GPUs as kept for this job: the runs have rows of their own to lock, and get their notice from the
        failover loop (catalyst.failover.moves).
        """
        if kept:
            names = {candidate.offer.node_id: candidate.offer.node_name for candidate in candidates}
            until = kept[0].until - timedelta(seconds=STOP_OVERDUE_S)
            return making_room(names.get(kept[0].node_id, "its node"), sum(d.in_use for d in kept), until)
        may = [candidate.offer.node_id for candidate in may_make_room(need, candidates)][:ROOM_NODES_MAX]
        runs = _by_node(await self.jobs.runs_on(session, may))
        free = {}
        for candidate in candidates:
            if candidate.offer.node_id in may:
                node = await self.market.nodes.view(session, candidate.offer.node_id)
                free[node.id] = [
                    device.uuid
                    for device in node.devices
                    if device.is_free and device.model == candidate.offer.gpu_model
                ]
        room = room_for(need, candidates, runs, free)
        if room is None:
            return None
        deadline = now + timedelta(seconds=self.notice_s)
        if not await self.market.nodes.reserve_devices(
            session,
            room.candidate.offer.node_id,
            room.device_uuids,
            job.id,
            deadline + timedelta(seconds=STOP_OVERDUE_S),
        ):
            return None
        return making_room(room.candidate.offer.node_name, len(room.leaving), deadline)

    async def _refuse_unfit(self, session: AsyncSession, need: Need, chosen: Candidate) -> None:
        runs: list[LiveRun] = []
        free: list[str] = []
        if is_busy(chosen):
            node = await self.market.nodes.view(session, chosen.offer.node_id)
            mine = [device for device in node.devices if device.model == chosen.offer.gpu_model]
            uuids = {device.uuid for device in mine}
            free = [device.uuid for device in mine if device.is_free]
            runs = [run for run in await self.jobs.runs_on(session, [node.id]) if uuids & {*run.device_uuids}]
        refused = refusal(chosen, need, free, runs, self.notice_s)
        if refused is not None:
            raise refused

    async def _circumstances(self, session: AsyncSession, candidates: list[Candidate]) -> Circumstances:
        """How the nodes are that waiting may free, at most a handful."""
        passing = [
            candidate.offer.node_id
            for candidate in candidates
            if candidate.failed and all(limit in HINTED for limit, _ in candidate.failed)
        ][:HINTED_NODES_MAX]
        if not passing:
            return Circumstances()
        return Circumstances(
            nodes=await self.market.nodes.views(session, passing),
            runs=_by_node(await self.jobs.runs_on(session, passing)),
        )

    async def _wait(
        self,
        session: AsyncSession,
        job: JobView,
        need: Need,
        candidates: list[Candidate],
        room: Hint | None,
        now: datetime,
        took_ms: float,
    ) -> PlaceResult:
        found = hints(need, candidates, await self._circumstances(session, candidates))
        if room is not None:
            found = [room, *(hint for hint in found if hint.kind == "price")]
        said = summary(need, found)
        decision_id = None
        if said != job.detail:  # the same answer every few seconds is one decision, not a thousand
            decision_id = await self._remember(session, job, said, candidates, None, now, took_ms)
        retry_at = now + retry_pause(job.attempts)
        await self.jobs.record_waiting(
            session,
            job,
            detail={
                "summary": said,
                "failed": counts_by_reason(candidates),
                "hints": [hint.document() for hint in found],
            },
            retry_at=retry_at,
        )
        return PlaceResult(False, job.id, said, decision_id=decision_id, retry_at=retry_at)

    async def _remember(
        self,
        session: AsyncSession,
        job: JobView,
        summary: str,
        candidates: list[Candidate],
        chosen: Candidate | None,
        now: datetime,
        took_ms: float,
    ) -> str:
        decision_id = new_id("dec")
        await repository.insert_decision(
            session,
            id=decision_id,
            job_id=job.id,
            epoch=job.next_epoch,
            at=now,
            took_ms=round(took_ms, 3),
            offer_id=chosen.offer.id if chosen else None,
            summary=summary,
            candidates_count=len(candidates),
            candidates=[
                _stored(candidate, candidate is chosen) for candidate in candidates[:CANDIDATES_STORED_MAX]
            ],
            failed_counts=counts_by_reason(candidates),
        )
        return decision_id


def _by_node(runs: Sequence[LiveRun]) -> dict[str, list[LiveRun]]:
    found: dict[str, list[LiveRun]] = {}
    for run in runs:
        found.setdefault(run.node_id, []).append(run)
    return found


def _stored(candidate: Candidate, chosen: bool) -> dict[str, Any]:
    offer = candidate.offer
    return {
        "offer_id": offer.id,
        "node_id": offer.node_id,
        "node_name": offer.node_name,
        "gpu_model": offer.gpu_model,
        "region": offer.region,
        "chosen": chosen,
        "excluded_because": candidate.excluded_because,
        "rate_per_hour_micros": candidate.rate_per_hour_micros,
        "expected_run_s": candidate.expected_run_s,
        "hazard_per_hour": offer.hazard_per_hour,
        "expected_loss_micros": candidate.expected_loss_micros,
        "data_movement_micros": candidate.data_movement_micros,
        "setback_micros": candidate.setback_micros,
        "expected_cost_micros": candidate.expected_cost_micros,
    }
