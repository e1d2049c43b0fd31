"""Cursor paging: every listing is bounded, and a page is found by its sort key, never by counting rows."""

import base64
import binascii
import json
from typing import Generic, TypeVar

from pydantic import BaseModel, Field

from gp4u_server.kit.errors import DomainError

PAGE_SIZE_DEFAULT = 50
PAGE_SIZE_MAX = 200
CURSOR_CHARS_MAX = 1000

Item = TypeVar("Item")


class InvalidCursor(DomainError):
    """The cursor was not made by this listing."""

    code = "invalid_cursor"


class Page(BaseModel, Generic[Item]):
    """One page of a listing."""

    items: list[Item]
    next_cursor: str | None = Field(
        default=None, description="Pass as `cursor` to get the next page; null on the last page."
    )


def encode_cursor(*sort_key: str | int) -> str:
    """An opaque, URL-safe cursor for the last row of a page."""
    raw = json.dumps(sort_key, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decode_cursor(cursor: str, *types: type[str] | type[int]) -> list[str | int]:
    """The sort key inside `cursor`. Raises InvalidCursor unless its members have exactly `types`."""
    try:
        if (
            len(cursor) > CURSOR_CHARS_MAX
        ):  # before it is parsed: what is nested deeply enough breaks the parser
            raise ValueError("too long")
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        key = json.loads(raw)
        if any(isinstance(part, str) and b"\0" in part.encode() for part in key):
            raise ValueError("no text that a database could hold")
    except (binascii.Error, ValueError, TypeError) as error:
        raise InvalidCursor("The cursor is damaged; start again without it.") from error
    if not isinstance(key, list) or [type(part) for part in key] != list(types):
        raise InvalidCursor("The cursor belongs to another listing; start again without it.")
    return key
