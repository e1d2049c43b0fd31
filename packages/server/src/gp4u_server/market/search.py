"""Search: a query becomes one statement that answers the page, the total and the facets in one round trip."""

import math
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, func, literal, literal_column, or_, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.kit.paging import InvalidCursor, decode_cursor, encode_cursor
from gp4u_server.market.models import BOOKABLE, OfferRow
from gp4u_server.market.query import BY_NAME, Op, Query, Sort, Term, Type, Value

FACETS = ("gpu_model", "region", "vram_gb")
FACET_VALUES_MAX = 100
DEFAULT_SORT = Sort(BY_NAME["price"])

_SHOWN = [
    OfferRow.__table__.c[name]
    for name in (
        "id",
        "node_id",
        "node_name",
        "owner_name",
        "gpu_model",
        "gpu_name",
        "vram_gb",
        "gpus_total",
        "gpus_free",
        "price_per_gpu_hour_micros",
        "interruptible_floor_micros",
        "duration_s_min",
        "duration_s_max",
        "region",
        "cpus",
        "memory_gb",
        "reliability",
        "reliability_low",
        "reliability_high",
        "record",
        "seen_s",
        "fp16_tflops",
        "fp32_tflops",
        "memory_bandwidth_gb_s",
        "perf_per_dollar",
        "simulated",
        "state",
        "listed_at",
        "window_starts_at",
    )
]


@dataclass(frozen=True)
class Found:
    """One page of a search. Items are JSON objects with the members of `OfferOut`."""

    items: list[dict[str, Any]]
    next_cursor: str | None
    total: int
    facets: dict[str, list[tuple[str, int]]]


async def search(session: AsyncSession, query: Query, *, cursor: str | None, limit: int) -> Found:
    """Offers that can be booked now. Raises InvalidCursor when the cursor belongs to another sort."""
    sort = query.sort or DEFAULT_SORT
    # Beside, and not within, the condition of the partial indexes: few nodes are in the replacement pool.
    conditions: list[Any] = [text(BOOKABLE), text("NOT in_pool"), *(_condition(term) for term in query.terms)]
    order = (_column(sort.field.column), _column("id"))
    page = (
        select(*_SHOWN)
        .where(*conditions, *([] if cursor is None else [_after(sort, order, cursor)]))
        .order_by(*(column.desc() if sort.descending else column.asc() for column in order))
        .limit(limit + 1)
        .subquery("page")
    )
    grouped = [_column(name) for name in FACETS]
    counts = (
        select(func.grouping(*grouped).label("grouping"), *grouped, func.count().label("count"))
        .where(*conditions)
        .group_by(func.grouping_sets(*(tuple_(column) for column in grouped), text("()")))
        .subquery("counts")
    )
    statement = select(
        *(
            select(func.coalesce(func.json_agg(func.row_to_json(literal_column(part.name))), text("'[]'")))
            .select_from(part)
            .scalar_subquery()
            for part in (page, counts)
        )
    )
    rows, counted = (await session.execute(statement)).one()
    return _found(rows, counted, sort, limit)


def _column(name: str) -> ColumnElement[Any]:
    column: ColumnElement[Any] = OfferRow.__table__.c[name]
    return column


def _condition(term: Term) -> ColumnElement[bool]:
    column = _column(term.field.column)
    if term.field.name == "owner":
        column = func.lower(column)
    values = [_bound(term.field.type, value) for value in term.values]
    match term.op:
        case Op.EQ:
            return column.in_(values)
        case Op.NE:
            return or_(column.not_in(values), column.is_(None))
        case Op.LT:
            return column < values[0]
        case Op.LE:
            return column <= values[0]
        case Op.GT:
            return column > values[0]
        case Op.GE:
            return column >= values[0]


def _bound(kind: Type, value: Value) -> Value | float:
    # Figures are double precision in the table; comparing them as numerics would keep the indexes out of it.
    return float(value) if kind is Type.NUMBER and isinstance(value, Decimal) else value


def _cursor_name(sort: Sort) -> str:
    return f"{'-' if sort.descending else ''}{sort.field.name}"


def _after(sort: Sort, order: tuple[ColumnElement[Any], ...], cursor: str) -> ColumnElement[bool]:
    name, raw, offer_id = (str(part) for part in decode_cursor(cursor, str, str, str))
    if name != _cursor_name(sort) or "\0" in offer_id:
        raise InvalidCursor("The cursor belongs to another sort order; start again without it.")
    last = tuple_(literal(_key(sort, raw)), literal(offer_id))
    return tuple_(*order) < last if sort.descending else tuple_(*order) > last


def _key(sort: Sort, raw: str) -> datetime | float | int:
    try:
        if sort.field.name == "listed_at":
            at = datetime.fromisoformat(raw)
            if at.tzinfo is None:
                raise ValueError("an instant without a zone")
            return at
        if sort.field.type is Type.NUMBER:
            figure = float(raw)
            if not math.isfinite(figure):
                raise ValueError("not a number")
            return figure
        number = int(raw)
        if abs(number) >= 1 << 63:
            raise ValueError("too large")
    except ValueError as error:
        raise InvalidCursor("The cursor is damaged; start again without it.") from error
    return number


def _found(rows: list[dict[str, Any]], counted: list[dict[str, Any]], sort: Sort, limit: int) -> Found:
    page = rows[:limit]
    next_cursor = None
    if len(rows) > limit:
        last = page[-1]
        next_cursor = encode_cursor(_cursor_name(sort), str(last[sort.field.column]), last["id"])
    total = 0
    facets: dict[str, list[tuple[str, int]]] = {name: [] for name in FACETS}
    for count in counted:
        # One bit per column, set where the row is *not* grouped by it; all set is the grand total.
        if count["grouping"] == (1 << len(FACETS)) - 1:
            total = count["count"]
            continue
        (name,) = (
            facet for place, facet in enumerate(reversed(FACETS)) if not count["grouping"] & 1 << place
        )
        facets[name].append((str(count[name]), count["count"]))
    for values in facets.values():
        values.sort(key=lambda item: (-item[1], item[0]))
        del values[FACET_VALUES_MAX:]
    return Found(page, next_cursor, total, facets)
