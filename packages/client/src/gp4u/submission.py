"""Submitting a job: send its folder, then its specification. The command and the SDK share this."""

import uuid
from pathlib import Path
from typing import Any

from gp4u_protocol.job_spec import JobSpec

from gp4u.api import ApiClient
from gp4u.packing import PackedFolder, pack


def upload_folder(api: ApiClient, folder: Path) -> str:
    """Pack and send `folder` unless the store has these bytes already. Returns the upload id.

    Raises FolderTooLarge, ApiError.
    """
    return send(api, pack(folder))


def send(api: ApiClient, packed: PackedFolder) -> str:
    """Send a packed folder. Returns the upload id."""
    announced = api.post("/uploads", {"size_bytes": len(packed.content), "blake3": packed.blake3})
    if announced["put_url"]:
        api.put_bytes(announced["put_url"], packed.content, announced["headers"])
    return str(announced["id"])


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
    if files is not None:
        spec = spec.model_copy(update={"upload_id": upload_folder(api, files)})
    body = spec.model_dump(mode="json")
    key = idempotency_key or str(uuid.uuid4())
    if offer_id is None:
        job: dict[str, Any] = api.post("/jobs", body, idempotency_key=key)
        return job
    booking = api.post("/bookings", {"offer_id": offer_id, "job": body}, idempotency_key=key)
    chosen: dict[str, Any] = api.get(f"/jobs/{booking['job_id']}")
    return chosen
