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
        owner = (await self.people.users_by_id(session, [owner_id])).get(owner_id)
        if owner is not None and Role.OPERATOR in owner.roles:
            return self.operator_share_percent
        return self.owner_share_percent
