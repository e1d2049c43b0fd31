"""The HTTP client under the command and the SDK: authentication, token rotation, errors, retries."""

import random
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx2

from gp4u import config
from gp4u.config import Credentials

TIMEOUT_S = 30.0
CONNECT_ATTEMPTS_MAX = 4


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


class ApiClient:
    """Talks to one marketplace. Not thread-safe; use one per thread.

    Args:
        credentials: where and as whom; by default what `gp4u login` stored or the environment says.
        on_rotation: called with the new credentials when tokens were rotated, so that they can be kept.
    """

    def __init__(
        self,
        credentials: Credentials | None = None,
        on_rotation: Callable[[Credentials], None] | None = None,
    ) -> None:
        self.credentials = credentials or config.load()
        self._on_rotation = on_rotation
        self._http = httpx2.Client(base_url=self.credentials.url, timeout=TIMEOUT_S)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> "ApiClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, path: str, **params: Any) -> Any:
        """GET `/api/v1{path}`; parameters that are None are left out. Returns the JSON document."""
        return self.request("GET", path, params={k: v for k, v in params.items() if v is not None})

    def post(self, path: str, body: Any = None, *, idempotency_key: str | None = None) -> Any:
        """POST a JSON body. A key is made when none is given, so a retry after a lost reply is safe."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        return self.request("POST", path, json=body, headers=headers)

    def patch(self, path: str, body: Any) -> Any:
        """PATCH with a JSON body."""
        return self.request("PATCH", path, json=body)

    def delete(self, path: str) -> None:
        """DELETE."""
        self.request("DELETE", path)

    def pages(self, path: str, *, limit: int | None = None, **params: Any) -> Iterator[dict[str, Any]]:
        """Every item of a listing, page by page, at most `limit`."""
        cursor: str | None = None
        seen = 0
        while True:
            page = self.get(path, cursor=cursor, limit=min(limit - seen, 200) if limit else 200, **params)
            for item in page["items"]:
                yield item
                seen += 1
            cursor = page["next_cursor"]
            if cursor is None or (limit is not None and seen >= limit):
                return

    def request(self, method: str, path: str, **kwargs: Any) -> Any:
        """One request with retries while the server cannot be reached, and one token rotation on 401.

        Raises ApiError.
        """
        response = self._send(method, path, **kwargs)
        if response.status_code == 401 and self._rotate():
            response = self._send(method, path, **kwargs)
        if response.status_code >= 400:
            raise error_from(response)
        return response.json() if response.content else None

    def put_bytes(self, url: str, content: bytes, headers: dict[str, str]) -> None:
        """PUT to a signed address, which carries its own authority."""
        response = self._retrying(
            lambda: self._http.put(self._absolute(url), content=content, headers=headers, timeout=600)
        )
        if response.status_code >= 400:
            raise error_from(response)

    def get_bytes(self, url: str, start: int | None = None, end: int | None = None) -> bytes:
        """GET a signed address, or bytes [start, end) of it."""
        headers = {} if start is None or end is None else {"Range": f"bytes={start}-{end - 1}"}
        response = self._retrying(lambda: self._http.get(self._absolute(url), headers=headers, timeout=600))
        if response.status_code >= 400:
            raise error_from(response)
        return response.content

    @contextmanager
    def stream(
        self, path: str, *, last_event_id: str | None = None, **params: Any
    ) -> Iterator[Iterator[ServerEvent]]:
        """Server-sent events of `path`. The iterator ends when the server closes the stream."""
        headers = {"Accept": "text/event-stream", **self._authorisation()}
        if last_event_id:
            headers["Last-Event-ID"] = last_event_id
        timeout = httpx2.Timeout(TIMEOUT_S, read=60.0)
        with self._http.stream(
            "GET", f"/api/v1{path}", params=params, headers=headers, timeout=timeout
        ) as response:
            if response.status_code >= 400:
                response.read()
                raise error_from(response)
            yield _events(response.iter_lines())

    def _send(self, method: str, path: str, **kwargs: Any) -> httpx2.Response:
        headers = {**kwargs.pop("headers", {}), **self._authorisation()}
        return self._retrying(lambda: self._http.request(method, f"/api/v1{path}", headers=headers, **kwargs))

    def _retrying(self, send: Callable[[], httpx2.Response]) -> httpx2.Response:
        for attempt in range(1, CONNECT_ATTEMPTS_MAX + 1):
            try:
                response = send()
                if response.status_code not in {502, 503} or attempt == CONNECT_ATTEMPTS_MAX:
                    return response
            except httpx2.TransportError as error:
                if attempt == CONNECT_ATTEMPTS_MAX:
                    raise ApiError(
                        0,
                        "unreachable",
                        f"{self.credentials.url} cannot be reached: {error or type(error).__name__}",
                    ) from error
            time.sleep(random.uniform(0.1, 0.3) * 2**attempt)  # noqa: S311  jitter, not a secret
        raise AssertionError("unreachable code")

    def _authorisation(self) -> dict[str, str]:
        token = self.credentials.api_key or self.credentials.access_token
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _rotate(self) -> bool:
        if self.credentials.api_key or not self.credentials.refresh_token:
            return False
        body = {"refresh_token": self.credentials.refresh_token}
        response = self._retrying(lambda: self._http.post("/api/v1/auth/token/refresh", json=body))
        if response.status_code >= 400:
            return False
        tokens = response.json()
        self.credentials = replace(
            self.credentials, access_token=tokens["access_token"], refresh_token=tokens["refresh_token"]
        )
        if self._on_rotation:
            self._on_rotation(self.credentials)
        return True

    def _absolute(self, url: str) -> str:
        return url if "://" in url else f"{self.credentials.url}{url}"


def error_from(response: httpx2.Response) -> ApiError:
    """The ApiError in `response`, whatever its body is."""
    try:
        document = response.json()
        return ApiError(response.status_code, document["code"], document["detail"], document)
    except (ValueError, KeyError, TypeError):
        return ApiError(response.status_code, "http_error", f"The server answered {response.status_code}.")


def _events(lines: Iterator[str]) -> Iterator[ServerEvent]:
    name, event_id = "message", ""
    data: list[str] = []
    for line in lines:
        if not line:
            if data:
                yield ServerEvent(name, "\n".join(data), event_id)
            name, data = "message", []
        elif line.startswith("event:"):
            name = line[6:].strip()
        elif line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif line.startswith("id:"):
            event_id = line[3:].strip()
