"""Amounts of money never meet a float: looked up in the code itself, where they are computed and moved."""

import ast
from pathlib import Path

import gp4u_server
import pytest

_SERVER = Path(gp4u_server.__file__).parent
# `billing.funds` and `billing.statements` divide to tell *seconds*; `ledger.types` and the like have no arithmetic.
MONEY = [
    "kit/money.py",
    "billing/metering.py",
    "billing/settling.py",
    "billing/service.py",
    "billing/top_ups.py",
    "billing/repository.py",
    "bookings/capacity.py",
    "bookings/service.py",
    "ledger/decisions.py",
    "ledger/repository.py",
    "ledger/service.py",
    "ledger/verify.py",
]


def floats_in(source: str) -> list[str]:
    """Every place where a float could come from: a literal, a true division, a conversion, a Decimal, a power."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Constant(value=float()):
                found.append(f"{node.lineno}: the literal {node.value}")
            case ast.BinOp(op=ast.Div()) | ast.AugAssign(op=ast.Div()):
                found.append(f"{node.lineno}: a division with /")
            case ast.Call(func=ast.Name(id="float" | "Decimal" as name)):
                found.append(f"{node.lineno}: {name}()")
    return found


@pytest.mark.parametrize("module", MONEY)
def test_h14_rounding_no_float_touches_money(module: str) -> None:
    assert floats_in((_SERVER / module).read_text()) == []


def test_the_search_finds_floats() -> None:
    assert len(floats_in("a = 0.5\nb = a / 2\nc = float('1')\na /= 2\nd = 7 // 2")) == 4


def test_amounts_are_integers_in_every_table_and_in_the_api() -> None:
    """`…_micros` is a bigint where it is stored and an integer where it is told."""
    for path in _SERVER.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation) if "_micros" in name:
                    assert "float" not in ast.unparse(annotation), f"{path}: {ast.unparse(node)}"
