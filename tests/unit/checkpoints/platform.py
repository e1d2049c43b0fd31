"""A platform in memory that keeps the rules of the real one, and a network to it that can fail at every call.

The real server passes the same engine scenarios in tests/integration/checkpoints.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from blake3 import blake3
from gp4u_agent.checkpoint.http import HttpFailure

API = "/api/v1/agent/checkpoints"


class Killed(BaseException):
    """The agent's process is gone: nothing after this runs."""


@dataclass
class Row:
    """One committed checkpoint."""

    id: str
    epoch: int
    seq: int
    blake3: str
    manifest_key: str
    packs: dict[str, int]
    step: int | None
    pace: dict[str, float] | None = None
    damaged: bool = False

    def public(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "epoch": self.epoch,
            "seq": self.seq,
            "manifest_blake3": self.blake3,
            "step": self.step,
            "damaged": self.damaged,
        }


@dataclass
class Platform:
    """Objects and rows of one job. `fault` is asked before and after each call and may raise."""

    job_id: str = "job_1"
    epoch: int = 1
    objects: dict[str, bytes] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    uploads: dict[str, tuple[int, int]] = field(default_factory=dict)
    announced: dict[str, tuple[str, int]] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    fault: Callable[[str, str, int], Awaitable[None]] | None = None
    torn: Callable[[str, bytes], bytes] | None = None

    # --- CheckpointHttp --------------------------------------------------------------------------------

    async def get_json(self, path: str, params: Mapping[str, str | int] | None = None) -> Any:
        return await self._call(f"GET {path}", lambda: self._get(path, dict(params or {})))

    async def post_json(self, path: str, body: Mapping[str, Any]) -> Any:
        return await self._call(f"POST {path}", lambda: self._post(path, dict(body)))

    async def put_bytes(self, url: str, data: bytes, headers: Mapping[str, str] | None = None) -> None:
        assert headers == {"If-None-Match": "*"}
        await self._call(f"PUT {url}", lambda: self._put(url, data))

    async def get_range(self, url: str, start: int, end: int | None) -> bytes:
        answer: bytes = await self._call(f"READ {url}", lambda: self._read(url, start, end))
        return answer

    async def _call(self, name: str, act: Callable[[], Any]) -> Any:
        number = len(self.calls)
        self.calls.append(name)
        await asyncio.sleep(0)
        if self.fault is not None:
            await self.fault("before", name, number)
        answer = act()
        if self.fault is not None:
            await self.fault("after", name, number)
        return answer

    # --- the store -------------------------------------------------------------------------------------

    def _put(self, url: str, data: bytes) -> None:
        if url in self.objects:
            raise HttpFailure(412)
        if self.torn is not None:
            cut = self.torn(url, data)
            if len(cut) != len(data):
                raise HttpFailure(0, None, "connection lost")  # a torn body is never kept
        self.objects[url] = bytes(data)

    def _read(self, url: str, start: int, end: int | None) -> bytes:
        if url not in self.objects:
            raise HttpFailure(404)
        content = self.objects[url]
        if start >= len(content):
            raise HttpFailure(416)
        return content[start:end]

    # --- the API ---------------------------------------------------------------------------------------

    def _fence(self, body: Mapping[str, Any]) -> None:
        if body["epoch"] != self.epoch:
            raise HttpFailure(409, "stale_epoch")

    def _get(self, path: str, params: dict[str, Any]) -> Any:
        self._fence(params)
        if path == API:
            ordered = sorted(self.rows, key=lambda row: (row.epoch, row.seq), reverse=True)
            return {"items": [row.public() for row in ordered]}
        row = next(row for row in self.rows if path == f"{API}/{row.id}/download")
        return {
            **row.public(),
            "manifest_url": row.manifest_key,
            "packs": {pack: self._pack_key(pack) for pack in row.packs},
        }

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        self._fence(body)
        if path == f"{API}/open":
            seq = len(self.uploads) + 1
            self.uploads[f"up_{seq}"] = (body["epoch"], seq)
            return {"upload_id": f"up_{seq}", "seq": seq}
        if path == f"{API}/packs":
            return {"packs": [self._announce(body["upload_id"], pack) for pack in body["packs"]]}
        if path == f"{API}/manifest":
            return {
                "url": self._manifest_key(body["upload_id"], body["blake3"]),
                "headers": {"If-None-Match": "*"},
            }
        if path == f"{API}/commit":
            return self._commit(body)
        assert path.endswith("/damaged")
        self.damaged.append(path.split("/")[-2])
        next(row for row in self.rows if row.id == self.damaged[-1]).damaged = True
        return None

    def _announce(self, upload_id: str, pack: dict[str, Any]) -> dict[str, Any]:
        known = self.announced.setdefault(pack["id"], (upload_id, pack["size_bytes"]))
        assert known == (upload_id, pack["size_bytes"])
        return {"id": pack["id"], "url": self._pack_key(pack["id"]), "headers": {"If-None-Match": "*"}}

    def _commit(self, body: dict[str, Any]) -> dict[str, Any]:
        epoch, seq = self.uploads[body["upload_id"]]
        there = next((row for row in self.rows if (row.epoch, row.seq) == (epoch, seq)), None)
        if there is not None:
            assert there.blake3 == body["blake3"]
            return {"id": there.id, "epoch": epoch, "seq": seq}
        packs = {pack["id"]: pack["size_bytes"] for pack in body["packs"]}
        for pack, size in packs.items():
            if len(self.objects.get(self._pack_key(pack), b"")) != size or pack not in self.announced:
                raise HttpFailure(409, "objects_missing")
        key = self._manifest_key(body["upload_id"], body["blake3"])
        if key not in self.objects or blake3(self.objects[key]).hexdigest() != body["blake3"]:
            raise HttpFailure(409, "objects_missing")
        row = Row(f"ckpt_{seq}", epoch, seq, body["blake3"], key, packs, body["step"], body.get("pace"))
        self.rows.append(row)
        return {"id": row.id, "epoch": epoch, "seq": seq}

    def _pack_key(self, pack: str) -> str:
        return f"jobs/{self.job_id}/packs/{pack}"

    def _manifest_key(self, upload_id: str, digest: str) -> str:
        epoch, seq = self.uploads[upload_id]
        return f"jobs/{self.job_id}/manifests/{epoch}/{seq}-{digest[:16]}"
