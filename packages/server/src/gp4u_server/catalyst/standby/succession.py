"""What becomes of a standby when its job moves or ends: it is used, passed over, or not needed any more.

Apart from `service`, because failover asks for it while the service itself asks the router.
"""

from dataclasses import dataclass
from datetime import datetime

from gp4u_protocol.job_spec import Protection
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.jobs.service import JobService
from gp4u_server.catalyst.jobs.transitions import NODE_DESIRED_CHANNEL, db_now, notify
from gp4u_server.catalyst.jobs.types import EventKind
from gp4u_server.catalyst.jobs.views import JobView
from gp4u_server.catalyst.standby import repository
from gp4u_server.catalyst.standby.models import Standby
from gp4u_server.catalyst.standby.ports import StandbyMoney
from gp4u_server.catalyst.standby.types import EndReason, StandbyState

STANDBY_CHANNEL = "gp4u_standby"
WHY_ENDED = {
    EndReason.NODE_GONE: "The node is not there any more.",
    EndReason.GPUS_TAKEN: "Somebody booked its GPUs, which a standby does not reserve.",
    EndReason.NOT_PREPARED: "The node did not get ready in time.",
}


@dataclass(frozen=True)
class Succession:
    """The router's port `FirstChoice`, and how a standby ends."""

    jobs: JobService
    money: StandbyMoney

    async def first_choice(self, session: AsyncSession, job: JobView) -> str | None:
        """The node to try before all others when the job is placed again: its ready standby's."""
        if job.spec.protection is not Protection.HOT:
            return None
        live = await repository.live_of(session, job.id)
        return live.node_id if live is not None and live.state == StandbyState.READY.value else None

    async def placed(self, session: AsyncSession, job: JobView, node_id: str) -> None:
        """The job has its next placement: its standby is used, or was passed over. The caller has locked the job."""
        if job.spec.protection is not Protection.HOT:
            return
        live = await repository.live_of(session, job.id)
        if live is None:
            return
        now = await db_now(session)
        reason = EndReason.USED if live.node_id == node_id else EndReason.PASSED_OVER
        await self._end(session, job, live, reason, now)
        await self.look_soon(session, job.id, now)

    async def look_soon(self, session: AsyncSession, job_id: str, at: datetime) -> None:
        """Have the controller look at the job. Takes the watch's row, which is the last in the order of locks."""
        await repository.watch(session, job_id, at)
        await notify(session, STANDBY_CHANNEL, job_id)

    async def _not_ready(self, session: AsyncSession, live: Standby) -> None:
        """What is not proven is not paid: its time ends with the last proof, or with the first checkpoint it missed."""
        assert live.proven_at is not None
        until = live.proven_at
        if live.behind_since is not None:
            until = min(until, live.behind_since)
        live.state, live.ready_since = StandbyState.PREPARING.value, None
        await session.flush()
        await self.money.not_ready(session, live.id, until)

    async def _end(
        self, session: AsyncSession, job: JobView, live: Standby, reason: EndReason, now: datetime
    ) -> None:
        """Over. Its meter is ended by the next look, in a transaction of its own."""
        if live.state == StandbyState.READY.value:
            await self._not_ready(session, live)
        live.state, live.ready_since = StandbyState.ENDED.value, None
        live.reason, live.ended_at = reason.value, now
        await session.flush()
        await notify(session, NODE_DESIRED_CHANNEL, live.node_id)
        if why := WHY_ENDED.get(reason):
            await self._tell(
                session, job, live, f"{live.node_name} stands by no more", now, sentence=live.problem or why
            )

    async def _tell(
        self, session: AsyncSession, job: JobView, live: Standby, title: str, now: datetime, **detail: object
    ) -> None:
        await self.jobs.tell(
            session,
            job.id,
            EventKind.STANDBY,
            title,
            ms=round((now - live.chosen_at).total_seconds() * 1000) if live.proven_at is None else None,
            standby_id=live.id,
            node_id=live.node_id,
            node_name=live.node_name,
            rate_per_hour_micros=live.rate_per_hour_micros,
            checkpoint_id=live.held_checkpoint_id,
            **detail,
        )
