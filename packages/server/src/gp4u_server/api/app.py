"""The application: what is reachable, in which order things happen to a request, and when the platform ends."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import APIRouter, Depends, FastAPI

import gp4u_server
from gp4u_server.api import health, reference_pages
from gp4u_server.api.body_limit import BodyLimit
from gp4u_server.api.description import describe
from gp4u_server.api.errors import install_error_documents
from gp4u_server.api.limits import limit_requests
from gp4u_server.api.metrics import RequestMetrics
from gp4u_server.api.middleware import RequestMiddleware
from gp4u_server.api.problems import ERROR_RESPONSES
from gp4u_server.api.routers import AGENT_ROUTERS, ROUTERS, STORE_ROUTERS
from gp4u_server.api.web_app import WEB_DIST, WebApp
from gp4u_server.foundation.platform import Platform

API_PREFIX = "/api/v1"
# By the start of the path, first match wins; everything else has the limit of the settings.
WIDER_BODIES = (
    (f"{API_PREFIX}/agent/", 16 << 20),
    # Its addresses are signed for an exact size and the endpoint stops at it; this only has to be larger.
    (f"{API_PREFIX}/store/", 1 << 34),
)

DESCRIPTION = """
Rent GPUs, offer GPUs, and let every job survive the death of its node.

Errors are [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) documents with a stable `code`. Listings are paged by
`cursor`. Money is in integer micro-units (millionths) of the currency. Send `Idempotency-Key` with a POST that
creates something, and repeat it freely. Programs authenticate with `Authorization: Bearer` and an access token
(`POST /api/v1/auth/token`) or an API key; browsers use HttpOnly cookies and echo `csrf_token` in `X-CSRF-Token`.
"""


def create_app(platform: Platform | None = None, *, web_dist: Path = WEB_DIST) -> FastAPI:
    """The application on a built platform. Without one it can only describe itself (see api.openapi)."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        if platform is None:
            yield
            return
        async with platform.running():
            yield

    settings = platform.settings if platform else None
    app = FastAPI(
        title="GP4U",
        version=gp4u_server.__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        # Stable names for generated clients: the endpoint functions' own.
        generate_unique_id_function=lambda route: route.name,
        responses=ERROR_RESPONSES,
        docs_url=None,
        redoc_url=None,
    )
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]
    app.state.provided = platform.provided if platform else {}
    app.state.probes = platform.probes if platform else {}
    app.state.metrics = RequestMetrics()
    install_error_documents(app)

    api = APIRouter(prefix=API_PREFIX)
    limited = [Depends(limit_requests)]
    for router in (*ROUTERS, health.platform_router):
        api.include_router(router, dependencies=limited)
    for router in (*AGENT_ROUTERS, *STORE_ROUTERS):
        api.include_router(router)
    app.include_router(api)
    app.include_router(health.router)
    app.include_router(reference_pages.router)
    app.include_router(WebApp(web_dist).router())

    https = settings is not None and settings.public_url.startswith("https://")
    # Added last, so it is outside: refused bodies have an id, headers and a log line like everything else.
    app.add_middleware(BodyLimit, default=settings.body_bytes_max if settings else 0, wider=WIDER_BODIES)
    app.add_middleware(RequestMiddleware, metrics=app.state.metrics, https=https)
    return app
