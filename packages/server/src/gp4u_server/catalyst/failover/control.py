"""Placing what is due, ending what is overdue."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Protocol

import structlog
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.failover import repository
from gp4u_server.catalyst.jobs.service import JobService
from gp4u_server.catalyst.jobs.transitions import WORK_CHANNEL
from gp4u_server.kit.db import Database
from gp4u_server.kit.errors import DomainError, Kind
from gp4u_server.nodes.errors import NodeNotFound
from gp4u_server.nodes.service import NodeService

log = structlog.get_logger(__name__)

PLACING_BATCH = 50
PLACING_AT_ONCE = 4
LIMITS_BATCH = 50
SIGNALS_BATCH = 100
WOKEN_PER_NODE = 50
REFUSED_RETRY_S = 15.0
COLLISION_RETRY_S = 0.5
TROUBLE_RETRY_S = 30.0
"""A job whose placing raised something unforeseen is put off this long, so that it cannot keep others waiting."""
UNCLAIMED_AFTER_S = 8.0
"""An online node claims within a round trip; one that is silent is lost before this."""


class Placer(Protocol):
    """Chooses and books a node for a waiting job (catalyst.routing has it)."""

    async def place(self, session: AsyncSession, job_id: str) -> object:
        """Place the job in the caller's transaction, or record that nothing fits now. Raises DomainError."""
        ...


class Gate(Protocol):
    """Whether epochs may be given out (foundation.incarnation_watch has it)."""

    async def may_place(self, session: AsyncSession) -> bool:
        """In the transaction that would give one out."""
        ...


@dataclass(frozen=True)
class PlacingLoop:
    """Settles what lost runs left open, then places queued and recovering jobs whose time has come.

    Everything is one job a transaction: a job that cannot be settled or placed is put off and holds back no other,
    also not one that was lost with it on the same node. Settling and placing are two transactions, because the first
    ends at accounts and the second begins at a node (see the order of locks in docs/architecture.md).
    """

    database: Database
    jobs: JobService
    placer: Placer
    gate: Gate | None = None
    name: str = "placing"
    interval_s: float = 0.5
    channels: tuple[str, ...] = (WORK_CHANNEL,)

    async def run_once(self) -> int:
        """One batch; returns how many were due."""
        async with self.database.transaction() as session:
            lost = await self.jobs.unsettled_losses(session, PLACING_BATCH)
            # What is lost is settled; where it goes on is decided when the database is known to have forgotten nothing.
            is_open = self.gate is None or await self.gate.may_place(session)
            due = await self.jobs.due_for_placing(session, PLACING_BATCH) if is_open else []
        turns = asyncio.Semaphore(PLACING_AT_ONCE)

        async def one(job_id: str, is_settled: bool) -> None:
            async with turns:
                if is_settled or await self._settle(job_id):
                    await self._place(job_id)

        await asyncio.gather(*(one(job_id, False) for job_id in lost), *(one(job_id, True) for job_id in due))
        return len(lost) + len(due)

    async def _settle(self, job_id: str) -> bool:
        try:
            async with self.database.transaction() as session:
                await self.jobs.settle_loss(session, job_id)
        except Exception as error:
            pause_s = COLLISION_RETRY_S if isinstance(error, OperationalError) else TROUBLE_RETRY_S
            log.exception("settling_failed", job_id=job_id, pause_s=pause_s)
            try:
                async with self.database.transaction() as session:
                    await self.jobs.put_off_settling(session, job_id, pause_s)
            except Exception:
                log.exception("putting_off_failed", job_id=job_id)
            return False
        return True

    async def _place(self, job_id: str) -> None:
        try:
            async with self.database.transaction() as session:
                is_open = self.gate is None or await self.gate.may_place(session)
                if is_open and await self.jobs.lock_due(session, job_id):
                    await self.placer.place(session, job_id)
        except DomainError as refusal:
            await self._refused(job_id, refusal)
        except OperationalError:
            # Two transactions met (a deadlock, a lock that took too long) and the database ended ours: nothing is wrong
            # with the job, and it must not wait for half a minute.
            log.warning("placing_collided", job_id=job_id, exc_info=True)
            await self._put_off(job_id, "The platform is busy; it tries again at once.", COLLISION_RETRY_S)
        except Exception:
            log.exception("placing_failed", job_id=job_id)
            await self._put_off(
                job_id, "The platform could not place the job; it tries again.", TROUBLE_RETRY_S
            )

    async def _refused(self, job_id: str, refusal: DomainError) -> None:
        if refusal.kind is Kind.PAYMENT_REQUIRED:
            async with self.database.transaction() as session:
                # The job's own budget may be what is used up, and not the wallet.
                reason = refusal.code if refusal.code == "budget_reached" else "wallet_empty"
                await self.jobs.request_stop(session, job_id, reason)
            return
        await self._put_off(job_id, refusal.detail, REFUSED_RETRY_S)

    async def _put_off(self, job_id: str, why: str, retry_s: float) -> None:
        try:
            async with self.database.transaction() as session:
                job = await self.jobs.lock_for_placing(session, job_id)
                if job is not None:
                    now = (await session.execute(select(func.clock_timestamp()))).scalar_one()
                    await self.jobs.record_waiting(
                        session, job, detail={"summary": why}, retry_at=now + timedelta(seconds=retry_s)
                    )
        except Exception:
            log.exception("putting_off_failed", job_id=job_id)


