"""Granting roles. Callable without keys or a running platform, so that the first admin can be made."""

from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.accounts import repository
from gp4u_server.accounts.types import Role, User
from gp4u_server.kit.errors import NotFound


async def grant_role(session: AsyncSession, *, email: str, role: Role) -> User:
    """Give the account `role`; harmless when it has it. Raises NotFound. The caller checks who may grant."""
    row = await repository.add_role(session, email, role)
    if row is None:
        raise NotFound("There is no account with this address.")
    return User(row.id, row.email, row.name, frozenset(Role(held) for held in row.roles), row.created_at)
