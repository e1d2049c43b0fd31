"""What job pages show of standbys. Reads only; `catalyst.jobs.reading` has it as a port."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.jobs.schemas import StandbyOut
from gp4u_server.catalyst.standby import repository
from gp4u_server.catalyst.standby.models import Standby


@dataclass(frozen=True)
class StandbyReader:
    """The standbys of hot jobs."""

    async def shown(self, session: AsyncSession, job_ids: Sequence[str]) -> dict[str, StandbyOut]:
        """job → its standby, or why it has none at present. Jobs that were never looked at are left out."""
        live = await repository.live_of_jobs(session, job_ids)
        watches = await repository.watches_of_jobs(session, [each for each in job_ids if each not in live])
        found = {job_id: _shown(row) for job_id, row in live.items()}
        for job_id, watch in watches.items():
            found[job_id] = StandbyOut(state="none", why_none=watch.why_none)
        return found


def _shown(row: Standby) -> StandbyOut:
    return StandbyOut(
        id=row.id,
        state=row.state,
        node_id=row.node_id,
        node_name=row.node_name,
        region=row.region,
        gpu_model=row.gpu_model,
        rate_per_hour_micros=row.rate_per_hour_micros,
        chosen_at=row.chosen_at,
        ready_since=row.ready_since,
        checkpoint_id=row.held_checkpoint_id,
        checkpoint_seq=row.held_seq,
        held_at=row.held_at if row.held_checkpoint_id else None,
        bytes_held=row.bytes_held,
        problem=row.problem,
    )
