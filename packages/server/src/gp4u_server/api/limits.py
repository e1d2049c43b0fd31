"""The general rate limit: one bucket for each account, one for each address of those who are nobody yet."""

from typing import Annotated

from fastapi import Depends, Request

from gp4u_server.accounts.authenticator import Authenticator
from gp4u_server.foundation.rate_limit import Limit, RateLimiter, client_address
from gp4u_server.foundation.web import provided
from gp4u_server.kit.errors import DomainError
from gp4u_server.settings import Settings


async def limit_requests(
    request: Request,
    authenticator: Annotated[Authenticator, Depends(provided(Authenticator))],
    limiter: Annotated[RateLimiter, Depends(provided(RateLimiter))],
    settings: Annotated[Settings, Depends(provided(Settings))],
) -> None:
    """Count the request. Raises TooManyRequests.

    Credentials that are no good count against the address, so that guessing is not free.
    """
    limit = Limit("requests", settings.requests_per_minute)
    standing = await limiter.hit(limit, await _subject(request, authenticator))
    request.state.rate_limit = standing
    if not standing.allowed:
        raise limiter.refusal(standing)


async def _subject(request: Request, authenticator: Authenticator) -> str:
    if authenticator.offers_credentials(request):
        try:
            return (await authenticator.principal_of(request)).user_id
        except DomainError:
            pass  # an endpoint that needs to know the caller will say what is wrong
    return client_address(request)
