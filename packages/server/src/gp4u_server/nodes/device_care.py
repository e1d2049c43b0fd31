"""Use cases of single devices: one that failed, one that is kept for a job. Part of `NodeService`.

A device that failed (the machine lists it no more, or it had a fatal event) is offered to nobody; the jobs that hold it are
moved, those on the node's other devices run on. It is back once the machine lists it again and it has behaved for its
probation: 10 minutes, twice as long each time it failed before, a day at most.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.nodes import device_repository, repository
from gp4u_server.nodes.duties import NodeDuties
from gp4u_server.nodes.events import DevicesToLeave, NodeFactsChanged
from gp4u_server.nodes.types import FailedDevice, ReservedDevice

PROBATION_FIRST = timedelta(minutes=10)
PROBATION_MAX = timedelta(hours=24)


def probation(faults: int) -> timedelta:
    """How long a device is watched after its `faults`-th failure, from the instant it is there again."""
    doublings: int = 2 ** min(max(faults, 1) - 1, 16)
    return min(PROBATION_MAX, PROBATION_FIRST * doublings)


@dataclass(frozen=True)
class DeviceCare(NodeDuties):
    """Every use case locks the node's row first."""

    async def record_device_fault(
        self, session: AsyncSession, node_id: str, device_uuid: str, reason: str, at: datetime
    ) -> bool:
        """A device of the node cannot be used: out of the offer at once. `reason` is a sentence for owner and renter.

        `at` is when it failed; what is known of it already, or is older than its return, changes nothing. Answers whether
        the device is the node's and this was news.
        """
        if await repository.node(session, node_id, lock=True) is None:
            return False
        faulted = await device_repository.fault(session, node_id, device_uuid, reason, at)
        if faulted:
            await self._tell(session, node_id, in_use=True)
        return faulted

    async def record_devices_listed(
        self, session: AsyncSession, node_id: str, present_uuids: Sequence[str]
    ) -> None:
        """The machine said which devices it has; the caller holds the node's row.

        Those that it lists no more have failed; for those that are there again the probation begins.
        """
        now = self.clock.now()
        gone = await device_repository.fault_absent(
            session, node_id, present_uuids, "The machine does not list this GPU any more.", now
        )
        back = False
        for device in await device_repository.failed_of(session, [node_id]):
            if device.uuid in present_uuids and device.back_at is None:
                await device_repository.begin_probation(session, device.id, now + probation(device.faults))
                back = True
        if gone or back:
            await self._tell(session, node_id, in_use=bool(gone))

    async def settle_devices(self, session: AsyncSession) -> int:
        """One node's devices that have passed their probation are offered again, or reservations that nobody used end.

        Returns how many nodes changed (0 or 1).
        """
        now = self.clock.now()
        node_id = await device_repository.due_node(session, now)
        if node_id is None or await repository.node(session, node_id, lock=True) is None:
            return 0
        await device_repository.end_probations(session, node_id, now)
        await device_repository.end_reservations(session, node_id, now)
        await self._tell(session, node_id, in_use=False)
        return 1

    async def failed_in_use(self, session: AsyncSession) -> list[FailedDevice]:
        """Failed devices that a job still holds."""
        return await device_repository.failed_in_use(session)

    async def _tell(self, session: AsyncSession, node_id: str, *, in_use: bool) -> None:
        await self.bus.publish(session, NodeFactsChanged(node_id=node_id))
        if in_use:
            await self.bus.publish(session, DevicesToLeave(node_id=node_id))

    # --- devices that are kept for a job -------------------------------------------------------------------

    async def reserve_devices(
        self, session: AsyncSession, node_id: str, device_uuids: Sequence[str], job_id: str, until: datetime
    ) -> bool:
        """Keep devices of a node for a job, also those that others hold still. All of them or none: False when one is kept
        for somebody else already or has failed. Raises NodeNotFound."""
        await self._locked(session, node_id, None)
        kept = await device_repository.reserve(session, node_id, device_uuids, job_id, until)
        if kept < len(device_uuids):
            await device_repository.release_reservations(session, job_id)
            return False
        await self._tell(session, node_id, in_use=True)
        return True

    async def reservation_of(self, session: AsyncSession, job_id: str) -> list[ReservedDevice]:
        """What is kept for this job."""
        return await device_repository.reserved(session, job_id=job_id)

    async def reserved_in_use(self, session: AsyncSession) -> list[ReservedDevice]:
        """What is kept for jobs while another job holds it."""
        return [device for device in await device_repository.reserved(session) if device.in_use]

    async def reserved_on(self, session: AsyncSession, node_id: str) -> list[ReservedDevice]:
        """What is kept on a node."""
        return await device_repository.reserved(session, node_id=node_id)

    async def release_reservation(self, session: AsyncSession, job_id: str) -> None:
        """Nothing is kept for this job any more. Locks the node, if there was something; harmless otherwise."""
        node_ids = sorted({device.node_id for device in await self.reservation_of(session, job_id)})
        for node_id in node_ids:
            await repository.node(session, node_id, lock=True)
        if node_ids:
            await device_repository.release_reservations(session, job_id)
        for node_id in node_ids:
            await self._tell(session, node_id, in_use=False)
