"""Who may read a process's metrics: programs on this machine, and admins. They tell how busy the platform is."""

from contextlib import suppress
from ipaddress import ip_address

from fastapi import Request

from gp4u_server.accounts.authenticator import Authenticator
from gp4u_server.accounts.errors import RoleRequired, ScopeRequired
from gp4u_server.accounts.types import Role, Scope


def is_from_this_machine(request: Request) -> bool:
    """Whether the client's address is a loopback one. A client whose address nobody told is not from here."""
    with suppress(ValueError):
        return request.client is not None and ip_address(request.client.host).is_loopback
    return False


async def require_scraper(request: Request, authenticator: Authenticator) -> None:
    """Return for a loopback client or an admin. Raises Unauthenticated, InvalidToken, RoleRequired or ScopeRequired.

    The address is the one the server resolved: a proxy's word counts only where the proxy is trusted.
    """
    if is_from_this_machine(request):
        return
    user = await authenticator.principal_of(request)
    if Role.ADMIN not in user.roles:
        raise RoleRequired("Metrics are for admins, or for programs on the same machine.", roles=[Role.ADMIN])
    if Scope.ADMIN not in user.scopes:
        raise ScopeRequired("This needs an API key with the scope admin.", scope=Scope.ADMIN)
