"""Every query of the market, search aside."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from gp4u_protocol.job_spec import Resources
from sqlalchemy import Integer, any_, cast, func, insert, literal, not_, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.market.models import BOOKABLE, STANDING, OfferRow
from gp4u_server.market.types import OfferState, OfferView


def view(row: OfferRow) -> OfferView:
    """The frozen view of an offer."""
    return OfferView(
        id=row.id,
        node_id=row.node_id,
        node_name=row.node_name,
        owner_id=row.owner_id,
        owner_name=row.owner_name,
        gpu_model=row.gpu_model,
        gpu_name=row.gpu_name,
        vram_gb=row.vram_gb,
        gpus_total=row.gpus_total,
        gpus_free=row.gpus_free,
        price_per_gpu_hour_micros=row.price_per_gpu_hour_micros,
        interruptible_floor_micros=row.interruptible_floor_micros,
        duration_s_min=row.duration_s_min,
        duration_s_max=row.duration_s_max,
        region=row.region,
        cpus=row.cpus,
        memory_gb=row.memory_gb,
        disk_gb=row.disk_gb,
        runtimes=tuple(row.runtimes),
        reliability=row.reliability,
        reliability_low=row.reliability_low,
        reliability_high=row.reliability_high,
        record=row.record,
        seen_s=row.seen_s,
        hazard_per_hour=row.hazard_per_hour,
        fp16_tflops=row.fp16_tflops,
        fp32_tflops=row.fp32_tflops,
        memory_bandwidth_gb_s=row.memory_bandwidth_gb_s,
        perf_per_dollar=row.perf_per_dollar,
        simulated=row.simulated,
        node_ready=row.node_ready,
        state=OfferState(row.state),
        listed_at=row.listed_at,
        in_pool=row.in_pool,
        window_starts_at=row.window_starts_at,
    )


async def insert_offer(session: AsyncSession, **values: Any) -> OfferView:
    """Store one offer."""
    made = await session.execute(insert(OfferRow).values(**values).returning(OfferRow))
    return view(made.scalar_one())


async def offer(session: AsyncSession, offer_id: str) -> OfferView | None:
    """One offer in any state."""
    found = await session.execute(
        select(OfferRow).where(OfferRow.id == offer_id).execution_options(populate_existing=True)
    )
    row = found.scalar_one_or_none()
    return None if row is None else view(row)


async def node_of(session: AsyncSession, offer_id: str) -> str | None:
    """The node of an offer; it never changes."""
    return await session.scalar(select(OfferRow.node_id).where(OfferRow.id == offer_id))


async def standing_offer(session: AsyncSession, node_id: str) -> OfferView | None:
    """The node's offer that is not withdrawn."""
    found = await session.execute(
        select(OfferRow)
        .where(OfferRow.node_id == node_id, text(STANDING))
        .execution_options(populate_existing=True)
    )
    row = found.scalar_one_or_none()
    return None if row is None else view(row)


async def nodes_with_offers(session: AsyncSession, node_ids: Sequence[str]) -> set[str]:
    """Those of these nodes whose offer is not withdrawn."""
    return set(
        await session.scalars(select(OfferRow.node_id).where(OfferRow.node_id.in_(node_ids), text(STANDING)))
    )


async def owned_offers(
    session: AsyncSession, owner_id: str, *, before_id: str | None, limit: int
) -> list[OfferView]:
    """A page of an owner's offers, newest first."""
    query = select(OfferRow).where(OfferRow.owner_id == owner_id)
    if before_id is not None:
        query = query.where(OfferRow.id < before_id)
    rows = await session.scalars(
        query.order_by(OfferRow.id.desc()).limit(limit).execution_options(populate_existing=True)
    )
    return [view(row) for row in rows]


async def change_offer(session: AsyncSession, offer_id: str, **values: Any) -> OfferView:
    """Write columns of an offer whose node the caller has locked."""
    changed = await session.execute(
        update(OfferRow)
        .where(OfferRow.id == offer_id)
        .values(**values)
        .returning(OfferRow)
        .execution_options(populate_existing=True)
    )
    return view(changed.scalar_one())


async def take(session: AsyncSession, offer_id: str, gpus: int) -> OfferView | None:
    """Count `gpus` off a bookable offer, if that many are free. The row stays locked until commit."""
    taken = await session.execute(
        update(OfferRow)
        .where(OfferRow.id == offer_id, text(BOOKABLE), OfferRow.gpus_free >= gpus)
        .values(gpus_free=OfferRow.gpus_free - gpus)
        .returning(OfferRow)
        .execution_options(populate_existing=True)
    )
    row = taken.scalar_one_or_none()
    return None if row is None else view(row)


async def has_runtime(session: AsyncSession, runtime: str) -> bool:
    """Whether a listed offer's node has it."""
    found = (
        select(OfferRow.id)
        .where(OfferRow.state == OfferState.LISTED, literal(runtime) == any_(OfferRow.runtimes))
        .limit(1)
    )
    return await session.scalar(found) is not None


async def candidates(
    session: AsyncSession,
    resources: Resources,
    runtime: str,
    models: Sequence[str],
    regions: Sequence[str],
    limit: int,
) -> list[OfferView]:
    """Listed offers: fewest failed limits first, then by price for throughput."""
    failures = [
        not_(OfferRow.node_ready),
        OfferRow.gpus_free < resources.gpus,
        OfferRow.vram_gb < resources.vram_gb_min,
        OfferRow.cpus < resources.cpus,
        OfferRow.memory_gb < resources.memory_gb,
        OfferRow.disk_gb < resources.disk_gb,
        not_(literal(runtime) == any_(OfferRow.runtimes)),
    ]
    if models:
        failures.append(OfferRow.gpu_model.not_in(models))
    if regions:
        failures.append(OfferRow.region.not_in(regions))
    failed: Any = literal(0, Integer)
    for failure in failures:
        failed = failed + cast(failure, Integer)
    throughput = func.greatest(OfferRow.fp16_tflops, OfferRow.fp32_tflops)
    rows = await session.scalars(
        select(OfferRow)
        .where(OfferRow.state == OfferState.LISTED)
        .order_by(failed, OfferRow.price_per_gpu_hour_micros / throughput, OfferRow.id)
        .limit(limit)
        .execution_options(populate_existing=True)
    )
    return [view(row) for row in rows]


async def touch_standing_offer(session: AsyncSession, node_id: str, at: datetime) -> None:
    """Say of the node's offer that it was refreshed, and change nothing else of it."""
    await session.execute(
        update(OfferRow).where(OfferRow.node_id == node_id, text(STANDING)).values(refreshed_at=at)
    )


async def stale_nodes(session: AsyncSession, before: datetime, limit: int) -> list[str]:
    """Nodes whose standing offer was refreshed last before then, the oldest first."""
    found = await session.scalars(
        select(OfferRow.node_id)
        .where(text(STANDING), OfferRow.refreshed_at < before)
        .order_by(OfferRow.refreshed_at)
        .limit(limit)
    )
    return list(found)
