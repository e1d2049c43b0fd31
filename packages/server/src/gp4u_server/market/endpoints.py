"""The market over HTTP: search offers, list and change one's own."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from gp4u_server.kit.paging import Page
from gp4u_server.market.schemas import GpuModelOut, OfferIn, OfferOut, OfferPageOut, OfferPatch

router = APIRouter(tags=["market"])

Sort = Literal[
    "price",
    "-price",
    "vram_gb",
    "-vram_gb",
    "reliability",
    "-reliability",
    "perf_per_dollar",
    "-perf_per_dollar",
    "fp16_tflops",
    "-fp16_tflops",
    "listed_at",
    "-listed_at",
]


@router.get("/offers")
async def search_offers(
    q: Annotated[
        str | None,
        Query(
            max_length=1000,
            description="query line, e.g. `gpu_model=RTX_4090 vram_gb>=24 price<=0.60 sort:perf_per_dollar`",
        ),
    ] = None,
    gpu_model: Annotated[list[str] | None, Query(description="any of these models")] = None,
    region: Annotated[list[str] | None, Query(description="any of these regions")] = None,
    vram_gb_min: int | None = None,
    gpus_min: int | None = None,
    price_micros_max: Annotated[int | None, Query(description="per GPU and hour")] = None,
    reliability_min: float | None = None,
    simulated: bool | None = None,
    sort: Sort = "price",
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> OfferPageOut:
    """Search offers that can be booked now. Typed filters and the query line combine with AND.

    An unknown field is 422 `unknown_field` with a `suggestion`; nothing is silently dropped.
    """
    raise NotImplementedError


@router.get("/offers/mine")
async def list_my_offers(cursor: str | None = None, limit: int = 50) -> Page[OfferOut]:
    """The caller's own offers, in every state."""
    raise NotImplementedError


@router.get("/offers/{offer_id}")
async def read_offer(offer_id: str) -> OfferOut:
    """One offer."""
    raise NotImplementedError


@router.post("/offers", status_code=201)
async def list_offer(body: OfferIn) -> OfferOut:
    """List a node's GPUs. One live offer a node; searchable at once."""
    raise NotImplementedError


@router.patch("/offers/{offer_id}")
async def change_offer(offer_id: str, body: OfferPatch) -> OfferOut:
    """Change terms (running bookings keep theirs), pause, list again or withdraw."""
    raise NotImplementedError


@router.get("/gpu-models")
async def list_gpu_models() -> list[GpuModelOut]:
    """The catalogue of GPU models with their published figures."""
    raise NotImplementedError
