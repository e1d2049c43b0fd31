"""Which part of a charge is the owner's."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.accounts.types import Role
from gp4u_server.billing.ports import People


@dataclass(frozen=True)
class OwnerShares:
    """Percent of a charge that goes to an owner; operators in the Catalyst programme get more."""

    people: People
    owner_share_percent: int = 80
    operator_share_percent: int = 85

    async def percent(self, session: AsyncSession, owner_id: str) -> int:
        """The share of this owner now. A booking keeps the share it began with."""
        roles = await self.people.roles_of(session, owner_id)
        return self.operator_share_percent if Role.OPERATOR in roles else self.owner_share_percent
