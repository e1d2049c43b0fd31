"""Use cases of standbys. Every change of a standby is made while its job's row is locked.

One look does at most one thing that touches accounts, because two meters' accounts in one transaction could be taken
against the order of locks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from gp4u_protocol.messages import RestorePoint, StandbyReport, StandbySpec
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.jobs.transitions import NODE_DESIRED_CHANNEL, db_now, notify
from gp4u_server.catalyst.jobs.types import EventKind, JobState, PlacementState
from gp4u_server.catalyst.jobs.views import JobView, PlacementView
from gp4u_server.catalyst.standby import decisions, repository
from gp4u_server.catalyst.standby.decisions import Finding, Look, NoneFits
from gp4u_server.catalyst.standby.errors import StandbyNotFound
from gp4u_server.catalyst.standby.models import Standby
from gp4u_server.catalyst.standby.ports import Objects, Scoring
from gp4u_server.catalyst.standby.succession import Succession
from gp4u_server.catalyst.standby.types import EndReason, StandbyState, StandbyTerms
from gp4u_server.kit.errors import DomainError, Kind
from gp4u_server.kit.ids import new_id
from gp4u_server.market.errors import OfferNotFound
from gp4u_server.market.service import MarketService
from gp4u_server.market.types import OfferState
from gp4u_server.nodes.errors import NodeNotFound
from gp4u_server.nodes.service import NodeService
from gp4u_server.nodes.types import Liveness


@dataclass(frozen=True)
class StandbyService(Succession):
    """What the controller, the gateway and the api do with standbys."""

    nodes: NodeService
    market: MarketService
    scoring: Scoring
    objects: Objects
    terms: StandbyTerms

    # --- the controller ------------------------------------------------------------------------------------

    async def look_at(self, session: AsyncSession, job_id: str) -> bool:
        """One look at a hot job that is due: choose a standby, prove it, or end it. False: it was not due (any more)."""
        job = await self.jobs.lock(session, job_id)
        now = await db_now(session)
        watch = await repository.watch_of(session, job_id)
        if job is None or watch is None or watch.next_at > now:
            return False
        over = await repository.unsettled(session, job_id)
        if over is not None:
            assert over.ended_at is not None
            await self.money.end(session, over.id, over.ended_at)
            over.settled_at = now
            await session.flush()
            await repository.put_off(session, job_id, now)
            return True
        live = await repository.live_of(session, job_id)
        if job.state.is_final or job.stop_reason is not None:
            if live is not None:
                await self._end(session, job, live, EndReason.JOB_ENDED, now)
                await repository.put_off(session, job_id, now)
            elif job.state.is_final:
                await repository.unwatch(session, job_id)
            else:
                await repository.put_off(session, job_id, now + timedelta(seconds=decisions.LOOK_EVERY_S))
            return True
        placement = await self.jobs.newest_placement(session, job_id)
        if placement is None or job.state is not JobState.RUNNING:
            # Its node is lost, or it moves: the standby is what failover looks for first.
            await repository.put_off(session, job_id, now + timedelta(seconds=decisions.LOOK_EVERY_S))
        elif live is not None:
            await self._prove(session, job, live, now)
        elif placement.state is PlacementState.RUNNING:
            await self._choose(session, job, placement, watch.failures, watch.why_none, now)
        else:
            await repository.put_off(session, job_id, now + timedelta(seconds=decisions.LOOK_EVERY_S))
        return True

    async def due(self, session: AsyncSession, limit: int) -> list[str]:
        """Jobs to look at now."""
        return await repository.due(session, limit)

    async def put_off(self, session: AsyncSession, job_id: str, pause_s: float) -> None:
        """A look failed: try again after `pause_s`, so that others have their turn."""
        now = await db_now(session)
        await repository.put_off(session, job_id, now + timedelta(seconds=pause_s))

    async def _prove(self, session: AsyncSession, job: JobView, live: Standby, now: datetime) -> None:
        finding, reason = decisions.judge(await self._look(session, job, live), now)
        if finding is Finding.LEAVE:
            assert reason is not None
            await self._end(session, job, live, reason, now)
            await repository.put_off(session, job.id, now)
            return
        was_ready = live.state == StandbyState.READY.value
        if finding is Finding.READY:
            if not was_ready:
                first = live.proven_at is None
                live.state, live.ready_since = StandbyState.READY.value, now
                await self.money.ready(session, live.id, now)
                if first:
                    await self._tell(
                        session, job, live, f"{live.node_name} stands by, ready to take over", now
                    )
            live.proven_at = now
        elif was_ready:
            await self._not_ready(session, live)
        if live.behind_since is not None and now - live.behind_since > timedelta(
            seconds=decisions.LOOK_EVERY_S
        ):
            # What told its gateway of the newest checkpoint may have been lost; a raised version is found by the poll.
            await session.flush()
            await self.nodes.bump_desired(session, live.node_id)
        await session.flush()
        await repository.put_off(session, job.id, now + timedelta(seconds=decisions.LOOK_EVERY_S))

    async def _look(self, session: AsyncSession, job: JobView, live: Standby) -> Look:
        stands, wavers, free = False, False, 0
        try:
            offer = await self.market.offer(session, live.offer_id)
            stands, free = offer.node_ready and offer.state is OfferState.LISTED, offer.gpus_free
            if not offer.node_ready:
                node = await self.nodes.view(session, live.node_id)
                wavers = node.liveness is Liveness.SUSPECT
        except (OfferNotFound, NodeNotFound):
            pass
        return Look(
            offer_stands=stands,
            node_wavers=wavers,
            gpus_free=free,
            gpus=live.gpus,
            prepared=live.prepared,
            held=held_by(live),
            newest=own_checkpoint(job),
            behind_since=live.behind_since,
            chosen_at=live.chosen_at,
            was_ready=live.state == StandbyState.READY.value,
            was_ever_ready=live.proven_at is not None,
        )

    async def _choose(
        self,
        session: AsyncSession,
        job: JobView,
        placement: PlacementView,
        failures: int,
        told: str | None,
        now: datetime,
    ) -> None:
        candidates = await self.scoring.weigh_for_move(session, job, placement, now)
        choice = decisions.choose(
            candidates,
            gpus=job.spec.resources.gpus,
            home_node_id=placement.node_id,
            home_rate_micros=placement.rate_per_hour_micros,
            rate_bps=self.terms.rate_bps,
            per_hour_micros_max=job.spec.budget.per_hour_micros_max,
            spoken_for=await repository.spoken_for(session),
            unprepared=await repository.unprepared_nodes(session, job.id),
        )
        if isinstance(choice, NoneFits):
            await self._none(session, job, choice.why, failures, told, now)
            return
        offer, number = choice.scored.offer, await repository.next_number(session, job.id)
        try:
            async with session.begin_nested():
                live = await repository.insert(
                    session,
                    id=new_id("sby"),
                    job_id=job.id,
                    number=number,
                    booking_id=placement.booking_id,
                    offer_id=offer.id,
                    node_id=offer.node_id,
                    node_name=offer.node_name,
                    region=offer.region,
                    gpu_model=offer.gpu_model,
                    gpus=job.spec.resources.gpus,
                    rate_per_hour_micros=choice.rate_per_hour_micros,
                    state=StandbyState.PREPARING.value,
                    behind_since=now if own_checkpoint(job) is not None else None,
                )
                await self.nodes.bump_desired(session, offer.node_id)
                await notify(session, NODE_DESIRED_CHANNEL, offer.node_id)
                await self.money.open(
                    session,
                    standby_id=live.id,
                    number=number,
                    job=job,
                    booking_id=placement.booking_id,
                    offer=offer,
                    rate_per_hour_micros=choice.rate_per_hour_micros,
                )
        except DomainError as refusal:
            if refusal.kind is not Kind.PAYMENT_REQUIRED:
                raise
            await self._none(session, job, "There is no money left for a standby.", failures, told, now)
            return
        await self._tell(session, job, live, f"{offer.node_name} prepares to stand by", now)
        await repository.put_off(
            session, job.id, now + timedelta(seconds=decisions.LOOK_EVERY_S), failures=0, why_none=None
        )

    async def _none(
        self, session: AsyncSession, job: JobView, why: str, failures: int, told: str | None, now: datetime
    ) -> None:
        if why != told:
            await self.jobs.tell(
                session,
                job.id,
                EventKind.STANDBY,
                "No standby",
                sentence=f"{why} The job runs with ordinary protection, and no standby is charged.",
            )
        await repository.put_off(
            session, job.id, now + decisions.none_retry(failures + 1), failures=failures + 1, why_none=why
        )

    # --- the gateway ---------------------------------------------------------------------------------------

    async def wanted_on_node(self, session: AsyncSession, node_id: str) -> list[StandbySpec]:
        """What the node is to keep at hand: a part of `Desired`."""
        specs = []
        for live in await repository.live_on_node(session, node_id):
            job = await self.jobs.get(session, live.job_id)
            specs.append(
                StandbySpec(
                    standby_id=live.id,
                    job_id=job.id,
                    checkpoint=own_checkpoint(job),
                    image=job.spec.image,
                    upload_id=job.spec.upload_id,
                    disk_mb=job.spec.resources.disk_gb * 1024,
                    held=held_by(live),
                    ready=live.prepared,
                )
            )
        return specs

    async def wanted_on_nodes(
        self, session: AsyncSession, node_ids: Sequence[str]
    ) -> dict[str, list[StandbySpec]]:
        """The same of several nodes."""
        busy = await repository.standing_by(session, node_ids)
        return {
            node_id: await self.wanted_on_node(session, node_id) if node_id in busy else []
            for node_id in node_ids
        }

    async def record_report(self, session: AsyncSession, node_id: str, report: StandbyReport) -> None:
        """What the node says of its standby. Anybody else's, or one that is over, changes nothing."""
        found = await repository.get(session, report.standby_id)
        if found is None or found.node_id != node_id:
            return
        job = await self.jobs.lock(session, found.job_id)
        live = await repository.get(session, report.standby_id)
        if job is None or live is None or live.state == StandbyState.ENDED.value:
            return
        now = await db_now(session)
        newest = own_checkpoint(job)
        held = report.held
        if held is not None and newest is not None and (held.epoch, held.seq) > (newest.epoch, newest.seq):
            return  # no node can hold what was never committed
        live.prepared, live.problem = report.ready, report.problem
        live.bytes_held, live.fetched_bytes = report.bytes_held, report.fetched_bytes
        live.held_at = now
        live.held_checkpoint_id = held.checkpoint_id if held else None
        live.held_epoch, live.held_seq = (held.epoch, held.seq) if held else (None, None)
        if held is not None and newest is not None:
            is_newest = decisions.is_at_least(held, newest)
            live.behind_since = None if is_newest else (job.checkpoint_at or now)
        await session.flush()
        await notify(session, NODE_DESIRED_CHANNEL, node_id)
        await self.look_soon(session, job.id, now)

    # --- the api -------------------------------------------------------------------------------------------

    async def find_objects(self, session: AsyncSession, node_id: str, standby_id: str) -> tuple[str, object]:
        """The job, and what `objects.sign` takes, for the node that stands by. Raises StandbyNotFound."""
        live = await repository.get(session, standby_id)
        if live is None or live.node_id != node_id or live.state == StandbyState.ENDED.value:
            raise StandbyNotFound("This node has no such standby.")
        job = await self.jobs.get(session, live.job_id)
        newest = own_checkpoint(job)
        found = await self.objects.find(session, job, newest.checkpoint_id if newest else None)
        return job.id, found


def held_by(live: Standby) -> RestorePoint | None:
    """The checkpoint that the node says it holds complete."""
    if live.held_checkpoint_id is None or live.held_epoch is None or live.held_seq is None:
        return None
    return RestorePoint(checkpoint_id=live.held_checkpoint_id, epoch=live.held_epoch, seq=live.held_seq)


def own_checkpoint(job: JobView) -> RestorePoint | None:
    """The job's newest checkpoint. What a fork begins with is another job's, and not kept at hand (epoch 0)."""
    return job.restore if job.restore is not None and job.restore.epoch > 0 else None
