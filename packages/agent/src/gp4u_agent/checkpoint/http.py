"""What the checkpoint engine asks of the agent's HTTP client. `gp4u_agent` satisfies it; tests bring their own."""

from collections.abc import Mapping
from typing import Any, Protocol


class HttpFailure(Exception):
    """The server or the store answered with an error, or (status 0) did not answer at all.

    Attributes:
        status: HTTP status; 0 when the connection failed or timed out.
        code: `code` of the error document, for example `stale_epoch`; None when there was none.
    """

    def __init__(self, status: int, code: str | None = None, detail: str = "") -> None:
        super().__init__(f"{status} {code or ''} {detail}".strip())
        self.status = status
        self.code = code
        self.detail = detail

    @property
    def is_transient(self) -> bool:
        """Whether trying again later may help."""
        return self.status in (0, 408, 425, 429) or self.status >= 500


class CheckpointHttp(Protocol):
    """Calls to our API (with the node's bearer token) and to signed addresses (without it).

    `path` is absolute on the API's host, for example `/api/v1/agent/checkpoints/open`. A signed `url` is either a whole
    address (S3) or begins with `/`: then it lies on the API's host, and is reached the same way as the API.
    Every failure is an HttpFailure. No method retries by itself.
    """

    async def get_json(self, path: str, params: Mapping[str, str | int] | None = None) -> Any: ...

    async def post_json(self, path: str, body: Mapping[str, Any]) -> Any: ...

    async def put_bytes(
        self, url: str, data: bytes | memoryview, headers: Mapping[str, str] | None = None
    ) -> None:
        """`data` is not read any more when this returns or raises."""
        ...

    async def get_range(self, url: str, start: int, end: int | None) -> bytes | bytearray:
        """Bytes `start` (inclusive) to `end` (exclusive; None: to the end)."""
        ...
