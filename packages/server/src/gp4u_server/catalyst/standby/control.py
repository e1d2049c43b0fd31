"""The loop that gives hot jobs their standby, and looks whether it still is one."""

from dataclasses import dataclass

import structlog
from sqlalchemy.exc import OperationalError

from gp4u_server.catalyst.standby.service import StandbyService
from gp4u_server.catalyst.standby.succession import STANDBY_CHANNEL
from gp4u_server.kit.db import Database

log = structlog.get_logger(__name__)

BATCH = 50
COLLISION_RETRY_S = 0.5
TROUBLE_RETRY_S = 30.0


@dataclass(frozen=True)
class StandbyLoop:
    """One job a transaction. It touches nothing outside the database, so the job's row lock is the claim: of two
    controllers the second finds, under the lock, that the job is not due any more."""

    database: Database
    standbys: StandbyService
    name: str = "standbys"
    interval_s: float = 1.0
    channels: tuple[str, ...] = (STANDBY_CHANNEL,)

    async def run_once(self) -> int:
        """One batch; returns how many jobs were looked at."""
        async with self.database.transaction() as session:
            due = await self.standbys.due(session, BATCH)
        looked = 0
        for job_id in due:
            try:
                async with self.database.transaction() as session:
                    looked += await self.standbys.look_at(session, job_id)
            except Exception as error:  # one job that cannot be looked at keeps no other
                pause_s = COLLISION_RETRY_S if isinstance(error, OperationalError) else TROUBLE_RETRY_S
                log.exception("standby_look_failed", job_id=job_id, pause_s=pause_s)
                async with self.database.transaction() as session:
                    await self.standbys.put_off(session, job_id, pause_s)
        return looked
