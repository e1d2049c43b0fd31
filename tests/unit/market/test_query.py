"""The query line: what it reads, what it refuses and how, and that nothing breaks it."""

from decimal import Decimal

import pytest
from gp4u_server.kit.errors import DomainError
from gp4u_server.market import query
from gp4u_server.market.catalogue import load
from gp4u_server.market.errors import BadOperator, BadValue, QueryInvalid, UnknownField
from gp4u_server.market.query import BY_NAME, FIELDS, SORTABLE, Op, Query, Sort, Term, Type, parse, render
from hypothesis import given, settings
from hypothesis import strategies as st

CATALOGUE = load()
MODELS = sorted(CATALOGUE.models)


def read(line: str) -> Query:
    return parse(line, CATALOGUE)


def term(line: str) -> Term:
    (only,) = read(line).terms
    return only


def test_the_line_of_the_design():
    found = read("gpu_model=RTX_4090 vram_gb>=24 price<=0.60 reliability>=0.99 sort:perf_per_dollar")
    assert [(t.field.name, t.op, t.values) for t in found.terms] == [
        ("gpu_model", Op.EQ, ("RTX_4090",)),
        ("vram_gb", Op.GE, (24,)),
        ("price", Op.LE, (600_000,)),
        ("reliability", Op.GE, (Decimal("0.99"),)),
    ]
    assert found.sort == Sort(BY_NAME["perf_per_dollar"])


@pytest.mark.parametrize("line", ["", "   ", "\t\n"])
def test_nothing_is_the_query_for_everything(line):
    assert read(line) == Query()


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("gpu_model=rtx_4090", ("RTX_4090",)),
        ("GPU_MODEL=4090", ("RTX_4090",)),
        ('gpu_model="NVIDIA GeForce RTX 4090"', ("RTX_4090",)),
        ("model=rtx_4090,L40S", ("RTX_4090", "L40S")),
        ("gpu=h100", ("H100_SXM", "H100_PCIE", "H100_NVL")),
        ("region=EU-West,us-east", ("eu-west", "us-east")),
        ("region = eu-west", ("eu-west",)),
        ("simulated=no", (False,)),
        ("price<$0.5", (500_000,)),
        ("price=.25", (250_000,)),
        ("price<=0.000001", (1,)),
        ("vram_gb=24.0", (24,)),
        ("vram_gb=24,24", (24,)),
    ],
)
def test_values(line, values):
    assert term(line).values == values


@pytest.mark.parametrize("op", list(Op))
def test_every_operator(op):
    assert term(f"vram_gb{op}24").op is op
    assert term(f"vram_gb {op} 24").op is op


@pytest.mark.parametrize(
    ("line", "error", "position", "suggestion"),
    [
        ("gpu_modl=RTX_4090", UnknownField, 0, "gpu_model"),
        ("vram_gb>=24 prise<=1", UnknownField, 12, "price"),
        ("listed_at=1", UnknownField, 0, None),
        ("sort:prize", UnknownField, 5, "price"),
        ("sort:region", UnknownField, 5, None),
        ("gpu_model=RTX_4900", BadValue, 0, "RTX_4090"),
        ("price<=cheap", BadValue, 0, "price<=0.60"),
        ("price<=", BadValue, 7, "price<=0.60"),
        ("price<=1,2", BadValue, 0, None),
        ("price<=0.0000001", BadValue, 0, None),
        ("price<=1e3", BadValue, 0, "price<=0.60"),
        ("price<=nan", BadValue, 0, "price<=0.60"),
        ("vram_gb>=2.5", BadValue, 0, "vram_gb>=24"),
        ("vram_gb>=9999999999999999999", BadValue, 0, "vram_gb>=24"),
        ("simulated=maybe", BadValue, 0, "simulated=false"),
        ("region>eu", BadOperator, 0, None),
        ("gpu_model<RTX_4090", BadOperator, 0, None),
        ("price", BadOperator, 0, "price<=0.60"),
        ("price:1", QueryInvalid, 0, "price="),
        ("=4", QueryInvalid, 0, None),
        ("price<=1 , vram_gb>=2", QueryInvalid, 9, None),
        ('node="open', QueryInvalid, 5, None),
        ('node="a"b', QueryInvalid, 8, None),
        ("sort:price sort:price", QueryInvalid, 11, None),
        ("sort:", QueryInvalid, 5, None),
        ("node=a\0", QueryInvalid, 6, None),
        ("price<=1 " * 40, QueryInvalid, None, None),
        ("x" * 1001, QueryInvalid, 1000, None),
    ],
)
def test_what_is_refused_says_where_and_what_instead(line, error, position, suggestion):
    with pytest.raises(error) as refused:
        read(line)
    assert type(refused.value) is error
    if position is not None:
        assert refused.value.extra["position"] == position
    assert refused.value.extra.get("suggestion") == suggestion
    assert refused.value.detail.endswith((".", "?"))


def test_an_alias_is_the_field_itself():
    assert term("vram>=24") == term("vram_gb>=24")


text_values = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=20).map(
    str.lower
)
prices = st.integers(0, 10**12)
numbers = st.decimals(-(10**6), 10**6, places=6, allow_nan=False, allow_infinity=False)
value_of = {
    Type.TEXT: text_values,
    Type.MODEL: st.sampled_from(MODELS),
    Type.INTEGER: st.integers(-(10**6), 10**6),
    Type.NUMBER: numbers,
    Type.PRICE: prices,
    Type.FLAG: st.booleans(),
}


@st.composite
def terms(draw: st.DrawFn) -> Term:
    field = draw(st.sampled_from([field for field in FIELDS if field.name != "listed_at"]))
    if field.type in (Type.TEXT, Type.MODEL, Type.FLAG):
        op = draw(st.sampled_from([Op.EQ, Op.NE]))
    else:
        op = draw(st.sampled_from(list(Op)))
    count = 3 if op in (Op.EQ, Op.NE) else 1
    values = draw(st.lists(value_of[field.type], min_size=1, max_size=count, unique=True))
    return Term(field, op, tuple(values))


queries = st.builds(
    Query,
    st.lists(terms(), max_size=5).map(tuple),
    st.none() | st.builds(Sort, st.sampled_from([BY_NAME[name] for name in SORTABLE]), st.booleans()),
)


@given(queries)
@settings(max_examples=300, deadline=None)
def test_a_rendered_query_reads_back_the_same(made):
    line = render(made)
    if len(line) <= query.LENGTH_MAX:
        assert read(line) == made


@given(st.text(max_size=60) | st.text(alphabet='gpu_modelprice<>=!,:" .0123456789sort-\\', max_size=60))
@settings(max_examples=500, deadline=None)
def test_any_text_is_read_or_refused_with_a_position(line):
    try:
        found = read(line)
    except DomainError as refused:
        assert isinstance(refused, QueryInvalid)
        position = refused.extra["position"]
        assert isinstance(position, int)
        assert 0 <= position <= len(line)
    else:
        assert read(render(found)) == found
