"""How the command prints: tables for people, JSON for programs, one error shape, documented exit codes."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import wraps
from typing import Any, NoReturn, TypeVar

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gp4u import config
from gp4u.api import ApiClient, ApiError

FAILED, USAGE, NOT_ALLOWED, NOT_FOUND, CONFLICT, NO_FUNDS, UNREACHABLE = 1, 2, 3, 4, 5, 6, 7
_EXIT_BY_STATUS = {
    0: UNREACHABLE,
    400: USAGE,
    401: NOT_ALLOWED,
    402: NO_FUNDS,
    403: NOT_ALLOWED,
    404: NOT_FOUND,
    409: CONFLICT,
    413: USAGE,
    422: USAGE,
    429: UNREACHABLE,
    502: UNREACHABLE,
    503: UNREACHABLE,
}

# Rich reads NO_COLOR, FORCE_COLOR and TERM itself. Into a pipe nothing is cut to a width.
console = Console(
    highlight=False, width=None if sys.stdout.isatty() else 400, soft_wrap=not sys.stdout.isatty()
)
errors = Console(stderr=True, highlight=False)

Function = TypeVar("Function", bound=Callable[..., Any])
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def table(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], *, empty: str, right: frozenset[int] = frozenset()
) -> None:
    """A plain table, or the sentence `empty` when there are no rows."""
    if not rows:
        console.print(empty, style="dim")
        return
    grid = Table(box=None, pad_edge=False, header_style="dim")
    for index, column in enumerate(columns):
        grid.add_column(column, justify="right" if index in right else "left", no_wrap=index == 0)
    for row in rows:
        grid.add_row(*[cell if isinstance(cell, Text) else str(cell) for cell in row])
    console.print(grid)


def money(micros: int | None, currency: str = "USD") -> str:
    """`1_500_000` → `$1.50`; small amounts keep the digits that matter."""
    if micros is None:
        return "-"
    symbol = "$" if currency == "USD" else f"{currency} "
    sign = "-" if micros < 0 else ""
    units, rest = divmod(abs(micros), 1_000_000)
    digits = f"{rest:06d}"
    kept = digits[:2] + digits[2:].rstrip("0")
    return f"{sign}{symbol}{units:,}.{kept}"


def parse_money(text: str) -> int:
    """`12.50` or `$12.50` → micro-units. Raises click.BadParameter."""
    from decimal import Decimal, InvalidOperation  # noqa: PLC0415  only the few commands that take money need it

    try:
        micros = Decimal(text.strip().lstrip("$")) * 1_000_000
        if not micros.is_finite() or micros != int(micros) or micros <= 0:
            raise InvalidOperation
    except InvalidOperation as error:
        raise click.BadParameter(f"{text!r} is not a positive amount such as 0.42") from error
    return int(micros)


def ago(instant: str | None) -> str:
    """`2026-01-01T00:00:00Z` → `3 min ago`."""
    if instant is None:
        return "-"
    seconds = (datetime.now(UTC) - datetime.fromisoformat(instant)).total_seconds()
    return f"{duration(seconds)} ago" if seconds >= 1 else "now"


def duration(seconds: float) -> str:
    """`75.2` → `1 min 15 s`."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def size(count: int) -> str:
    """`1536` → `1.5 KiB`."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError


_STATE_STYLE = {
    "running": "green",
    "done": "green",
    "online": "green",
    "listed": "green",
    "failed": "red",
    "lost": "red",
    "recovering": "yellow",
    "suspect": "yellow",
    "stopping": "yellow",
}


def state(value: str) -> Text:
    """A state with its colour."""
    return Text(value, style=_STATE_STYLE.get(value, ""))


def fail(message: str, code: int = FAILED) -> NoReturn:
    """Print an error and exit."""
    errors.print(Text(f"Error: {message}", style="red"))
    sys.exit(code)


@contextmanager
def client() -> Iterator[ApiClient]:
    """An API client whose ApiErrors become messages and exit codes."""
    with ApiClient(on_rotation=config.save) as api:
        try:
            yield api
        except ApiError as error:
            report(error)


def report(error: ApiError) -> NoReturn:
    """Print `error` with what to do about it, and exit with the code of its kind."""
    lines = [error.detail]
    lines += [f"  {item['field']}: {item['message']}" for item in error.document.get("errors", [])]
    if error.document.get("suggestion"):
        lines.append(f"Did you mean `{error.document['suggestion']}`?")
    if error.status == 401:
        lines.append("Sign in with `gp4u login`, or set GP4U_API_KEY.")
    if error.code == "unreachable":
        lines.append("Is it running? `gp4u up` starts one here; GP4U_URL says which one is meant.")
    fail("\n".join(lines), _EXIT_BY_STATUS.get(error.status, FAILED))


def interactive() -> bool:
    """Whether a person can answer a question."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def confirm_or_fail(question: str, *, assume_yes: bool) -> None:
    """Ask before something that cannot be undone. Without a terminal, `--yes` is needed instead."""
    if assume_yes:
        return
    if not interactive():
        fail("This needs a confirmation; pass --yes.", USAGE)
    click.confirm(question, abort=True)


def translated(function: Function) -> Function:
    """Turn an ApiError that escapes into a message and an exit code."""

    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except ApiError as error:
            report(error)

    return wrapper  # type: ignore[return-value]
