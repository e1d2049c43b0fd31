"""Checkpoints of a job: list, show, compare, verify, read back, pin, fork. Decrypted here, on the renter's machine."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from gp4u_protocol.checkpoint.errors import Damaged
from gp4u_protocol.checkpoint.manifest import Manifest
from gp4u_protocol.checkpoint.reading import Staging
from gp4u_protocol.checkpoint.sealing import Opener
from gp4u_protocol.job_file import JobFile, JobFileInvalid, read_job_file
from gp4u_protocol.job_spec import JobSpec

from gp4u.api import ApiClient
from gp4u.checkpoint_source import Source, differences
from gp4u.commands.jobs import exit_for, find_job, promise_lines, watch
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
from gp4u.packing import FolderTooLarge
from gp4u.submission import submit, upload_folder


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def checkpoints() -> None:
    """List, show, compare, verify, download, pin and fork a job's checkpoints. JOB is an id, a name, or `last`."""


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
            item["trigger"]
            + (" (damaged)" if item["damaged_at"] else "")
            + (" (pinned)" if item["pinned_at"] else ""),
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
def show(job: str, checkpoint: str | None, as_json: bool) -> None:
    """Show what a checkpoint (the newest without CHECKPOINT) holds: every file with size, mode and time."""
    with client() as api:
        job_id = find_job(api, job)["id"]
        checkpoint_id = checkpoint or _newest(api, job_id)
        row = api.get(f"/jobs/{job_id}/checkpoints/{checkpoint_id}")
        manifest = _manifest(api, job_id, checkpoint_id)
    entries: list[dict[str, Any]] = [
        {
            "path": entry.path,
            "kind": entry.kind.value,
            "size": entry.size,
            "mode": f"{entry.mode:03o}",
            "modified_at": datetime.fromtimestamp(entry.mtime_ns / 1e9, UTC).isoformat(),
            "target": entry.target,
        }
        for entry in manifest.entries
    ]
    if as_json:
        print_json({**row, "entries": entries})
        return
    step = "" if row["step"] is None else f", step {row['step']}"
    console.print(
        f"{row['id']}  epoch {row['epoch']}, number {row['seq']}{step}, {row['trigger']}, saved {ago(row['committed_at'])} "
        f"on {row['node_name']}"
        + (", pinned" if row["pinned_at"] else "")
        + (", damaged when last read by a node" if row["damaged_at"] else "")
    )
    rows = [
        [
            each["path"] + {"directory": "/", "symlink": f" -> {each['target']}"}.get(each["kind"], ""),
            size(each["size"]) if each["kind"] == "file" else "",
            each["mode"],
            ago(each["modified_at"]),
        ]
        for each in entries
    ]
    table(("PATH", "SIZE", "MODE", "MODIFIED"), rows, empty="It holds nothing.", right=frozenset({1, 2}))


@checkpoints.command()
@click.argument("job")
@click.argument("older")
@click.argument("newer", required=False)
@json_option
def diff(job: str, older: str, newer: str | None, as_json: bool) -> None:
    """Say which files differ between two checkpoints (NEWER: the newest), and in how many bytes."""
    with client() as api:
        job_id = find_job(api, job)["id"]
        newer_id = newer or _newest(api, job_id)
        found = differences(_manifest(api, job_id, older), _manifest(api, job_id, newer_id))
    changed_bytes = sum(each.changed_bytes for each in found)
    if as_json:
        print_json(
            {
                "job_id": job_id, "older": older, "newer": newer_id, "changed_bytes": changed_bytes,
                "differences": [
                    {
                        "path": each.path, "change": each.change.value, "size_before": each.size_before,
                        "size_after": each.size_after, "changed_bytes": each.changed_bytes,
                    }
                    for each in found
                ],
            }
        )  # fmt: skip
        return
    rows = [
        [
            each.change.value,
            each.path,
            "-" if each.size_before is None else size(each.size_before),
            "-" if each.size_after is None else size(each.size_after),
            size(each.changed_bytes),
        ]
        for each in found
    ]
    columns = ("CHANGE", "PATH", "BEFORE", "AFTER", "CHANGED")
    table(columns, rows, empty="Nothing differs but times.", right=frozenset({2, 3, 4}))
    if found:
        console.print(f"{len(found)} differ, {size(changed_bytes)} changed")


def _choice(verb: str, help_text: str, said: str) -> None:
    """Add a command that says something about one checkpoint and prints what that means."""

    @checkpoints.command(verb, help=help_text)
    @click.argument("job")
    @click.argument("checkpoint")
    @json_option
    def choose(job: str, checkpoint: str, as_json: bool) -> None:
        with client() as api:
            row = api.post(f"/jobs/{find_job(api, job)['id']}/checkpoints/{checkpoint}/{verb}")
        print_json(row) if as_json else console.print(f"{checkpoint} {said}")


_choice(
    "pin",
    "Keep a checkpoint whatever the job's rule says, also after the job's end.",
    "is kept until you unpin it.",
)
_choice("unpin", "Let the job's rule decide about a checkpoint again.", "is kept as the job's rule says.")


@checkpoints.command()
@click.argument("job")
@click.argument("checkpoint", required=False)
@click.option(
    "--file",
    "job_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Job file of the new job; without it, it runs what JOB ran.",
)
@click.option("--name", help="Name of the new job.")
@click.option("-d", "--detach", is_flag=True, help="Return once the job is accepted.")
@json_option
def fork(
    job: str, checkpoint: str | None, job_file: Path | None, name: str | None, detach: bool, as_json: bool
) -> None:
    """Start a new job from a checkpoint (the newest without CHECKPOINT) of JOB. JOB itself goes on or stays ended.

    The new job has its own key and its own checkpoints; the checkpoint it starts from is kept until it has one.
    """
    read = _read(job_file) if job_file else None
    with client() as api:
        origin = find_job(api, job)
        checkpoint_id = checkpoint or _newest(api, origin["id"])
        spec = read.spec if read else JobSpec.model_validate(origin["spec"])
        changes: dict[str, Any] = {"start_from": checkpoint_id}
        if name:
            changes["name"] = name
        if read is not None and read.files is not None:
            try:
                changes["upload_id"] = upload_folder(api, read.files)
            except FolderTooLarge as error:
                fail(str(error), USAGE)
        new = submit(api, spec.model_copy(update=changes))
        if as_json or detach:
            print_json(new) if as_json else console.print(new["id"])
            return
        console.print(f"{new['name']}  {new['id']}  from {checkpoint_id}", style="bold")
        for line in promise_lines(new):
            console.print(line, style="dim")
        exit_for(watch(api, new["id"]))


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


def _read(path: Path) -> JobFile:
    try:
        return read_job_file(path)
    except JobFileInvalid as error:
        fail("The job file is not valid:\n" + "\n".join(f"  {mistake}" for mistake in error.mistakes), USAGE)


def _manifest(api: ApiClient, job_id: str, checkpoint_id: str) -> Manifest:
    try:
        return Source(api, job_id, checkpoint_id).manifest()
    except Damaged as damage:
        fail(f"{checkpoint_id} is damaged: {damage}", FAILED)


def _newest(api: ApiClient, job_id: str) -> str:
    for item in api.pages(f"/jobs/{job_id}/checkpoints", limit=1):
        return str(item["id"])
    fail("No checkpoint of this job was saved yet.", NOT_FOUND)
