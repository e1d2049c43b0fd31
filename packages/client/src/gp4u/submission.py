"""Submitting a job: send its folder, then its specification. The command and both SDK clients share this.

What is asked, and in which order, is written once, as a generator of calls; `submit` and `submit_async` carry it out.
"""

import asyncio
import uuid
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gp4u_protocol.job_spec import JobSpec

from gp4u.api import ApiClient
from gp4u.async_api import AsyncApiClient
from gp4u.packing import PackedFolder, pack


@dataclass(frozen=True)
class Get:
    """Read a document."""

    path: str


@dataclass(frozen=True)
class Post:
    """Create something."""

    path: str
    body: dict[str, Any]
    idempotency_key: str | None = None


@dataclass(frozen=True)
class Put:
    """Send bytes to a signed address."""

    url: str
    content: bytes = field(repr=False)
    headers: dict[str, str] = field(default_factory=dict)


Call = Get | Post | Put
Calls = Generator[Call, Any, Any]


def upload_folder(api: ApiClient, folder: Path) -> str:
    """Pack and send `folder` unless the store has these bytes already. Returns the upload id.

    Raises FolderTooLarge, ApiError.
    """
    return send(api, pack(folder))


def send(api: ApiClient, packed: PackedFolder) -> str:
    """Send a packed folder. Returns the upload id."""
    return str(_carry_out(api, _sending(packed)))


def submit(
    api: ApiClient,
    spec: JobSpec,
    *,
    files: Path | None = None,
    offer_id: str | None = None,
    idempotency_key: str | None = None,
) -> dict[str, Any]:
    """Submit a job, to a chosen offer or wherever the router decides. Returns the job document.

    One idempotency key covers every retry of this call, so a lost reply never makes a second job.
    """
    packed = pack(files) if files is not None else None
    job: dict[str, Any] = _carry_out(api, _submitting(spec, packed, offer_id, idempotency_key))
    return job


async def submit_async(
    api: AsyncApiClient,
    spec: JobSpec,
    *,
    files: Path | None = None,
    offer_id: str | None = None,
    idempotency_key: str | None = None,
) -> dict[str, Any]:
    """See `submit`. Packing happens in a thread, so the event loop goes on meanwhile."""
    packed = await asyncio.to_thread(pack, files) if files is not None else None
    job: dict[str, Any] = await _carry_out_async(api, _submitting(spec, packed, offer_id, idempotency_key))
    return job


def _sending(packed: PackedFolder) -> Calls:
    announced = yield Post("/uploads", {"size_bytes": len(packed.content), "blake3": packed.blake3})
    if announced["put_url"]:
        yield Put(announced["put_url"], packed.content, announced["headers"])
    return announced["id"]


def _submitting(
    spec: JobSpec, packed: PackedFolder | None, offer_id: str | None, idempotency_key: str | None
) -> Calls:
    if packed is not None:
        spec = spec.model_copy(update={"upload_id": (yield from _sending(packed))})
    # Only what was asked for: a platform older than this program refuses fields that it does not know.
    body = spec.model_dump(mode="json", exclude_defaults=True)
    key = idempotency_key or str(uuid.uuid4())
    if offer_id is None:
        return (yield Post("/jobs", body, key))
    booking = yield Post("/bookings", {"offer_id": offer_id, "job": body}, key)
    return (yield Get(f"/jobs/{booking['job_id']}"))


def _carry_out(api: ApiClient, calls: Calls) -> Any:
    answer: Any = None
    while True:
        try:
            call = calls.send(answer)
        except StopIteration as done:
            return done.value
        if isinstance(call, Get):
            answer = api.get(call.path)
        elif isinstance(call, Post):
            answer = api.post(call.path, call.body, idempotency_key=call.idempotency_key)
        else:
            answer = api.put_bytes(call.url, call.content, call.headers)  # type: ignore[func-returns-value]


async def _carry_out_async(api: AsyncApiClient, calls: Calls) -> Any:
    answer: Any = None
    while True:
        try:
            call = calls.send(answer)
        except StopIteration as done:
            return done.value
        if isinstance(call, Get):
            answer = await api.get(call.path)
        elif isinstance(call, Post):
            answer = await api.post(call.path, call.body, idempotency_key=call.idempotency_key)
        else:
            answer = await api.put_bytes(call.url, call.content, call.headers)  # type: ignore[func-returns-value]
