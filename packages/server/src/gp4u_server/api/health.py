"""Is the process alive, can it work, what has it done, and what platform is this."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

import gp4u_server
from gp4u_server.accounts.authenticator import Authenticator
from gp4u_server.accounts.scraping import require_scraper
from gp4u_server.api.metrics import CONTENT_TYPE
from gp4u_server.demo.schemas import PlatformOut
from gp4u_server.foundation.web import provided
from gp4u_server.settings import Settings

PATIENCE_S = 2.0
Probe = Callable[[], Awaitable[None]]

router = APIRouter(tags=["platform"])
platform_router = APIRouter(tags=["platform"])


class ReadinessOut(BaseModel):
    """`ready` only when every part answers."""

    ready: bool
    parts: dict[str, str]


@router.get("/health")
async def read_health() -> dict[str, str]:
    """The process is alive. Says nothing about what it needs."""
    return {"status": "alive", "version": gp4u_server.__version__}


@router.get("/readiness", responses={503: {"model": ReadinessOut}}, response_model=ReadinessOut)
async def read_readiness(request: Request) -> JSONResponse:
    """PostgreSQL, Valkey and the object store answer. 503 when one does not, with the parts named."""
    probes: dict[str, Probe] = request.app.state.probes
    answers = await asyncio.gather(*(_state(probe) for probe in probes.values()))
    parts = dict(zip(probes, answers, strict=True))
    if all(answer == "ok" for answer in answers):
        return JSONResponse({"ready": True, "parts": parts})
    return JSONResponse({"ready": False, "parts": parts}, 503, {"Retry-After": "2"})


@router.get("/metrics", include_in_schema=False)
async def read_metrics(
    request: Request, authenticator: Annotated[Authenticator, Depends(provided(Authenticator))]
) -> Response:
    """What Prometheus scrapes, from this machine or with an admin's API key."""
    await require_scraper(request, authenticator)
    return Response(request.app.state.metrics.render(), media_type=CONTENT_TYPE)


@platform_router.get("/platform")
async def read_platform(settings: Annotated[Settings, Depends(provided(Settings))]) -> PlatformOut:
    """What every page needs to know once."""
    return PlatformOut(
        name="GP4U",
        version=gp4u_server.__version__,
        demo=settings.demo,
        currency=settings.currency,
        owner_share_percent=settings.owner_share_percent,
        operator_share_percent=settings.operator_share_percent,
        heartbeat_ttl_s=settings.lease_ttl_s,
    )


async def _state(probe: Probe) -> str:
    try:
        await asyncio.wait_for(probe(), PATIENCE_S)
    except Exception as error:
        return f"unreachable ({type(error).__name__})"
    return "ok"
