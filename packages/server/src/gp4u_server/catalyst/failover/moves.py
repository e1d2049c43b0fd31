"""Who has to leave a node, by when, and who may stay after all.

Four causes, one contract (`catalyst.jobs.notice`): a GPU that failed, a drained node, a maintenance window that comes near,
an on-demand job that the GPUs of an interruptible one are kept for. `leaving` is the decision; the loop asks for its facts,
gives notice, tells those to stop whose notice is over, and takes back what has lost its cause.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from gp4u_server.catalyst.jobs.notice import (
    WINDOW_LEAD_S_MAX,
    LiveRun,
    NoticeReason,
    window_lead_s,
)
from gp4u_server.catalyst.jobs.service import JobService
from gp4u_server.catalyst.jobs.transitions import WORK_CHANNEL
from gp4u_server.kit.clock import Clock
from gp4u_server.kit.db import Database
from gp4u_server.nodes.service import NodeService
from gp4u_server.nodes.types import DrainingNode, FailedDevice, MaintenanceWindow, ReservedDevice

log = structlog.get_logger(__name__)

MOVES_BATCH = 50
PREEMPTED = "An on-demand job needs the GPUs; interruptible bookings make room with notice."
PLANNED_MAINTENANCE = "Its node has planned maintenance."
STAYS = "What it had notice for is no more; it stays where it is."


@dataclass(frozen=True)
class Leave:
    """One job's notice. `deadline_at` None: it is told to stop at once."""

    job_id: str
    node_id: str
    reason: NoticeReason
    sentence: str
    deadline_at: datetime | None = None


@dataclass(frozen=True)
class Causes:
    """Why jobs may have to leave."""

    draining: Sequence[DrainingNode] = ()
    windows: Sequence[MaintenanceWindow] = ()
    failed: Sequence[FailedDevice] = ()
    reserved: Sequence[ReservedDevice] = ()

    @property
    def node_ids(self) -> list[str]:
        """Nodes that somebody may have to leave."""
        parts: Iterable[Iterable[str]] = (
            (item.node_id for item in part)
            for part in (self.draining, self.windows, self.failed, self.reserved)
        )
        return sorted({node_id for part in parts for node_id in part})


def leaving(causes: Causes, runs: Sequence[LiveRun], now: datetime, notice_s: float) -> list[Leave]:
    """Who has to leave, each for the weightiest of his causes. `runs` live on the causes' nodes.

    A drain with a deadline, and a preemption, give `notice_s` of notice; a drain without one, and a failed device, none.
    """
    failed = {(device.node_id, device.uuid): device for device in causes.failed}
    draining = {node.node_id: node for node in causes.draining}
    reserved = {(device.node_id, device.uuid): device for device in causes.reserved}
    windows: dict[str, MaintenanceWindow] = {}
    for window in causes.windows:
        windows.setdefault(window.node_id, window)
    found = (_leave(run, failed, draining, windows, reserved, now, notice_s) for run in runs)
    return [leave for leave in found if leave is not None]


def _leave(
    run: LiveRun,
    failed: Mapping[tuple[str, str], FailedDevice],
    draining: Mapping[str, DrainingNode],
    windows: Mapping[str, MaintenanceWindow],
    reserved: Mapping[tuple[str, str], ReservedDevice],
    now: datetime,
    notice_s: float,
) -> Leave | None:
    mine = [(run.node_id, uuid) for uuid in run.device_uuids]
    broken = next((failed[key] for key in mine if key in failed), None)
    if broken is not None:
        return Leave(
            run.job_id, run.node_id, NoticeReason.DEVICE, f"A GPU of the job failed: {broken.reason}"
        )
    node = draining.get(run.node_id)
    if node is not None:
        deadline = node.deadline_at
        if deadline is not None:
            deadline = min(deadline, now + timedelta(seconds=notice_s))
        return Leave(run.job_id, run.node_id, NoticeReason.DRAIN, node.reason, deadline)
    window = windows.get(run.node_id)
    if window is not None and run.ends_by > window.starts_at:
        lead = timedelta(seconds=window_lead_s(run.checkpoint_cost_s, notice_s))
        if now >= window.starts_at - lead:
            said = window.reason or PLANNED_MAINTENANCE
            return Leave(run.job_id, run.node_id, NoticeReason.MAINTENANCE, said, window.starts_at)
    kept = next((reserved[key] for key in mine if key in reserved), None)
    if kept is not None and kept.job_id != run.job_id:
        deadline = now + timedelta(seconds=notice_s)
        return Leave(run.job_id, run.node_id, NoticeReason.PREEMPTION, PREEMPTED, deadline)
    return None


def new_notices(leaves: Sequence[Leave], runs: Sequence[LiveRun]) -> list[Leave]:
    """Those who were not told yet."""
    told = {run.job_id for run in runs if run.notice_reason is not None}
    return [leave for leave in leaves if leave.job_id not in told]


def staying(leaves: Sequence[Leave], noticed: Sequence[LiveRun]) -> list[str]:
    """Jobs under notice, not told to stop yet, that nothing asks to leave any more."""
    wanted = {leave.job_id for leave in leaves}
    return [run.job_id for run in noticed if run.job_id not in wanted]


@dataclass(frozen=True)
class MovesLoop:
    """Gives notice, tells to stop and takes notice back, one job a transaction."""

    database: Database
    jobs: JobService
    nodes: NodeService
    clock: Clock
    notice_s: float = 60.0
    name: str = "moves"
    interval_s: float = 1.0
    channels: tuple[str, ...] = (WORK_CHANNEL,)

    async def run_once(self) -> int:
        """One look at everything that makes jobs leave; returns how many jobs were told something."""
        async with self.database.transaction() as session:
            now = self.clock.now()
            causes = Causes(
                draining=await self.nodes.draining_nodes(session),
                windows=await self.nodes.windows_before(session, now + timedelta(seconds=WINDOW_LEAD_S_MAX)),
                failed=await self.nodes.failed_in_use(session),
                reserved=await self.nodes.reserved_in_use(session),
            )
            noticed = await self.jobs.under_notice(session)
            runs = await self.jobs.runs_on(
                session, sorted({*causes.node_ids, *(run.node_id for run in noticed)})
            )
        leaves = leaving(causes, runs, now, self.notice_s)
        told = 0
        for leave in new_notices(leaves, runs)[:MOVES_BATCH]:
            told += await self._give_notice(leave)
        for job_id in staying(leaves, noticed):
            told += await self._take_back(job_id)
        async with self.database.transaction() as session:
            due = await self.jobs.due_moves(session, MOVES_BATCH)
        for job_id in due:
            told += await self._begin(job_id)
        return told

    async def _give_notice(self, leave: Leave) -> bool:
        try:
            async with self.database.transaction() as session:
                return await self.jobs.request_move(
                    session,
                    leave.job_id,
                    leave.node_id,
                    leave.sentence,
                    reason=leave.reason,
                    deadline_at=leave.deadline_at,
                )
        except Exception:  # one job that cannot be told keeps no other on the node; it is asked again
            log.exception("notice_failed", job_id=leave.job_id, node_id=leave.node_id)
            return False

    async def _take_back(self, job_id: str) -> bool:
        try:
            async with self.database.transaction() as session:
                return await self.jobs.withdraw_notice(session, job_id, STAYS)
        except Exception:
            log.exception("withdrawing_notice_failed", job_id=job_id)
            return False

    async def _begin(self, job_id: str) -> bool:
        try:
            async with self.database.transaction() as session:
                return await self.jobs.begin_move(session, job_id)
        except Exception:
            log.exception("move_failed", job_id=job_id)
            return False
