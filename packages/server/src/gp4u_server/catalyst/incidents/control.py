"""The controller's part: incidents that are due are settled, jobs are told, tallies are summed up."""

from dataclasses import dataclass

import structlog

from gp4u_server.catalyst.incidents.service import IncidentService
from gp4u_server.foundation.claims import Claim
from gp4u_server.kit.db import Database
from gp4u_server.nodes.service import NodeService

log = structlog.get_logger(__name__)

BATCH = 20
TELL_BATCH = 50
TROUBLE_RETRY_S = 30.0


@dataclass(frozen=True)
class IncidentLoop:
    """Claim what is due, read without a lock, decide, apply under the claim's token: one incident a transaction."""

    database: Database
    incidents: IncidentService
    nodes: NodeService
    name: str = "incidents"
    interval_s: float = 1.0
    channels: tuple[str, ...] = ()

    async def run_once(self) -> int:
        """One batch; returns how many incidents were looked at and jobs told."""
        async with self.database.transaction() as session:
            claims = await self.incidents.take_due(session, BATCH)
        for claim in claims:
            try:
                await self._settle(claim)
            except Exception:  # it is claimed again when its claim is over, and keeps no other waiting
                log.exception("incident_not_settled", incident_id=claim.row_id)
        return len(claims) + await self._tell()

    async def _settle(self, claim: Claim) -> None:
        async with self.database.transaction() as session:
            look = await self.incidents.look(session, claim.row_id)
        async with self.database.transaction() as session:
            owner_id = await self.incidents.settle(session, claim, look)
        if owner_id is not None:
            # A turn of its own: whoever sums up waits for others who do, and may hold no node meanwhile.
            async with self.database.transaction() as session:
                await self.nodes.tally_owner(session, owner_id)

    async def _tell(self) -> int:
        async with self.database.transaction() as session:
            untold = await self.incidents.untold(session, TELL_BATCH)
        for placement_id, job_id in untold:
            try:
                async with self.database.transaction() as session:
                    await self.incidents.tell(session, placement_id, job_id)
            except Exception:
                log.exception("job_not_told", job_id=job_id)
                async with self.database.transaction() as session:
                    await self.incidents.put_off_telling(session, placement_id, TROUBLE_RETRY_S)
        return len(untold)


@dataclass(frozen=True)
class TallyLoop:
    """Sums the record of every GPU model and owner up once an hour: hours online pass without an event."""

    database: Database
    nodes: NodeService
    name: str = "reliability_tallies"
    interval_s: float = 60.0
    channels: tuple[str, ...] = ()

    async def run_once(self) -> int:
        """One look at the clock; always 0, there is nothing to go on with at once."""
        async with self.database.transaction() as session:
            await self.nodes.tally_all(session)
        return 0
