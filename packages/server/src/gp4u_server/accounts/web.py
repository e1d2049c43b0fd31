"""Who makes a request: the dependencies that every other module's endpoints use.

    async def list_jobs(user: CurrentUser, ...) -> ...            # anybody signed in
    async def list_offer(user: Annotated[Principal, Depends(require(Role.OWNER))], ...) -> ...

A header (`Authorization: Bearer <access token or API key>`) always wins: then cookies are not looked at.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from gp4u_server.accounts.authenticator import Authenticator
from gp4u_server.accounts.errors import RoleRequired, ScopeRequired, SessionRequired
from gp4u_server.accounts.types import Principal, Role, Scope
from gp4u_server.foundation.web import provided

bearer_scheme = HTTPBearer(
    auto_error=False,
    scheme_name="bearer",
    description="An access token (POST /auth/token) or an API key. Browsers use HttpOnly cookies instead.",
)


async def current_user(
    request: Request,
    authenticator: Annotated[Authenticator, Depends(provided(Authenticator))],
    _documented: Annotated[object, Depends(bearer_scheme)],
) -> Principal:
    """The caller. Raises Unauthenticated, CsrfRefused or ScopeRequired."""
    return await authenticator.principal_of(request)


CurrentUser = Annotated[Principal, Depends(current_user)]


def require(*roles: Role) -> Callable[[Principal], Awaitable[Principal]]:
    """A dependency that answers the caller if they hold any of `roles`, and raises RoleRequired otherwise.

    What only an admin may do also needs the scope admin when it is asked for with an API key.
    """

    async def with_role(user: CurrentUser) -> Principal:
        held = user.roles & set(roles)
        if not held:
            wanted = " or ".join(roles)
            raise RoleRequired(f"This needs the role {wanted}.", roles=[*roles])
        if held == {Role.ADMIN} and Scope.ADMIN not in user.scopes:
            raise ScopeRequired("This needs an API key with the scope admin.", scope=Scope.ADMIN)
        return user

    return with_role


async def signed_in_person(user: CurrentUser) -> Principal:
    """A caller with a session. API keys are refused: a leaked key must not be able to make more keys."""
    if user.session_id is None:
        raise SessionRequired("Sign in for this; an API key is not enough.")
    return user


SignedInPerson = Annotated[Principal, Depends(signed_in_person)]
