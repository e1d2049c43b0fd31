"""The query line: one grammar for the API's `?q=`, the command and the address bar. Pure.

    line   = *( term / sort )           separated by white space
    term   = field op value *( "," value )
    op     = "=" / "!=" / "<" / "<=" / ">" / ">="
    sort   = "sort:" [ "-" ] field
    value  = word / <"> characters, with \\" and \\\\ <">

`gpu_model=RTX_4090,A100_80GB vram_gb>=24 price<=0.60 sort:-perf_per_dollar`

Fields, and words among values, know no case. Several values mean "any of these" after `=` and "none of these" after
`!=`. Prices are in units of the currency per GPU and hour (0.60), memory is in GiB. Every term narrows the result
(AND). Nothing is ever dropped: what cannot be read is an error with its position and, where possible, a suggestion.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from enum import StrEnum

from gp4u_server.market.catalogue import Catalogue
from gp4u_server.market.errors import BadOperator, BadValue, QueryInvalid, UnknownField, UnknownModel

LENGTH_MAX = 1000
TERMS_MAX = 32
VALUES_MAX = 64
NUMBER_MAX = Decimal(10) ** 12
MICROS = Decimal(1_000_000)


class Op(StrEnum):
    """Comparison of a field with a value."""

    EQ = "="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="


class Type(StrEnum):
    """What sort of values a field takes."""

    TEXT = "text"
    MODEL = "model"
    INTEGER = "integer"
    NUMBER = "number"
    PRICE = "price"
    FLAG = "flag"


@dataclass(frozen=True)
class Field:
    """One searchable field: its name in queries, the column behind it, and how its values read."""

    name: str
    column: str
    type: Type
    sortable: bool = False
    aliases: tuple[str, ...] = ()


FIELDS = (
    Field("gpu_model", "gpu_model", Type.MODEL, aliases=("model", "gpu")),
    Field("vram_gb", "vram_gb", Type.INTEGER, sortable=True, aliases=("vram",)),
    Field("gpus", "gpus_free", Type.INTEGER, aliases=("gpus_free", "num_gpus")),
    Field("gpus_total", "gpus_total", Type.INTEGER),
    Field("price", "price_per_gpu_hour_micros", Type.PRICE, sortable=True),
    Field("interruptible_floor", "interruptible_floor_micros", Type.PRICE, aliases=("floor",)),
    Field("region", "region", Type.TEXT),
    Field("reliability", "reliability", Type.NUMBER, sortable=True),
    Field("perf_per_dollar", "perf_per_dollar", Type.NUMBER, sortable=True),
    Field("fp16_tflops", "fp16_tflops", Type.NUMBER, sortable=True, aliases=("tflops",)),
    Field("fp32_tflops", "fp32_tflops", Type.NUMBER),
    Field("memory_bandwidth_gb_s", "memory_bandwidth_gb_s", Type.NUMBER, aliases=("memory_bandwidth",)),
    Field("cpus", "cpus", Type.INTEGER),
    Field("memory_gb", "memory_gb", Type.INTEGER, aliases=("ram_gb", "memory")),
    Field("disk_gb", "disk_gb", Type.INTEGER, aliases=("disk",)),
    Field("duration_s_min", "duration_s_min", Type.INTEGER),
    Field("duration_s_max", "duration_s_max", Type.INTEGER),
    Field("node", "node_name", Type.TEXT, aliases=("node_name",)),
    Field("owner", "owner_name", Type.TEXT, aliases=("owner_name",)),
    Field("simulated", "simulated", Type.FLAG),
    Field("listed_at", "listed_at", Type.TEXT, sortable=True),
)
BY_NAME = {name: field for field in FIELDS for name in (field.name, *field.aliases)}
SORTABLE = tuple(field.name for field in FIELDS if field.sortable)
FILTERABLE = tuple(name for name in BY_NAME if name != "listed_at")

Value = str | int | Decimal | bool


@dataclass(frozen=True)
class Term:
    """One condition. `values` has one member unless `op` is EQ or NE. Prices are micro-units here."""

    field: Field
    op: Op
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Sort:
    """An order: by a field, upwards unless `descending`."""

    field: Field
    descending: bool = False


@dataclass(frozen=True)
class Query:
    """A whole query: every term must hold."""

    terms: tuple[Term, ...] = ()
    sort: Sort | None = None


_TOKEN = re.compile(r"\s*(?P<name>[^\s=!<>,:\"]+)\s*(?P<op><=|>=|!=|=|<|>|:)?\s*")
_WORD = re.compile(r"[^\s,\"=!<>]+")
_QUOTED = re.compile(r'"((?:[^"\\]|\\["\\])*)"')
_BARE = re.compile(r"[^\s,\"=!<>:\\]+\Z")


def parse(line: str, catalogue: Catalogue) -> Query:
    """Read a query line.

    Raises QueryInvalid, UnknownField, BadOperator or BadValue; each carries `position`, and `suggestion` where one
    is near.
    """
    if len(line) > LENGTH_MAX:
        raise QueryInvalid(f"The query is longer than {LENGTH_MAX} characters.", position=LENGTH_MAX)
    if "\0" in line:
        raise QueryInvalid("The query holds a NUL character.", position=line.index("\0"))
    terms: list[Term] = []
    sort: Sort | None = None
    position = len(line) - len(line.lstrip())
    while position < len(line):
        match = _TOKEN.match(line, position)
        if match is None:
            raise QueryInvalid(
                f"Expected a field at position {position}, for example price<=0.60.", position=position
            )
        name, operator = match["name"], match["op"]
        if operator == ":":
            if name.lower() != "sort":
                raise QueryInvalid(
                    f"{name[:100]!r} cannot stand before a colon; only sort: can. Write field=value.",
                    position=position,
                    suggestion=f"{name[:100]}=",
                )
            if sort is not None:
                raise QueryInvalid("There is more than one sort:.", position=position)
            sort, position = _read_sort(line, match.end())
        else:
            field = find_field(name, position=position)
            if operator is None:
                raise BadOperator(
                    f"{field.name} needs a comparison, for example {_example(field)}.",
                    position=position,
                    field=field.name,
                    suggestion=_example(field),
                )
            raw, position = _read_values(line, match.end(), field)
            terms.append(compile_term(field, Op(operator), raw, catalogue, position=match.start("name")))
            if len(terms) > TERMS_MAX:
                raise QueryInvalid(f"A query may have at most {TERMS_MAX} terms.", position=position)
        if position < len(line) and not line[position].isspace():
            raise QueryInvalid(f"Unexpected {line[position]!r} at position {position}.", position=position)
        position += len(line[position:]) - len(line[position:].lstrip())
    return Query(tuple(terms), sort)


def find_field(name: str, *, position: int = 0) -> Field:
    """The field of this name or alias. Raises UnknownField with a suggestion."""
    field = BY_NAME.get(name.lower())
    if field is None or field.name == "listed_at":
        suggestion = _nearest(name, FILTERABLE)
        hint = f" Did you mean {suggestion}?" if suggestion else f" Known: {', '.join(sorted(FILTERABLE))}."
        raise UnknownField(
            f"There is no field {name[:100]!r}.{hint}",
            position=position,
            field=name[:100],
            suggestion=suggestion,
        )
    return field


def find_sort(name: str, *, position: int = 0) -> Sort:
    """The order called `name` or `-name`. Raises UnknownField with a suggestion."""
    bare = name.removeprefix("-")
    field = BY_NAME.get(bare.lower())
    if field is None or not field.sortable:
        suggestion = _nearest(bare, SORTABLE)
        hint = f" Did you mean {suggestion}?" if suggestion else ""
        raise UnknownField(
            f"Offers cannot be sorted by {bare[:100]!r}.{hint} Possible: {', '.join(SORTABLE)}.",
            position=position,
            field=bare[:100],
            suggestion=suggestion,
        )
    return Sort(field, name.startswith("-"))


def compile_term(
    field: Field, op: Op, raw_values: list[str], catalogue: Catalogue, *, position: int = 0
) -> Term:
    """A term from a field and the texts of its values. Raises BadOperator or BadValue."""
    if len(raw_values) > VALUES_MAX:
        raise BadValue(f"At most {VALUES_MAX} values.", position=position, field=field.name)
    if op not in (Op.EQ, Op.NE):
        if field.type in (Type.TEXT, Type.MODEL, Type.FLAG):
            raise BadOperator(
                f"{field.name} can only be compared with = and !=.", position=position, field=field.name
            )
        if len(raw_values) > 1:
            raise BadValue(f"{op} takes one value.", position=position, field=field.name)
    values: list[Value] = []
    for raw in raw_values:
        values += _READERS[field.type](field, raw, catalogue, position)
    return Term(field, op, tuple(dict.fromkeys(values)))


def render(query: Query) -> str:
    """The query as a line that `parse` reads back to an equal query."""
    parts = [
        f"{term.field.name}{term.op}{','.join(_render_value(term.field, value) for value in term.values)}"
        for term in query.terms
    ]
    if query.sort is not None:
        parts.append(f"sort:{'-' if query.sort.descending else ''}{query.sort.field.name}")
    return " ".join(parts)


def _render_value(field: Field, value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if field.type is Type.PRICE:
        return format((Decimal(value) / MICROS).normalize(), "f")
    if isinstance(value, Decimal):
        return format(value, "f")
    text = str(value)
    if _BARE.match(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _read_sort(line: str, position: int) -> tuple[Sort, int]:
    match = _WORD.match(line, position)
    if match is None:
        raise QueryInvalid("sort: needs a field, for example sort:price.", position=position)
    return find_sort(match[0], position=position), match.end()


def _read_values(line: str, position: int, field: Field) -> tuple[list[str], int]:
    values = []
    while True:
        if position < len(line) and line[position] == '"':
            match = _QUOTED.match(line, position)
            if match is None:
                raise QueryInvalid("A quotation mark is not closed.", position=position)
            values.append(re.sub(r"\\(.)", r"\1", match[1]))
        else:
            match = _WORD.match(line, position)
            if match is None:
                raise BadValue(
                    f"{field.name} needs a value, for example {_example(field)}.",
                    position=position,
                    field=field.name,
                    suggestion=_example(field),
                )
            values.append(match[0])
        position = match.end()
        if position >= len(line) or line[position] != ",":
            return values, position
        position += 1


def _read_text(field: Field, raw: str, _: Catalogue, position: int) -> list[Value]:
    if not raw or len(raw) > 200:
        raise BadValue(f"{field.name} needs 1 to 200 characters.", position=position, field=field.name)
    return [raw.lower()]


def _read_model(field: Field, raw: str, catalogue: Catalogue, position: int) -> list[Value]:
    try:
        return list(catalogue.resolve(raw))
    except UnknownModel as error:
        raise BadValue(
            error.detail, position=position, field=field.name, suggestion=error.extra.get("suggestion")
        ) from error


def _read_number(field: Field, raw: str, _: Catalogue, position: int) -> list[Value]:
    number = _decimal(raw)
    if number is None:
        raise BadValue(
            f"{raw[:50]!r} is not a number, and {field.name} needs one, for example {_example(field)}.",
            position=position,
            field=field.name,
            suggestion=_example(field),
        )
    return [number]


def _read_integer(field: Field, raw: str, catalogue: Catalogue, position: int) -> list[Value]:
    (number,) = _read_number(field, raw, catalogue, position)
    assert isinstance(number, Decimal)
    if number != number.to_integral_value():
        raise BadValue(
            f"{field.name} is counted in whole numbers; {raw[:50]!r} is none.",
            position=position,
            field=field.name,
            suggestion=_example(field),
        )
    return [int(number)]


def _read_price(field: Field, raw: str, catalogue: Catalogue, position: int) -> list[Value]:
    (number,) = _read_number(field, raw.removeprefix("$"), catalogue, position)
    assert isinstance(number, Decimal)
    micros = number * MICROS
    if micros != micros.to_integral_value():
        raise BadValue("Prices have at most six decimals.", position=position, field=field.name)
    return [int(micros)]


def _read_flag(field: Field, raw: str, _: Catalogue, position: int) -> list[Value]:
    word = raw.lower()
    if word in ("true", "yes", "1"):
        return [True]
    if word in ("false", "no", "0"):
        return [False]
    raise BadValue(
        f"{field.name} is true or false.", position=position, field=field.name, suggestion=_example(field)
    )


_READERS: dict[Type, Callable[[Field, str, Catalogue, int], list[Value]]] = {
    Type.TEXT: _read_text,
    Type.MODEL: _read_model,
    Type.INTEGER: _read_integer,
    Type.NUMBER: _read_number,
    Type.PRICE: _read_price,
    Type.FLAG: _read_flag,
}


def _decimal(raw: str) -> Decimal | None:
    if not re.fullmatch(r"[+-]?(\d{1,15}(\.\d{0,12})?|\.\d{1,12})", raw, re.ASCII):
        return None
    try:
        number = Decimal(raw)
    except InvalidOperation:
        return None
    return number if abs(number) <= NUMBER_MAX else None


def _example(field: Field) -> str:
    return {
        Type.TEXT: f"{field.name}=eu-west",
        Type.MODEL: f"{field.name}=RTX_4090",
        Type.INTEGER: f"{field.name}>=24",
        Type.NUMBER: f"{field.name}>=0.99",
        Type.PRICE: f"{field.name}<=0.60",
        Type.FLAG: f"{field.name}=false",
    }[field.type]


def _nearest(name: str, known: tuple[str, ...]) -> str | None:
    close = get_close_matches(name.lower()[:64], known, n=1, cutoff=0.6)
    return BY_NAME[close[0]].name if close else None
