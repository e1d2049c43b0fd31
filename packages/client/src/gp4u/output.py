"""How the command prints: tables for people, JSON for programs, one error shape, documented exit codes."""

import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import wraps
from typing import Any, NoReturn, TypeVar

import click
from rich.console import Console
from rich.text import Text

from gp4u import config
from gp4u.api import ApiClient, ApiError

GAP = 2
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


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Whoever read our output has seen enough: no failure of ours."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0)


# Rich reads NO_COLOR, FORCE_COLOR and TERM itself. Into a pipe nothing is cut to a width.
console = _Console(
    highlight=False, width=None if sys.stdout.isatty() else 400, soft_wrap=not sys.stdout.isatty()
)
errors = Console(stderr=True, highlight=False, soft_wrap=True)

Function = TypeVar("Function", bound=Callable[..., Any])
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    empty: str,
    right: frozenset[int] = frozenset(),
    droppable: Sequence[str] = (),
) -> None:
    """A plain table, or the sentence `empty` when there are no rows.

    Nothing is ever cut to pieces: in a narrow terminal the columns named in `droppable` go, the first one first, and
    what is still too wide runs over the edge.
    """
    if not rows:
        console.print(empty, style="dim")
        return
    cells = [[cell if isinstance(cell, Text) else Text(str(cell)) for cell in row] for row in rows]
    widths = [max(len(name), *(row[index].cell_len for row in cells)) for index, name in enumerate(columns)]
    room = console.width if console.is_terminal else None
    hidden = columns_to_hide(columns, widths, room, droppable)
    kept = [index for index, name in enumerate(columns) if name not in hidden]
    for row in [[Text(name, style="dim") for name in columns], *cells]:
        line = Text()
        for index in kept:
            cell, missing = row[index], " " * (widths[index] - row[index].cell_len)
            line.append(missing if index in right else "").append_text(cell)
            line.append(("" if index in right else missing) + " " * GAP)
        line.rstrip()
        console.print(line, soft_wrap=True)
    if hidden:
        names = ", ".join(name for name in columns if name in hidden)
        console.print(f"Not shown in {console.width} columns: {names}.", style="dim", soft_wrap=True)


def columns_to_hide(
    columns: Sequence[str], widths: Sequence[int], room: int | None, droppable: Sequence[str]
) -> set[str]:
    """Which of `droppable` have to go, in this order, so that columns of these `widths` fit. No `room`: no limit."""
    width_of = dict(zip(columns, widths, strict=True))
    hidden: set[str] = set()
    for name in droppable:
        kept = [width for column, width in width_of.items() if column not in hidden]
        if room is None or sum(kept) + GAP * (len(kept) - 1) <= room:
            break
        hidden.add(name)
    return hidden


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


def parse_money(text: str, what: str | None = None) -> int:
    """`12.50` or `$12.50` → micro-units. `what` names the option or argument. Raises click.BadParameter."""
    from decimal import Decimal, InvalidOperation  # noqa: PLC0415  only the few commands that take money need it

    try:
        micros = Decimal(text.strip().lstrip("$")) * 1_000_000
        if not micros.is_finite() or micros != int(micros) or micros <= 0:
            raise InvalidOperation
    except InvalidOperation as error:
        raise click.BadParameter(
            f"{text!r} is not a positive amount such as 0.42, with at most six decimals", param_hint=what
        ) from error
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
    "draining": "yellow",
    "maintenance": "yellow",
    "quarantined": "red",
    "critical": "red",
    "warning": "yellow",
}


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` Did you mean `x`?` for what `word` was probably meant to be, or nothing."""
    known = list(dict.fromkeys(known))
    begun = [name for name in known if name.startswith(word)]
    close = begun or get_close_matches(word, known, n=1)
    return f" Did you mean `{close[0]}`?" if close else ""


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
    try:
        with ApiClient(on_rotation=config.save) as api:
            yield api
    except ApiError as error:
        report(error)


def report(error: ApiError) -> NoReturn:
    """Print `error` with what to do about it, and exit with the code of its kind."""
    fail("\n".join(explain(error)), _EXIT_BY_STATUS.get(error.status, FAILED))


def explain(error: ApiError) -> list[str]:
    """What a person is told about `error`, line by line: what is wrong, where, and what to do now."""
    lines = [_without_micros(error.detail)]
    for item in error.document.get("errors", []):
        line = _without_micros(f"{item['field']}: {item['message']}")
        if line not in lines[0]:
            lines.append(f"  {line}")
    suggestion = error.document.get("suggestion")
    if suggestion and str(suggestion) not in error.detail:
        lines.append(f"Did you mean `{suggestion}`?")
    if error.status == 401 and error.code not in _SIGNING_IN:
        lines.append("Sign in with `gp4u login`, or set GP4U_API_KEY.")
    if error.code == "role_required":
        lines.append("`gp4u whoami` shows your roles. An admin gives one with `gp4u admin grant EMAIL ROLE`.")
    if error.code == "unreachable":
        lines.append("Is it running? `gp4u up` starts one here; GP4U_URL says which one is meant.")
    return lines


# Answers to a sign-in itself, where the advice to sign in would mock.
_SIGNING_IN = frozenset({"wrong_credentials"})
_MICROS = re.compile(r"\b(\w+)_micros(?:_max|_min)?: ([^;\n]*)")


def _without_micros(text: str) -> str:
    """`price_per_gpu_hour_micros: … equal to 1000000000` → `price per gpu hour: … equal to $1000.00`."""

    def plain(match: re.Match[str]) -> str:
        amounts = re.sub(r"\d{4,}", lambda number: money(int(number[0])), match[2])
        return f"{match[1].replace('_', ' ')}: {amounts}"

    return _MICROS.sub(plain, text)


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
