"""Checkpoints of a job: list them, verify every byte of one, read one back. Decrypted here, on the renter's machine."""

import base64
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from gp4u_protocol.checkpoint.errors import Damaged
from gp4u_protocol.checkpoint.manifest import Manifest, open_manifest
from gp4u_protocol.checkpoint.reading import RangeRead, Staging, plan_reads
from gp4u_protocol.checkpoint.sealing import JobKeys, Opener

from gp4u.api import ApiClient, ApiError
from gp4u.commands.jobs import find_job
from gp4u.output import (
    FAILED,
    NOT_FOUND,
    USAGE,
    ago,
    client,
    console,
    fail,
    json_option,
    print_json,
    size,
    table,
)

ADDRESS_EXPIRED = 403
ADDRESSES_REFRESHED_MAX = 100


class Source:
    """One checkpoint as the API hands it out: addresses and key. Asks for fresh addresses when they run out."""

    def __init__(self, api: ApiClient, job_id: str, checkpoint_id: str) -> None:
        self._api = api
        self._path = f"/jobs/{job_id}/checkpoints/{checkpoint_id}/download"
        self._download: dict[str, Any] = api.post(self._path)
        self.keys = JobKeys.derive(job_id, base64.b64decode(self._download["data_key"]))

    def manifest(self) -> Manifest:
        """The manifest, verified. Raises Damaged."""
        row = self._download
        content = self._get(
            f"manifest {row['epoch']}/{row['seq']}", lambda: self._download["manifest_url"], None
        )
        return open_manifest(
            content, self.keys, epoch=row["epoch"], seq=row["seq"], blake3_hex=row["manifest_blake3"]
        )

    def ranges(self, manifest: Manifest) -> Iterator[tuple[RangeRead, bytes]]:
        """Every range the files need, with its stored bytes, not yet verified. Raises Damaged for a missing pack."""
        for read in plan_reads(manifest):
            pack = read.pack_id.hex()
            if pack not in self._download["packs"]:
                raise Damaged(f"pack {pack}", "is not listed with its checkpoint")
            url = lambda pack=pack: self._download["packs"][pack]  # noqa: E731
            yield read, self._get(f"pack {pack}", url, read)

    def _get(self, where: str, url: Callable[[], str], read: RangeRead | None) -> bytes:
        for _ in range(ADDRESSES_REFRESHED_MAX):
            try:
                if read is None:
                    return self._api.get_bytes(url())
                return self._api.get_bytes(url(), read.start, read.end)
            except ApiError as error:
                if error.status in (404, 416):
                    raise Damaged(where, "is missing or too short") from error
                if error.status != ADDRESS_EXPIRED:
                    raise
            self._download = self._api.post(self._path)
        raise Damaged(where, "cannot be read: its address is refused again and again")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def checkpoints() -> None:
    """List, verify and download a job's checkpoints. JOB is an id, a name, or `last`."""


@checkpoints.command("ls")
@click.argument("job")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@json_option
def list_checkpoints(job: str, limit: int, as_json: bool) -> None:
    """List committed checkpoints, newest first."""
    with client() as api:
        job_id = find_job(api, job)["id"]
        found = list(api.pages(f"/jobs/{job_id}/checkpoints", limit=limit))
    if as_json:
        print_json(found)
        return
    rows = [
        [
            item["id"],
            f"{item['epoch']}/{item['seq']}",
            "-" if item["step"] is None else item["step"],
            item["trigger"] + (" (damaged)" if item["damaged_at"] else ""),
            item["files"],
            size(item["size_bytes"]),
            size(item["stored_bytes"]),
            item["node_name"],
            ago(item["committed_at"]),
        ]
        for item in found
    ]
    columns = ("CHECKPOINT", "EPOCH/SEQ", "STEP", "TRIGGER", "FILES", "SIZE", "NEW", "NODE", "SAVED")
    table(columns, rows, empty="No checkpoint was saved yet.", right=frozenset({2, 4, 5, 6}))


@checkpoints.command()
@click.argument("job")
@click.argument("checkpoint", required=False)
@json_option
def verify(job: str, checkpoint: str | None, as_json: bool) -> None:
    """Read a checkpoint back completely (the newest without CHECKPOINT) and check every byte of it."""
    with client() as api:
        job_id = find_job(api, job)["id"]
        checkpoint_id = checkpoint or _newest(api, job_id)
        started = time.monotonic()
        report: dict[str, Any] = {
            "job_id": job_id,
            "checkpoint_id": checkpoint_id,
            "ok": True,
            "damage": None,
        }
        try:
            source = Source(api, job_id, checkpoint_id)
            manifest = source.manifest()
            opener = Opener(source.keys)
            chunks = stored_bytes = 0
            for read, content in source.ranges(manifest):
                for place, _, piece in read.pieces(content):
                    opener.open(place, piece)
                    chunks += 1
                    stored_bytes += place.stored_bytes
            report |= {"files": manifest.files, "size_bytes": manifest.size_bytes, "chunks": chunks}
            report |= {"read_bytes": stored_bytes, "step": manifest.step}
        except Damaged as damage:
            report |= {"ok": False, "damage": str(damage)}
        report["took_s"] = round(time.monotonic() - started, 3)
    if as_json:
        print_json(report)
    elif report["ok"]:
        console.print(
            f"{checkpoint_id} is whole: {report['files']} files, {size(report['size_bytes'])}, "
            f"{report['chunks']} chunks read and checked in {report['took_s']:.1f} s."
        )
    if not report["ok"]:
        fail(f"{checkpoint_id} is damaged: {report['damage']}", FAILED)


@checkpoints.command()
@click.argument("job")
@click.argument("checkpoint", required=False)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder to make; it must not exist or be empty.",
)
@json_option
def get(job: str, checkpoint: str | None, output: Path, as_json: bool) -> None:
    """Read a checkpoint (the newest without CHECKPOINT) back into a folder, every byte verified."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        fail(f"{output} exists already; name a folder that does not.", USAGE)
    output = output.absolute()
    with client() as api:
        job_id = find_job(api, job)["id"]
        checkpoint_id = checkpoint or _newest(api, job_id)
        try:
            source = Source(api, job_id, checkpoint_id)
            manifest = source.manifest()
            output.parent.mkdir(parents=True, exist_ok=True)
            staging = Staging(manifest, output)
            try:
                staging.prepare()
                opener = Opener(source.keys)
                for read, content in source.ranges(manifest):
                    staging.take(opener, read, content)
                staging.publish()
            finally:
                staging.discard()
        except Damaged as damage:
            fail(f"{checkpoint_id} is damaged: {damage}. Nothing was written; try an older one.", FAILED)
        except OSError as error:
            fail(f"{output} cannot be written: {error.strerror or error}", FAILED)
    if as_json:
        print_json(
            {
                "job_id": job_id, "checkpoint_id": checkpoint_id, "folder": str(output), "files": manifest.files,
                "size_bytes": manifest.size_bytes, "step": manifest.step,
            }
        )  # fmt: skip
        return
    console.print(f"{manifest.files} files, {size(manifest.size_bytes)}, from {checkpoint_id} into {output}")


def _newest(api: ApiClient, job_id: str) -> str:
    for item in api.pages(f"/jobs/{job_id}/checkpoints", limit=1):
        return str(item["id"])
    fail("No checkpoint of this job was saved yet.", NOT_FOUND)
