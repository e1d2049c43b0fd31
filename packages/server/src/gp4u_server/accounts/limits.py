"""How often one may try to come in. Delay, never a lock-out: each limit ends with its minute."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request

from gp4u_server.foundation.rate_limit import Limit, RateLimiter, client_address
from gp4u_server.settings import Settings


async def limit_registration(limiter: RateLimiter, settings: Settings, request: Request) -> None:
    """Raise TooManyRequests when this address makes accounts too fast."""
    await limiter.require(Limit("register", settings.registrations_per_minute), client_address(request))


@asynccontextmanager
async def limit_sign_in(
    limiter: RateLimiter, settings: Settings, request: Request, email: str
) -> AsyncIterator[None]:
    """Count an attempt against the caller's address and the account; a success clears the account's counter.

    The count is raised before the password is looked at, so attempts at the same time cannot slip through together.
    """
    await limiter.require(Limit("sign-in-address", settings.sign_ins_per_minute), client_address(request))
    account_limit = Limit("sign-in-account", settings.failed_sign_ins_per_minute)
    # Hashed, so that Valkey and its dumps hold no addresses of people.
    account = hashlib.sha256(email.casefold().encode()).hexdigest()[:32]
    await limiter.require(account_limit, account)
    yield
    await limiter.forget(account_limit, account)
