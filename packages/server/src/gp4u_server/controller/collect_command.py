"""`gp4u admin collect`: what the collection of checkpoints would do, or does now."""

import asyncio
import json
from dataclasses import asdict, dataclass
from typing import Any

import click

from gp4u_server.bootstrap import build
from gp4u_server.catalyst.checkpoints import collection_rows
from gp4u_server.catalyst.checkpoints.collection import CheckpointCollection
from gp4u_server.catalyst.checkpoints.control import CollectionLoop, DeletionLoop, FolderLoop
from gp4u_server.foundation.logs import configure_logs
from gp4u_server.kit.db import Database
from gp4u_server.settings import Settings

JOBS_A_PAGE = 200


@dataclass
class Told:
    """What was found. Bytes are those of packs; manifests are small and not counted."""

    dry_run: bool
    jobs_seen: int = 0
    checkpoints: int = 0
    uploads_given_up: int = 0
    packs_marked: int = 0
    packs_due: int = 0
    objects_removed: int = 0
    folders_looked_at: int = 0
    objects_waiting: int = 0
    objects_waiting_bytes: int = 0
    objects_deleted: int = 0
    objects_deleted_bytes: int = 0


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what is due now; nothing is changed.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def collect(dry_run: bool, as_json: bool) -> None:
    """Collect what no checkpoint needs any more. The controller does this by itself; here it is done now, and told."""
    told = asyncio.run(_run(dry_run=dry_run))
    if as_json:
        click.echo(json.dumps(asdict(told)))
        return
    verb = "would be" if dry_run else "were"
    click.echo(
        f"{told.jobs_seen} jobs looked through: {told.checkpoints} checkpoints {verb} taken out of sight, "
        f"{told.uploads_given_up} uploads {verb} given up, {told.packs_marked} packs {verb} marked, "
        f"{told.packs_due} {verb} taken."
    )
    if not dry_run:
        click.echo(f"{told.objects_removed} objects were removed from the store.")
    click.echo(
        f"{told.objects_waiting} objects ({told.objects_waiting_bytes} bytes) wait to be removed; "
        f"{told.objects_deleted} ({told.objects_deleted_bytes} bytes) are gone, of jobs that can still write."
    )


async def _run(*, dry_run: bool) -> Told:
    settings = Settings()
    # To standard error: what is printed is the result alone.
    configure_logs(settings.log_level, process="admin")
    platform = build(settings, process="admin")
    async with platform.running():
        database, collection = platform.get(Database), platform.get(CheckpointCollection)
        return await (preview(database, collection) if dry_run else collect_now(database, collection))


async def preview(database: Database, collection: CheckpointCollection) -> Told:
    """Look at every job and write nothing."""
    told = Told(dry_run=True)
    last = ""
    while True:
        async with database.transaction() as session:
            jobs = await collection_rows.enrolled(session, last, JOBS_A_PAGE)
            for job_id in jobs:
                found = await collection.look(session, await collection.jobs.get(session, job_id))
                told.jobs_seen += 1
                told.checkpoints += len(found.expire)
                told.uploads_given_up += len(found.close)
                told.packs_marked += len(found.packs.mark)
                told.packs_due += len(found.packs.take)
        if not jobs:
            return await _with_totals(database, told)
        last = jobs[-1]


async def collect_now(database: Database, collection: CheckpointCollection) -> Told:
    """Carry out what is due, beside the controllers: jobs that one of them is looking through are left to it."""
    told = Told(dry_run=False)
    last = ""
    while True:  # every job once, whenever its next turn would be
        async with database.transaction() as session:
            jobs = await collection_rows.enrolled(session, last, JOBS_A_PAGE)
            for job_id in jobs:
                await collection_rows.look_again(session, job_id)
        if not jobs:
            break
        last = jobs[-1]

    def count(done: Any) -> None:
        told.jobs_seen += 1
        told.checkpoints += done.checkpoints
        told.uploads_given_up += done.uploads
        told.packs_marked += done.packs_marked
        told.packs_due += done.packs

    looking = CollectionLoop(database, collection, told=count)
    while await looking.run_once():
        pass
    removing = DeletionLoop(database, collection)
    while removed := await removing.run_once():
        told.objects_removed += removed
    told.folders_looked_at = await FolderLoop(database, collection).run_once()
    return await _with_totals(database, told)


async def _with_totals(database: Database, told: Told) -> Told:
    async with database.transaction() as session:
        totals = await collection_rows.totals(session)
    told.objects_waiting, told.objects_waiting_bytes, told.objects_deleted, told.objects_deleted_bytes = (
        totals
    )
    return told
