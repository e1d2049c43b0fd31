"""What jobs need from outside."""

from collections.abc import Sequence
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.jobs.schemas import StandbyOut


class StandbysShown(Protocol):
    """What the job's page says of a hot job's second node (catalyst.standby has it)."""

    async def shown(self, session: AsyncSession, job_ids: Sequence[str]) -> dict[str, StandbyOut]:
        """job → its standby, or why it has none."""
        ...


class NodeDesires(Protocol):
    """Counts the versions of what each node should run (nodes.service.NodeService has it)."""

    async def bump_desired(self, session: AsyncSession, node_id: str) -> int:
        """Raise the node's desired version and return it."""
        ...
