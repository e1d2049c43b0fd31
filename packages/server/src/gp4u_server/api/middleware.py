"""What happens to every request: an id, a log line, a measurement, the headers, and an answer even to a bug."""

import re
import time
from dataclasses import dataclass

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gp4u_server.api import headers
from gp4u_server.api.errors import problem
from gp4u_server.api.metrics import RequestMetrics
from gp4u_server.kit.ids import new_id

log = structlog.get_logger("gp4u_server.requests")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
HUNG_UP = 499
"""What the log and the metrics call a request whose client left before it was whole; never sent. (As nginx counts them.)"""
_QUIET = frozenset({"/health", "/readiness", "/metrics"})


@dataclass(frozen=True)
class RequestMiddleware:
    """The outermost layer of ours. Plain ASGI, so streams pass through it piece by piece."""

    app: ASGIApp
    metrics: RequestMetrics
    https: bool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        started = time.perf_counter()
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                self._set_headers(scope, MutableHeaders(scope=message), request_id)
                self.metrics.answered(scope["method"], route_of(scope), status, time.perf_counter() - started)
            await send(message)

        structlog.contextvars.bind_contextvars(request_id=request_id)
        self.metrics.running.inc()
        try:
            await self.app(scope, receive, send_with_headers)
        except ClientDisconnect:
            # Nobody waits for an answer: a node that died or a renter who stopped in the middle of an upload. The log line below
            # says so by its status; what was half received is the endpoint's to remove.
            if not status:
                status = HUNG_UP
                self.metrics.answered(scope["method"], route_of(scope), status, time.perf_counter() - started)
        except Exception:
            log.exception("unexpected failure", method=scope["method"], route=route_of(scope))
            if status:
                raise  # half an answer is out: only closing the connection tells the client so
            answer = problem(
                500,
                "internal_error",
                "Something went wrong on our side. Tell us the request_id if it happens again.",
                request_id=request_id,
            )
            await answer(scope, receive, send_with_headers)
        finally:
            self.metrics.running.dec()
            if scope["path"] not in _QUIET:
                self._log(scope, status, time.perf_counter() - started)
            structlog.contextvars.unbind_contextvars("request_id")

    def _set_headers(self, scope: Scope, answer: MutableHeaders, request_id: str) -> None:
        answer["X-Request-ID"] = request_id
        for name, value in headers.ALWAYS.items():
            answer.setdefault(name, value)
        if self.https:
            for name, value in headers.OVER_HTTPS.items():
                answer.setdefault(name, value)
        answer.setdefault("Content-Security-Policy", headers.API_POLICY)
        # Whatever says nothing about caching may be private.
        answer.setdefault("Cache-Control", "no-store")
        standing = scope["state"].get("rate_limit")
        if standing is not None:
            answer["X-RateLimit-Limit"] = str(standing.limit)
            answer["X-RateLimit-Remaining"] = str(standing.remaining)
            answer["X-RateLimit-Reset"] = str(standing.reset_after_s)

    def _log(self, scope: Scope, status: int, seconds: float) -> None:
        principal = scope["state"].get("principal")
        log.info(
            "request",
            method=scope["method"],
            path=scope["path"],  # without the query: searches and signatures are nobody's business
            route=route_of(scope),
            status=status,
            duration_ms=round(seconds * 1000, 2),
            user_id=principal.user_id if principal else None,
            client=scope["client"][0] if scope.get("client") else None,
        )


def route_of(scope: Scope) -> str:
    """The template of the route that took the request, e.g. `/api/v1/jobs/{job_id}`; "none" when none did."""
    context = scope.get("fastapi", {}).get("effective_route_context")
    path = getattr(context, "path", None) or getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else "none"


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else new_id("req")
