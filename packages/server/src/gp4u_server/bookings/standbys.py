"""What standbys need of money and of stored checkpoints: the ports of `catalyst.standby`, filled from its siblings."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gp4u_protocol.messages import RestorePoint
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.billing.service import BillingService
from gp4u_server.billing.types import NewMeter
from gp4u_server.catalyst.checkpoints.service import CheckpointService
from gp4u_server.catalyst.checkpoints.types import CheckpointView, UploadView
from gp4u_server.catalyst.jobs.views import JobView
from gp4u_server.catalyst.standby.ports import FolderAddress, SealedAddresses
from gp4u_server.market.types import OfferView


@dataclass(frozen=True)
class StandbyMeters:
    """Standbys are metered like bookings, by the same meter: its key is the standby's id."""

    billing: BillingService

    async def open(
        self,
        session: AsyncSession,
        *,
        standby_id: str,
        number: int,
        job: JobView,
        booking_id: str,
        offer: OfferView,
        rate_per_hour_micros: int,
    ) -> None:
        """See `catalyst.standby.ports.StandbyMoney`."""
        await self.billing.open_meter(
            session,
            NewMeter(
                booking_id=standby_id,
                job_id=job.id,
                job_name=job.name,
                renter_id=job.renter_id,
                owner_id=offer.owner_id,
                node_id=offer.node_id,
                node_name=offer.node_name,
                epoch=number,
                rate_per_hour_micros=rate_per_hour_micros,
                budget_total_micros=job.spec.budget.total_micros_max,
                beside_booking_id=booking_id,
            ),
        )

    async def ready(self, session: AsyncSession, standby_id: str, at: datetime) -> None:
        """Time counts from `at`."""
        await self.billing.ran(session, standby_id, at)

    async def not_ready(self, session: AsyncSession, standby_id: str, proven_until: datetime) -> None:
        """Time counts until `proven_until`."""
        await self.billing.interrupted(session, standby_id, proven_until)

    async def end(self, session: AsyncSession, standby_id: str, at: datetime) -> None:
        """Post the rest, give back what was set aside."""
        await self.billing.end(session, standby_id, at)


@dataclass(frozen=True)
class _Found:
    renter_id: str
    checkpoint: CheckpointView | None
    folder: UploadView | None


@dataclass(frozen=True)
class StandbyObjects:
    """Sealed checkpoints and job folders, for nodes that stand by."""

    checkpoints: CheckpointService

    async def find(self, session: AsyncSession, job: JobView, checkpoint_id: str | None) -> Any:
        """See `catalyst.standby.ports.Objects`."""
        checkpoint = folder = None
        if checkpoint_id is not None:
            checkpoint = await self.checkpoints.get(session, job.id, checkpoint_id)
        if job.spec.upload_id is not None:
            folder = await self.checkpoints.require_job_upload(session, job.renter_id, job.spec.upload_id)
        return _Found(job.renter_id, checkpoint, folder)

    async def sign(self, found: Any) -> tuple[SealedAddresses | None, FolderAddress | None]:
        """Addresses of what was found."""
        assert isinstance(found, _Found)
        sealed = folder = None
        if found.checkpoint is not None:
            download = await self.checkpoints.sign_download(found.checkpoint)
            sealed = SealedAddresses(
                checkpoint=RestorePoint(
                    checkpoint_id=found.checkpoint.id, epoch=found.checkpoint.epoch, seq=found.checkpoint.seq
                ),
                manifest_blake3=found.checkpoint.manifest_blake3,
                manifest_url=download.manifest_url,
                packs=download.pack_urls,
            )
        if found.folder is not None:
            url = await self.checkpoints.sign_job_download(found.renter_id, found.folder)
            folder = FolderAddress(url, found.folder.size_bytes, found.folder.blake3)
        return sealed, folder
