"""The market over HTTP: search offers, list and change one's own."""

from decimal import Decimal
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Response

from gp4u_server.accounts.types import Principal, Role
from gp4u_server.accounts.web import require
from gp4u_server.foundation.idempotency import IdempotencyKey, idempotent
from gp4u_server.foundation.web import Session, provided
from gp4u_server.kit.money import MICROS_PER_UNIT
from gp4u_server.kit.paging import PAGE_SIZE_MAX, Page, decode_cursor, encode_cursor
from gp4u_server.market import query
from gp4u_server.market.errors import QueryInvalid
from gp4u_server.market.schemas import (
    FacetValueOut,
    GpuModelOut,
    OfferIn,
    OfferOut,
    OfferPageOut,
    OfferPatch,
)
from gp4u_server.market.service import MarketService, Terms
from gp4u_server.market.types import OfferView

router = APIRouter(tags=["market"])

Market = Annotated[MarketService, Depends(provided(MarketService))]
Owner = Annotated[Principal, Depends(require(Role.OWNER, Role.OPERATOR))]

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


@router.get("/offers", response_model=OfferPageOut)
async def search_offers(
    session: Session,
    market: Market,
    q: Annotated[
        str | None,
        Query(
            max_length=1000,
            description="query line, e.g. `gpu_model=RTX_4090 vram_gb>=24 price<=0.60 sort:perf_per_dollar`",
        ),
    ] = None,
    gpu_model: Annotated[list[str] | None, Query(description="any of these models", max_length=32)] = None,
    region: Annotated[list[str] | None, Query(description="any of these regions", max_length=32)] = None,
    vram_gb_min: Annotated[int | None, Query(ge=0, le=1024)] = None,
    gpus_min: Annotated[int | None, Query(ge=1, le=64)] = None,
    price_micros_max: Annotated[int | None, Query(ge=1, le=10**12, description="per GPU and hour")] = None,
    reliability_min: Annotated[float | None, Query(ge=0, le=1)] = None,
    simulated: bool | None = None,
    sort: Annotated[Sort | None, Query(description="default: price; wins over a sort: in `q`")] = None,
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_SIZE_MAX)] = 50,
) -> Response:
    """Search offers that can be booked now. Typed filters and the query line combine with AND.

    An unknown field is 422 `unknown_field` with a `suggestion`; nothing is silently dropped.
    """
    line = query.parse(q or "", market.catalogue)
    typed: list[tuple[str, query.Op, list[str]]] = []
    for name, texts in (("gpu_model", gpu_model), ("region", region)):
        if texts:
            typed.append((name, query.Op.EQ, texts))
    if vram_gb_min is not None:
        typed.append(("vram_gb", query.Op.GE, [str(vram_gb_min)]))
    if gpus_min is not None:
        typed.append(("gpus", query.Op.GE, [str(gpus_min)]))
    if price_micros_max is not None:
        typed.append(("price", query.Op.LE, [format(Decimal(price_micros_max) / MICROS_PER_UNIT, "f")]))
    if reliability_min is not None:
        typed.append(("reliability", query.Op.GE, [format(Decimal(reliability_min), ".12f")]))
    if simulated is not None:
        typed.append(("simulated", query.Op.EQ, [str(simulated)]))
    for name, _, texts in typed:
        if any("\0" in value for value in texts):
            raise QueryInvalid("The filter holds a NUL character.", position=0, field=name)
    terms = [
        query.compile_term(query.find_field(name), op, texts, market.catalogue) for name, op, texts in typed
    ]
    found = await market.search(
        session,
        query.Query((*line.terms, *terms), query.find_sort(sort) if sort else line.sort),
        cursor=cursor,
        limit=limit,
    )
    page = OfferPageOut(
        items=[OfferOut.model_validate(item) for item in found.items],
        next_cursor=found.next_cursor,
        total=found.total,
        facets={
            name: [FacetValueOut(value=value, count=count) for value, count in values]
            for name, values in found.facets.items()
        },
    )
    # Serialised once: letting the framework check its own models again costs more than the search.
    return Response(page.model_dump_json(), media_type="application/json")


@router.get("/offers/mine")
async def list_my_offers(
    owner: Owner,
    session: Session,
    market: Market,
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_SIZE_MAX)] = 50,
) -> Page[OfferOut]:
    """The caller's own offers, in every state, newest first."""
    before_id = str(decode_cursor(cursor, str)[0]) if cursor else None
    views = await market.list_owned(session, owner.user_id, before_id=before_id, limit=limit + 1)
    page = views[:limit]
    return Page(
        items=[offer_out(view) for view in page],
        next_cursor=encode_cursor(page[-1].id) if len(views) > limit else None,
    )


@router.get("/offers/{offer_id}")
async def read_offer(offer_id: str, session: Session, market: Market) -> OfferOut:
    """One offer."""
    return offer_out(await market.offer(session, offer_id))


@router.post("/offers", status_code=201, response_model=OfferOut)
async def list_offer(
    body: OfferIn,
    owner: Owner,
    session: Session,
    market: Market,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """List a node's GPUs. One live offer a node; searchable at once."""

    async def list_node() -> OfferOut:
        made = await market.list_node(
            session,
            owner_id=owner.user_id,
            owner_name=owner.name,
            node_id=body.node_id,
            terms=Terms(
                body.price_per_gpu_hour_micros,
                body.interruptible_floor_micros,
                body.duration_s_min,
                body.duration_s_max,
            ),
        )
        return offer_out(made)

    return await idempotent(
        session,
        principal=owner.user_id,
        route="POST /offers",
        key=idempotency_key,
        body=body,
        action=list_node,
    )


@router.patch("/offers/{offer_id}")
async def change_offer(
    offer_id: str, body: OfferPatch, owner: Owner, session: Session, market: Market
) -> OfferOut:
    """Change terms (running bookings keep theirs), pause, list again or withdraw.

    `interruptible_floor_micros: null` removes the floor; fields that are left out stay as they are.
    """
    changed: dict[str, Any] = {
        name: getattr(body, name)
        for name in body.model_fields_set
        if getattr(body, name) is not None or name == "interruptible_floor_micros"
    }
    state = changed.pop("state", None)
    return offer_out(
        await market.change_offer(
            session, owner_id=owner.user_id, offer_id=offer_id, terms=changed, state=state
        )
    )


@router.get("/gpu-models")
async def list_gpu_models(market: Market) -> list[GpuModelOut]:
    """The catalogue of GPU models with their published figures."""
    return [
        GpuModelOut(
            model=model.model,
            name=model.name,
            vram_gb=model.vram_gb,
            fp16_tflops=model.fp16_tflops,
            fp32_tflops=model.fp32_tflops,
            memory_bandwidth_gb_s=model.memory_bandwidth_gb_s,
            tdp_w=model.tdp_w,
        )
        for model in market.catalogue.models.values()
    ]


def offer_out(view: OfferView) -> OfferOut:
    """An offer as everybody sees it."""
    return OfferOut(
        **{name: getattr(view, name) for name in OfferOut.model_fields},
    )
