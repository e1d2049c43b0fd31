"""What jobs need from outside."""

from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncSession


class NodeDesires(Protocol):
    """Counts the versions of what each node should run (nodes.service.NodeService has it)."""

    async def bump_desired(self, session: AsyncSession, node_id: str) -> int:
        """Raise the node's desired version and return it."""
        ...
