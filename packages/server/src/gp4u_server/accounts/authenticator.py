"""From a request to a Principal."""

from dataclasses import dataclass

from fastapi import Request

from gp4u_server.accounts.types import Principal


@dataclass(frozen=True)
class Authenticator:
    """Finds out who makes a request, from its headers or else its cookies."""

    async def principal_of(self, request: Request) -> Principal:
        """The caller. Raises Unauthenticated, CsrfRefused or ScopeRequired."""
        raise NotImplementedError
