"""What both HTTP clients share and no network takes part in: errors, credentials, retries, ranges, event streams."""

import random
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import httpx2

from gp4u.config import Credentials

API = "/api/v1"
# What a session that this client opens is called in the list of its owner's sessions.
USER_AGENT = {"User-Agent": f"gp4u/{version('gp4u')}"}
TIMEOUT_S = 30.0
TRANSFER_TIMEOUT_S = 600.0
STREAM_TIMEOUT = httpx2.Timeout(TIMEOUT_S, read=60.0)
CONNECT_ATTEMPTS_MAX = 4
PAGE_SIZE_MAX = 200


class ApiError(Exception):
    """The server said no, or could not be reached (`status` 0, code `unreachable`).

    `code` is stable and meant for programs; the message is for people; `document` is the whole RFC 9457 body.
    """

    def __init__(self, status: int, code: str, detail: str, document: dict[str, Any] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.document = document or {}


@dataclass(frozen=True)
class ServerEvent:
    """One server-sent event."""

    event: str
    data: str
    id: str


class EventLines:
    """Puts the lines of a server-sent event stream together."""

    def __init__(self) -> None:
        self._name, self._id = "message", ""
        self._data: list[str] = []

    def take(self, line: str) -> ServerEvent | None:
        """The event that `line` completes, if it does."""
        if not line:
            event = ServerEvent(self._name, "\n".join(self._data), self._id) if self._data else None
            self._name, self._data = "message", []
            return event
        if line.startswith("event:"):
            self._name = line[6:].strip()
        elif line.startswith("data:"):
            self._data.append(line[5:].removeprefix(" "))
        elif line.startswith("id:"):
            self._id = line[3:].strip()
        return None


def error_from(response: httpx2.Response) -> ApiError:
    """The ApiError in `response`, whatever its body is."""
    try:
        document = response.json()
        return ApiError(response.status_code, document["code"], document["detail"], document)
    except (ValueError, KeyError, TypeError):
        return ApiError(response.status_code, "http_error", f"The server answered {response.status_code}.")


def checked(response: httpx2.Response) -> httpx2.Response:
    """`response`, unless it is an error. Raises ApiError."""
    if response.status_code >= 400:
        raise error_from(response)
    return response


def document_of(response: httpx2.Response) -> Any:
    """The JSON document of an answer that is no error, None for an empty one. Raises ApiError."""
    checked(response)
    return response.json() if response.content else None


def unreachable(url: str, error: Exception) -> ApiError:
    """What to raise when the last attempt got no answer."""
    return ApiError(0, "unreachable", f"{url} cannot be reached: {error or type(error).__name__}")


def is_worth_another_try(response: httpx2.Response) -> bool:
    """Whether the answer is that of a server which is being started again."""
    return response.status_code in {502, 503}


def pause_s(attempt: int) -> float:
    """How long to wait after the attempt with this number, counted from 1."""
    return random.uniform(0.1, 0.3) * 2.0**attempt  # noqa: S311  jitter, not a secret


def base_url(credentials: Credentials) -> str:
    """The marketplace's address. Raises ApiError `bad_address` for what cannot be one, before anything is sent."""
    url = credentials.url
    try:
        parts = httpx2.URL(url)
        good = parts.scheme in {"http", "https"} and bool(parts.host)
    except httpx2.InvalidURL:
        good = False
    if good:
        return url
    hint = "" if "/" in url or url.startswith("http:") else f" Did you mean http://{url}?"
    raise ApiError(
        400,
        "bad_address",
        f"{url!r} is not the address of a marketplace: it starts with http:// or https://.{hint}",
    )


def authorisation(credentials: Credentials) -> dict[str, str]:
    """The header that says who asks. Raises ApiError `invalid_token` for what cannot even be sent."""
    token = credentials.api_key or credentials.access_token
    if token and not (token.isascii() and token.isprintable()):
        raise ApiError(401, "invalid_token", "The API key has characters in it that no key has.")
    return {"Authorization": f"Bearer {token}"} if token else {}


def refresh_body(credentials: Credentials) -> dict[str, str] | None:
    """What to send for new tokens, or None where nothing can be refreshed."""
    if credentials.api_key or not credentials.refresh_token:
        return None
    return {"refresh_token": credentials.refresh_token}


def with_new_tokens(credentials: Credentials, tokens: Mapping[str, str]) -> Credentials:
    """`credentials` after a refresh."""
    return replace(credentials, access_token=tokens["access_token"], refresh_token=tokens["refresh_token"])


def absolute(credentials: Credentials, url: str) -> str:
    """A signed address as it is called; the folder store's are relative to the marketplace."""
    return url if "://" in url else f"{credentials.url}{url}"


def byte_range(start: int | None, end: int | None) -> dict[str, str]:
    """The header that asks for bytes [start, end)."""
    return {} if start is None or end is None else {"Range": f"bytes={start}-{end - 1}"}


def idempotency(key: str | None) -> dict[str, str]:
    """The header that makes a POST safe to repeat; with a key of its own where none is given."""
    return {"Idempotency-Key": key or str(uuid.uuid4())}


def without_none(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that were given."""
    return {name: value for name, value in params.items() if value is not None}


def page_size(limit: int | None, seen: int) -> int:
    """How many items to ask for when `seen` of at most `limit` are here."""
    return PAGE_SIZE_MAX if limit is None else min(limit - seen, PAGE_SIZE_MAX)
