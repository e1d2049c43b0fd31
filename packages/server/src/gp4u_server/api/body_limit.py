"""How large a request's body may be. Announced sizes are refused unread, others as soon as they are too large."""

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gp4u_server.api.errors import body_too_large


@dataclass(frozen=True)
class BodyLimit:
    """Plain ASGI. `wider` are (start of the path, bytes); `default` is for all other paths."""

    app: ASGIApp
    default: int
    wider: Sequence[tuple[str, int]] = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = next((size for start, size in self.wider if scope["path"].startswith(start)), self.default)
        announced = Headers(scope=scope).get("content-length", "0")
        if not announced.isdigit() or int(announced) > limit:
            await body_too_large(limit, scope["state"]["request_id"])(scope, receive, send)
            return
        received = 0

        async def receive_within_limit() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise HTTPException(413)
            return message

        await self.app(scope, receive_within_limit, send)
