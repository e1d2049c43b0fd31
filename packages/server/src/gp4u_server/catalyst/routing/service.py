"""Placing jobs: decide, reserve, place, and remember why."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.jobs.service import JobService
from gp4u_server.catalyst.jobs.views import JobView
from gp4u_server.catalyst.routing import repository
from gp4u_server.catalyst.routing.decisions import (
    PASSING,
    Candidate,
    Limit,
    Need,
    counts_by_reason,
    need_of,
    retry_pause,
    summary_of_choice,
    summary_of_waiting,
    weigh,
)
from gp4u_server.catalyst.routing.errors import RequirementsNotMet
from gp4u_server.catalyst.routing.models import RoutingDecisionRow
from gp4u_server.catalyst.routing.ports import Capacity, Footprint, Reservation
from gp4u_server.kit.clock import Clock
from gp4u_server.kit.ids import new_id
from gp4u_server.market.errors import OfferTaken
from gp4u_server.market.service import MarketService

ATTEMPTS_MAX = 8
"""Offers that are tried when others are faster, before the job waits for the next round."""
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
        offers = await self.market.candidates(
            session, job.spec.resources, runtime=job.spec.runtime, offer_id=chosen_offer_id
        )
        candidates = weigh(need, offers)
        if chosen_offer_id is not None:
            _refuse_unfit(candidates[0])
        taken, reservation = await self._reserve(session, job, need, candidates, now)
        took_ms = (self.clock.monotonic_s() - began_s) * 1000
        if taken is None or reservation is None:
            if chosen_offer_id is not None:
                raise OfferTaken("Somebody was faster: this offer has not enough free GPUs any more.")
            return await self._wait(session, job, need, candidates, now, took_ms)
        summary = summary_of_choice(taken, candidates)
        decision_id = await self._remember(session, job, summary, candidates, taken, now, took_ms)
        placement = await self.jobs.create_placement(
            session,
            job,
            offer=taken.offer,
            booking_id=reservation.booking_id,
            device_uuids=reservation.device_uuids,
            rate_per_hour_micros=reservation.rate_per_hour_micros,
            decision={"id": decision_id, "summary": summary},
            now=now,
        )
        return PlaceResult(
            placed=True,
            job_id=job_id,
            summary=summary,
            decision_id=decision_id,
            placement_id=placement.id,
            epoch=placement.epoch,
            node_id=placement.node_id,
            offer_id=placement.offer_id,
            booking_id=placement.booking_id,
        )

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
        )

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

    async def _wait(
        self,
        session: AsyncSession,
        job: JobView,
        need: Need,
        candidates: list[Candidate],
        now: datetime,
        took_ms: float,
    ) -> PlaceResult:
        summary = summary_of_waiting(need, candidates)
        decision_id = None
        if summary != job.detail:  # the same answer every few seconds is one decision, not a thousand
            decision_id = await self._remember(session, job, summary, candidates, None, now, took_ms)
        retry_at = now + retry_pause(job.attempts)
        await self.jobs.record_waiting(
            session,
            job,
            detail={"summary": summary, "failed": counts_by_reason(candidates)},
            retry_at=retry_at,
        )
        return PlaceResult(False, job.id, summary, decision_id=decision_id, retry_at=retry_at)

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
            epoch=job.epoch + 1,
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


def _refuse_unfit(candidate: Candidate) -> None:
    lasting = [sentence for limit, sentence in candidate.failed if limit not in (*PASSING, Limit.NOT_LISTED)]
    if lasting:
        raise RequirementsNotMet(f"This offer cannot run the job: {'; '.join(lasting)}.")
    if candidate.failed:
        raise OfferTaken(f"This offer cannot be booked now: {candidate.excluded_because}.")


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