@dataclass(frozen=True)
class AskedStopsLoop:
    """Begins stops that were asked for from inside a bill (`JobService.ask_stop`), one job a transaction."""

    database: Database
    jobs: JobService
    name: str = "asked_stops"
    interval_s: float = 1.0
    channels: tuple[str, ...] = (WORK_CHANNEL,)

    async def run_once(self) -> int:
        """One batch; returns how many stops began."""
        async with self.database.transaction() as session:
            asked = await self.jobs.asked_stops(session, LIMITS_BATCH)
        begun = 0
        for job_id in asked:
            try:
                async with self.database.transaction() as session:
                    begun += await self.jobs.begin_asked_stop(session, job_id)
            except Exception as error:
                pause_s = COLLISION_RETRY_S if isinstance(error, OperationalError) else TROUBLE_RETRY_S
                log.exception("asked_stop_failed", job_id=job_id, pause_s=pause_s)
                async with self.database.transaction() as session:
                    await self.jobs.put_off_asked_stop(session, job_id, pause_s)
        return begun


@dataclass(frozen=True)
class CapacityLoop:
    """Wakes jobs that wait for capacity when there is some. Without it they would sleep their pause out."""

    database: Database
    jobs: JobService
    nodes: NodeService
    name: str = "capacity"
    interval_s: float = 1.0
    channels: tuple[str, ...] = (WORK_CHANNEL,)

    async def run_once(self) -> int:
        """One batch of signals; returns how many jobs were woken. Work grows with what came free, not with what
        waits: at most WOKEN_PER_NODE jobs are tried again for each node."""
        woken = 0
        async with self.database.transaction() as session:
            for node_id in sorted(await repository.take_signals(session, SIGNALS_BATCH)):
                woken += await self._wake_those_it_is_kept_for(session, node_id)
                woken += await self._wake(session, node_id)
        return woken

    async def _wake_those_it_is_kept_for(self, session: AsyncSession, node_id: str) -> int:
        kept = await self.nodes.reserved_on(session, node_id)
        still_held = {device.job_id for device in kept if device.in_use}
        return await self.jobs.wake(session, sorted({device.job_id for device in kept} - still_held))

    async def _wake(self, session: AsyncSession, node_id: str) -> int:
        try:
            node = await self.nodes.view(session, node_id)
        except NodeNotFound:
            return 0
        free = [device for device in node.devices if device.is_free]
        if not node.is_usable or not free:
            return 0
        return await self.jobs.wake_waiting(
            session,
            gpus=len(free),
            vram_gb=max(device.vram_gb for device in free),
            region=node.region,
            limit=WOKEN_PER_NODE,
        )


@dataclass(frozen=True)
class LimitsLoop:
    """Ends what is overdue: longest durations, offers that nobody claims, stops that nobody confirms."""

    database: Database
    jobs: JobService
    name: str = "limits"
    interval_s: float = 1.0
    channels: tuple[str, ...] = ()

    async def run_once(self) -> int:
        """One batch of each. Every job in a transaction of its own: its end takes the ledger's accounts, and whoever holds
        those and then waits for another job's row waits in a circle with that job's own bill."""
        done = 0
        for step in (
            partial(self.jobs.stop_overdue, limit=1),
            partial(self.jobs.fail_unclaimed, after_s=UNCLAIMED_AFTER_S, limit=1),
            partial(self.jobs.end_overdue_stops, limit=1),
        ):
            for _ in range(LIMITS_BATCH):
                async with self.database.transaction() as session:
                    ended = await step(session)
                done += ended
                if not ended:
                    break
        return done
