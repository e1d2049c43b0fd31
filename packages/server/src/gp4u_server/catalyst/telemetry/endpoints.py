"""How a node feels, over HTTP: its owner and admins may ask.

A renter may not, not even while his job runs there: the readings of a node tell what its other renters do. Of his own
GPUs he sees the load on his job's page, and of a fault the sentence in his job's timeline.
"""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.accounts.types import Principal, Role
from gp4u_server.accounts.web import require
from gp4u_server.catalyst.telemetry.errors import BadInterval, UnknownMetric
from gp4u_server.catalyst.telemetry.metrics import DEVICE_METRICS, NODE_METRICS, OF_NODE
from gp4u_server.catalyst.telemetry.schemas import DeviceEventOut, ReadingOut, SeriesOut, TelemetryOut
from gp4u_server.catalyst.telemetry.service import TelemetryService
from gp4u_server.catalyst.telemetry.summing import Resolution
from gp4u_server.catalyst.telemetry.types import DeviceEvent, Series
from gp4u_server.foundation.web import Session, provided
from gp4u_server.kit.paging import PAGE_SIZE_MAX, Page, decode_cursor, encode_cursor
from gp4u_server.nodes.service import NodeService
from gp4u_server.nodes.types import NodeView

router = APIRouter(tags=["nodes"])

OwnerOrAdmin = Annotated[Principal, Depends(require(Role.OWNER, Role.OPERATOR, Role.ADMIN))]
Nodes = Annotated[NodeService, Depends(provided(NodeService))]
Readings = Annotated[TelemetryService, Depends(provided(TelemetryService))]

DEFAULT_SPAN = timedelta(hours=1)
KNOWN = {metric.name for metric in (*NODE_METRICS, *DEVICE_METRICS)}
NODE_ITSELF = "node"


@router.get("/nodes/{node_id}/telemetry")
async def read_node_telemetry(
    node_id: str,
    user: OwnerOrAdmin,
    session: Session,
    nodes: Nodes,
    telemetry: Readings,
    since: Annotated[datetime | None, Query(alias="from", description="default: an hour before `to`")] = None,
    until: Annotated[datetime | None, Query(alias="to", description="default: now")] = None,
    resolution: Literal["auto", "10s", "1m", "1h"] = "auto",
    metrics: Annotated[
        str | None, Query(max_length=500, description="names, separated by commas; default: all")
    ] = None,
    device: Annotated[
        str | None, Query(max_length=100, description="a GPU's UUID, or `node` for the machine itself")
    ] = None,
) -> TelemetryOut:
    """Readings of a node and its GPUs: at most 600 points a series, each with the mean and the bounds of its step.

    Minutes and hours are there once they are over.
    """
    node = await _node(session, nodes, user, node_id)
    end = _aware(until) or telemetry.clock.now()
    begin = _aware(since) or end - DEFAULT_SPAN
    if begin >= end:
        raise BadInterval("`from` must lie before `to`.", field="from")
    uuids = [found.uuid for found in node.devices]
    if device is not None:
        uuids = [uuid for uuid in uuids if uuid == device]
    planned, series = await telemetry.series(
        session,
        node_id,
        uuids if device not in (None, NODE_ITSELF) else [OF_NODE, *(uuids if device is None else [])],
        metrics=_names(metrics),
        since=begin,
        until=end,
        resolution=None if resolution == "auto" else Resolution(resolution),
    )
    return TelemetryOut(
        node_id=node_id,
        since=begin,
        until=end,
        resolution=planned.resolution,
        step_s=round(planned.step.total_seconds()),
        series=[_series_out(each) for each in series],
    )


@router.get("/nodes/{node_id}/events")
async def list_node_events(
    node_id: str,
    user: OwnerOrAdmin,
    session: Session,
    nodes: Nodes,
    telemetry: Readings,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_SIZE_MAX)] = 50,
) -> Page[DeviceEventOut]:
    """What happened to a node's GPUs, the last received first."""
    await _node(session, nodes, user, node_id)
    before_id = str(decode_cursor(cursor, str)[0]) if cursor else None
    events = await telemetry.events_page(session, node_id, before_id=before_id, limit=limit + 1)
    page = events[:limit]
    return Page(
        items=[_event_out(event) for event in page],
        next_cursor=encode_cursor(page[-1].id) if len(events) > limit else None,
    )


async def _node(session: AsyncSession, nodes: NodeService, user: Principal, node_id: str) -> NodeView:
    if user.is_admin:
        return await nodes.view(session, node_id)
    return await nodes.read_owned(session, user.user_id, node_id)


def _aware(instant: datetime | None) -> datetime | None:
    """Without an offset, UTC is meant. Raises BadInterval for what no clock of ours has shown or will."""
    if instant is not None and not 2000 <= instant.year < 2200:
        raise BadInterval("Ask for a time of this century or the next.", field="from")
    return instant.replace(tzinfo=UTC) if instant is not None and instant.tzinfo is None else instant


def _names(metrics: str | None) -> frozenset[str] | None:
    if metrics is None:
        return None
    names = frozenset(name.strip() for name in metrics.split(",") if name.strip())
    for name in sorted(names - KNOWN):
        raise UnknownMetric(f"There is no metric {name!r}.", field="metrics")
    return names


def _series_out(series: Series) -> SeriesOut:
    return SeriesOut(
        device_uuid=series.device_uuid,
        at=list(series.at),
        metrics={
            name: ReadingOut(
                unit=reading.unit, mean=list(reading.mean), low=list(reading.low), high=list(reading.high)
            )
            for name, reading in series.metrics.items()
        },
    )


def _event_out(event: DeviceEvent) -> DeviceEventOut:
    return DeviceEventOut(
        id=event.id,
        device_uuid=event.device_uuid,
        kind=event.kind,
        code=event.code,
        severity=event.severity,
        sentence=event.sentence,
        occurred_at=event.occurred_at,
        received_at=event.received_at,
        detail={key: value for key, value in event.detail.items() if key != "sentence"},
    )
