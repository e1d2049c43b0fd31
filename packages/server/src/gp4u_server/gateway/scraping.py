"""Keeps a gateway's `/metrics` to programs on this machine and to admins, as the api's is."""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from gp4u_server.accounts.authenticator import Authenticator
from gp4u_server.accounts.scraping import require_scraper
from gp4u_server.api.errors import STATUS, problem
from gp4u_server.kit.errors import DomainError
from gp4u_server.kit.ids import new_id

METRICS_PATH = "/metrics"


@dataclass(frozen=True)
class ScrapersOnly:
    """Plain ASGI, so the agents' sockets pass through untouched."""

    app: ASGIApp
    authenticator: Authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "http" and scope["path"] == METRICS_PATH:
            try:
                await require_scraper(Request(scope), self.authenticator)
            except DomainError as error:
                status = STATUS[error.kind]
                answer = problem(
                    status, error.code, error.detail, request_id=new_id("req"), extra=error.extra
                )
                await answer(scope, receive, send)
                return
        await self.app(scope, receive, send)
