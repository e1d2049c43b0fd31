"""Collection beside slow uploaders, paused collectors, failovers and crashes, on a real database and a real store."""

import asyncio
import json
import os
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from gp4u_protocol.job_spec import KeepRule as JobKeepRule
from gp4u_server.accounts.tokens import write_signing_key
from gp4u_server.catalyst.checkpoints import collection_rows
from gp4u_server.catalyst.checkpoints.collection import CheckpointCollection, Collected, CollectionTerms
from gp4u_server.catalyst.checkpoints.control import CollectionLoop, DeletionLoop, FolderLoop
from gp4u_server.catalyst.checkpoints.errors import PacksUnknown
from gp4u_server.catalyst.checkpoints.ports import ObjectStore, SignedPut, StoreUnavailable
from gp4u_server.catalyst.checkpoints.retention import KeepRule
from gp4u_server.catalyst.checkpoints.service import Fence, manifest_key, pack_key
from gp4u_server.catalyst.checkpoints.types import Announced, Commit, OpenedUpload
from gp4u_server.catalyst.jobs.errors import StaleEpoch
from gp4u_server.controller.collect_command import collect_now, preview
from gp4u_server.foundation.claims import Claim
from gp4u_server.kit.errors import DomainError
from sqlalchemy import text

from tests.integration.checkpoints.conftest import Placed, World

TERMS = CollectionTerms(
    keep=KeepRule(last=2, hourly=0), keep_ended=timedelta(days=30), every=timedelta(minutes=5),
    grace=timedelta(hours=24),
)  # fmt: skip
_INSTANTS = {
    "packs": ("marked_at",),
    "open_uploads": ("opened_at",),
    "checkpoints": ("committed_at",),
    "checkpoint_collections": ("next_at", "claimed_until"),
    "store_deletions": ("due_at", "claimed_until"),
    "job_uploads": ("wanted_at",),
    "jobs": ("ended_at",),
}


def collection_of(world: World, store: ObjectStore | None = None) -> CheckpointCollection:
    return CheckpointCollection(world.jobs, store or world.store, TERMS)


async def age(world: World, hours: float) -> None:
    """Let time pass: everything on record was so many hours earlier."""
    async with world.database.transaction() as session:
        for table, columns in _INSTANTS.items():
            past = ", ".join(f"{column} = {column} - make_interval(mins => :m)" for column in columns)
            await session.execute(text(f"UPDATE {table} SET {past}"), {"m": round(hours * 60)})


async def collect(world: World, collection: CheckpointCollection | None = None) -> None:
    """What a controller does when everything is due."""
    collection = collection or collection_of(world)
    async with world.database.transaction() as session:
        await session.execute(text("UPDATE checkpoint_collections SET next_at = now()"))
    for loop in (CollectionLoop, DeletionLoop):
        while await loop(world.database, collection).run_once():
            if loop is CollectionLoop:
                break


def stored(world: World, job_id: str) -> set[str]:
    """Keys of a job's objects in the store."""
    root = Path(world.store.root) / "objects"
    return {str(path.relative_to(root)) for path in (root / "jobs" / job_id).rglob("*") if path.is_file()}


async def named(world: World, job_id: str) -> set[str]:
    """Keys that the job's visible checkpoints need."""
    async with world.database.transaction() as session:
        packs = await session.scalars(
            text("SELECT pack_id FROM checkpoint_packs WHERE job_id = :job"), {"job": job_id}
        )
        manifests = await session.scalars(
            text("SELECT manifest_key FROM checkpoints WHERE job_id = :job"), {"job": job_id}
        )
        return {pack_key(job_id, pack) for pack in packs} | set(manifests)


@dataclass
class Uploader:
    """A node's uploads, call by call, over objects of four bytes. `knows`: packs that it believes to be stored."""

    world: World
    placed: Placed
    upload: OpenedUpload | None = None
    announced: list[str] = field(default_factory=list)
    knows: list[str] = field(default_factory=list)
    on_their_way: list[str] = field(default_factory=list)

    @property
    def fence(self) -> Fence:
        return Fence(self.placed.node_id, self.placed.spec.placement_id, self.placed.spec.epoch)

    async def open(self) -> None:
        async with self.world.database.transaction() as session:
            self.upload = await self.world.checkpoints.open_upload(session, self.fence)
        self.announced = []

    async def announce(self) -> str:
        assert self.upload is not None
        pack_id = os.urandom(16).hex()
        async with self.world.database.transaction() as session:
            await self.world.checkpoints.announce_packs(
                session, self.fence, self.upload.id, [Announced(pack_id, 4)]
            )
        self.announced.append(pack_id)
        self.on_their_way.append(pack_id)
        return pack_id

    def arrive(self, pack_id: str) -> None:
        """The put of a pack reaches the store, however late."""
        self.on_their_way.remove(pack_id)
        put(self.world, pack_key(self.placed.spec.job_id, pack_id), b"pack")

    async def commit(self, packs: Sequence[str]) -> str:
        assert self.upload is not None
        content = os.urandom(20)
        digest = blake3(content).hexdigest()
        commit = Commit(
            self.upload.id, digest, len(content), tuple(Announced(pack, 4) for pack in packs), 1, 4, None, "interval"
        )  # fmt: skip
        async with self.world.database.transaction() as session:
            await self.world.checkpoints.note_manifest(session, self.fence, self.upload.id, digest)
        put(self.world, manifest_key(self.upload, digest), content)
        await self.world.checkpoints.check_stored(self.upload, commit)
        return await self.finish(commit)

    async def finish(self, commit: Commit) -> str:
        async with self.world.database.transaction() as session:
            made = await self.world.checkpoints.commit(session, self.fence, commit)
        self.knows = [pack.id for pack in commit.packs]
        return made.id

    async def save(self, *also: str) -> str:
        """A whole checkpoint: one new pack, and those named in `also`."""
        await self.open()
        pack_id = await self.announce()
        self.arrive(pack_id)
        return await self.commit([pack_id, *also])


def put(world: World, key: str, content: bytes) -> None:
    path = Path(world.store.root) / "objects" / key
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_bytes(content)


async def uploader(world: World, **spec: Any) -> Uploader:
    """A node on which a job runs."""
    node_id = f"node_{os.urandom(4).hex()}"
    placed = await world.place(await world.create_job(**spec), node_id)
    await set_running(world, placed)
    return Uploader(world, placed)


async def set_running(world: World, placed: Placed) -> None:
    async with world.database.transaction() as session:
        await session.execute(
            text("UPDATE placements SET running_at = now(), state = 'running' WHERE id = :id"),
            {"id": placed.spec.placement_id},
        )


async def visible(world: World, job_id: str) -> list[str]:
    async with world.database.transaction() as session:
        return [view.id for view in await world.checkpoints.newest(session, job_id, 100)]


async def test_old_checkpoints_go_and_take_with_them_what_nobody_else_names(world: World) -> None:
    node = await uploader(world)
    job_id = node.placed.spec.job_id
    first = await node.save()
    shared = node.knows[0]
    ids = [first, await node.save(shared), await node.save(shared), await node.save(shared)]
    await collect(world)
    assert await visible(world, job_id) == ids[:1:-1]
    assert len(stored(world, job_id)) == 8, "nothing is touched before the grace period"
    await collect(world)
    for _ in range(2):
        await age(world, 25)
        await collect(world)
    assert stored(world, job_id) == await named(world, job_id)
    assert pack_key(job_id, shared) in stored(world, job_id), "shared with a newer one"
    assert len(stored(world, job_id)) == 5


async def test_the_jobs_own_rule_wins_and_what_it_leaves_out_is_the_platforms(world: World) -> None:
    async with world.database.transaction() as session:
        job = await world.jobs.get(session, await world.create_job())
    rule = job.spec.checkpoint
    assert TERMS.rule_of(rule) == KeepRule(2, 0)
    assert TERMS.rule_of(rule.model_copy(update={"keep": JobKeepRule(last=7)})) == KeepRule(7, 0)
    assert TERMS.rule_of(rule.model_copy(update={"keep": JobKeepRule(hourly=3)})) == KeepRule(2, 3)


async def test_h19_a_slow_upload_keeps_its_packs_for_days(world: World) -> None:
    node = await uploader(world)
    job_id = node.placed.spec.job_id
    await node.save()
    await node.open()
    pack_id = await node.announce()
    for _ in range(4):
        await age(world, 30)
        await collect(world)
    node.arrive(pack_id)
    committed = await node.commit([pack_id])
    for _ in range(4):
        await age(world, 30)
        await collect(world)
    assert committed in await visible(world, job_id)
    assert await named(world, job_id) <= stored(world, job_id)


async def test_h19_an_upload_that_was_given_up_is_collected_with_its_late_packs(world: World) -> None:
    node = await uploader(world)
    job_id = node.placed.spec.job_id
    await node.open()
    late, early = await node.announce(), await node.announce()
    node.arrive(early)
    given_up = replace(node, on_their_way=[])
    await node.save()
    for _ in range(2):
        await age(world, 25)
        await collect(world)
        await collect(world)
    assert pack_key(job_id, early) not in stored(world, job_id)
    node.arrive(late)  # after the first removal
    with pytest.raises(DomainError, match="given up"):
        await given_up.announce()
    with pytest.raises(DomainError, match="given up"):
        await given_up.commit([early])
    for _ in range(2):
        await age(world, 25)
        await collect(world)
    leaked = stored(world, job_id) - await named(world, job_id)
    assert {key for key in leaked if "/packs/" in key} == set()


async def test_h19_a_collected_packs_name_is_never_taken_again(world: World) -> None:
    node = await uploader(world)
    job_id = node.placed.spec.job_id
    await node.save()
    (old,) = node.knows
    for _ in range(2):
        await node.save()
    for _ in range(4):
        await collect(world)
        await age(world, 25)
    assert pack_key(job_id, old) not in stored(world, job_id)
    await node.open()
    assert node.upload is not None
    with pytest.raises(PacksUnknown, match="collected"):
        async with world.database.transaction() as session:
            await world.checkpoints.announce_packs(session, node.fence, node.upload.id, [Announced(old, 4)])
    put(world, pack_key(job_id, old), b"pack")
    with pytest.raises(PacksUnknown):
        await node.commit([old])


async def test_h19_a_commit_and_the_second_mark_exclude_each_other(world: World) -> None:
    """The pack is found stored, then taken, then the commit goes on: it must not become visible."""
    node = await uploader(world)
    job_id = node.placed.spec.job_id
    await node.save()
    (old,) = node.knows
    for _ in range(2):
        await node.save()
    await collect(world)
    await collect(world)
    await age(world, 25)
    await node.open()
    fresh = await node.announce()
    node.arrive(fresh)
    assert node.upload is not None
    content = os.urandom(20)
    digest = blake3(content).hexdigest()
    commit = Commit(
        node.upload.id, digest, 20, (Announced(fresh, 4), Announced(old, 4)), 1, 4, None, "interval"
    )
    async with world.database.transaction() as session:
        await world.checkpoints.note_manifest(session, node.fence, node.upload.id, digest)
    put(world, manifest_key(node.upload, digest), content)
    await world.checkpoints.check_stored(node.upload, commit)
    before = await visible(world, job_id)
    await collect(world)
    with pytest.raises(PacksUnknown):
        await node.finish(commit)
    assert await visible(world, job_id) == before
    assert await named(world, job_id) <= stored(world, job_id)


async def test_h19_a_commit_voids_the_mark(world: World) -> None:
    node = await uploader(world)
    job_id = node.placed.spec.job_id
    await node.save()
    (old,) = node.knows
    for _ in range(2):
        await node.save()
    await collect(world)
    await collect(world)
    await age(world, 23)
    saved = await node.save(old)
    for _ in range(3):
        await age(world, 25)
        await collect(world)
    assert saved in await visible(world, job_id)
    assert pack_key(job_id, old) in stored(world, job_id)
    await node.save()
    await node.save()
    for _ in range(3):
        await collect(world)
    assert pack_key(job_id, old) in stored(world, job_id), (
        "unnamed again, it has its whole grace period again"
    )


async def test_h19_a_collector_that_lost_its_claim_does_nothing(world: World) -> None:
    node = await uploader(world)
    job_id = node.placed.spec.job_id
    for _ in range(4):
        await node.save()
    collection = collection_of(world)
    async with world.database.transaction() as session:
        (paused,) = await collection.claim_jobs(session)
    async with world.database.transaction() as session:
        assert await collection.claim_jobs(session) == [], "one at a time"
    await age(world, 1)
    async with world.database.transaction() as session:
        (second,) = await collection.claim_jobs(session)
    async with world.database.transaction() as session:
        assert await collection.collect(session, paused) is None
    assert len(await visible(world, job_id)) == 4
    async with world.database.transaction() as session:
        done = await collection.collect(session, second)
    assert done is not None
    assert done.checkpoints == 2


async def test_h19_nothing_expires_under_a_node_that_restores(world: World) -> None:
    node = await uploader(world)
    job_id = node.placed.spec.job_id
    for _ in range(4):
        await node.save()
    await world.lose(node.placed.node_id)
    placed = await world.place(job_id, "node_next")
    await collect(world)
    assert len(await visible(world, job_id)) == 4
    await set_running(world, placed)
    await collect(world)
    assert len(await visible(world, job_id)) == 2


async def test_the_command_says_what_would_go_and_changes_nothing(world: World) -> None:
    node = await uploader(world)
    job_id = node.placed.spec.job_id
    for _ in range(5):
        await node.save()
    collection = collection_of(world)
    told = await preview(world.database, collection)
    assert (told.jobs_seen, told.checkpoints, told.packs_marked, told.objects_waiting) == (1, 3, 0, 0)
    assert len(await visible(world, job_id)) == 5
    done = await collect_now(world.database, collection)
    assert (done.jobs_seen, done.checkpoints, done.objects_removed, done.objects_waiting) == (1, 3, 0, 3)
    assert (await collect_now(world.database, collection)).packs_marked == 3
    await age(world, 25)
    done = await collect_now(world.database, collection)
    assert (done.packs_due, done.objects_removed, done.objects_deleted) == (3, 6, 6)
    assert stored(world, job_id) == await named(world, job_id)


async def test_the_command_runs_on_the_servers_that_the_environment_names(
    world: World, database_url: str, valkey_url: str, tmp_path: Path
) -> None:
    node = await uploader(world)
    for _ in range(3):
        await node.save()
    secrets = tmp_path / "secrets"
    write_signing_key(secrets)
    (secrets / "master.key").write_bytes(bytes(32))
    environment = {
        **os.environ, "DATABASE_URL": database_url, "REDIS_URL": valkey_url, "GP4U_SECRETS_DIR": str(secrets),
        "GP4U_OBJECT_STORE_DIR": str(world.store.root), "GP4U_CHECKPOINT_KEEP_LAST": "1",
        "GP4U_CHECKPOINT_KEEP_HOURLY": "0",
    }  # fmt: skip
    command = [sys.executable, "-c", "from gp4u.cli import main; main()", "admin", "collect", "--json"]
    for options in (["--dry-run"], []):  # the second one logs what it does, and still prints one object
        process = await asyncio.create_subprocess_exec(
            *command, *options, env=environment, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        told = json.loads(output)
        assert (process.returncode, told["dry_run"], told["jobs_seen"], told["checkpoints"]) == (
            0, bool(options), 1, 2,
        )  # fmt: skip


@dataclass
class Unsteady:
    """A store that loses answers: every other removal is done and not confirmed."""

    inner: ObjectStore
    calls: int = 0

    async def delete(self, key: str) -> None:
        self.calls += 1
        if self.calls % 3 == 1:
            raise StoreUnavailable("no answer")
        await self.inner.delete(key)
        if self.calls % 3 == 2:
            raise StoreUnavailable("the answer was lost")

    async def size_of(self, key: str) -> int | None:
        return await self.inner.size_of(key)

    async def read(self, key: str, *, bytes_max: int) -> bytes | None:
        return await self.inner.read(key, bytes_max=bytes_max)

    async def sign_put(self, key: str, *, size_bytes: int, expires_in_s: int) -> SignedPut:
        return await self.inner.sign_put(key, size_bytes=size_bytes, expires_in_s=expires_in_s)

    async def sign_get(self, key: str, *, expires_in_s: int) -> str:
        return await self.inner.sign_get(key, expires_in_s=expires_in_s)


async def test_h19_a_store_that_loses_answers_is_asked_until_everything_is_gone(world: World) -> None:
    node = await uploader(world)
    job_id = node.placed.spec.job_id
    for _ in range(5):
        await node.save()
    unsteady = collection_of(world, Unsteady(world.store))
    await collect(world, unsteady)
    for _ in range(9):
        await age(world, 25)
        await collect(world, unsteady)
    assert stored(world, job_id) == await named(world, job_id)
    assert len(stored(world, job_id)) == 4


async def test_a_job_that_ended_long_ago_leaves_nothing_but_what_is_pinned(world: World) -> None:
    node, kept = await uploader(world), await uploader(world)
    for each in (node, kept):
        await each.save()
        await each.open()
        await each.announce()
        await world.lose(each.placed.node_id)
        async with world.database.transaction() as session:
            await world.jobs.request_stop(session, each.placed.spec.job_id, "by_renter")
    async with world.database.transaction() as session:
        await session.execute(
            text("UPDATE checkpoints SET pinned_at = now() WHERE job_id = :j"), {"j": kept.placed.spec.job_id}
        )
    await collect(world)
    assert len(await visible(world, node.placed.spec.job_id)) == 1
    await age(world, 24 * 31)
    for _ in range(6):
        await collect(world)
        await age(world, 25)
    assert stored(world, node.placed.spec.job_id) == set()
    assert len(stored(world, kept.placed.spec.job_id)) == 2
    async with world.database.transaction() as session:
        for table in ("open_uploads", "packs", "store_deletions", "checkpoint_collections"):
            column = "id" if table == "checkpoint_collections" else "job_id"
            left = await session.scalar(
                text(f"SELECT count(*) FROM {table} WHERE {column} = :j"),
                {"j": node.placed.spec.job_id},
            )
            assert left == 0, table


async def test_a_folder_goes_when_no_job_has_needed_it_for_long(world: World) -> None:
    async def announce(content: bytes) -> str:
        async with world.database.transaction() as session:
            made = await world.checkpoints.find_or_create_job_upload(
                session, "usr_renter", blake3(content).hexdigest(), len(content)
            )
        put(world, f"uploads/usr_renter/{made.id}", content)
        return made.id

    unused, running, wanted = [await announce(content) for content in (b"one", b"two", b"three")]
    await world.create_job(upload_id=running)
    loop = FolderLoop(world.database, collection_of(world))
    await age(world, 24 * 31)
    assert await announce(b"three") == wanted
    assert await loop.run_once() == 2
    await collect(world)
    async with world.database.transaction() as session:
        left = set(await session.scalars(text("SELECT id FROM job_uploads")))
    assert left == {running, wanted}
    assert await world.store.size_of(f"uploads/usr_renter/{unused}") is None
    assert await world.store.size_of(f"uploads/usr_renter/{running}") == 3
    assert await announce(b"one") != unused, "its name is not used again"


async def test_h19_a_folder_that_is_just_being_submitted_is_not_taken(world: World) -> None:
    async with world.database.transaction() as session:
        made = await world.checkpoints.find_or_create_job_upload(session, "usr_renter", "0" * 64, 3)
    await age(world, 24 * 31)
    async with world.database.transaction() as session:
        await world.checkpoints.require_job_upload(session, "usr_renter", made.id)
        assert await FolderLoop(world.database, collection_of(world)).run_once() == 0
    assert await FolderLoop(world.database, collection_of(world)).run_once() == 1


class Schedule:
    """One job under random steps of uploaders, collectors, failovers and time."""

    def __init__(self, world: World, node: Uploader, chance: random.Random) -> None:
        self.world, self.node, self.chance = world, node, chance
        self.job_id = node.placed.spec.job_id
        self.stale: list[Uploader] = []
        self.claims: list[Claim] = []
        self.deletions: list[collection_rows.DueDeletion] = []
        self.collection = collection_of(world)
        self.refused = self.committed = self.collected = 0

    async def step(self) -> None:
        name = self.chance.choice(
            ["save"] * 3 + ["open", "announce", "arrive", "commit", "commit_stale", "fail_over", "pass_time",
             "pass_time", "claim", "collect", "collect", "sweep", "sweep", "claim_objects", "remove", "remove"]
        )  # fmt: skip
        try:
            await getattr(self, f"_{name}")()
        except (DomainError, StaleEpoch):
            self.refused += 1
        missing = await named(self.world, self.job_id) - stored(self.world, self.job_id)
        assert missing == set(), f"after {name}"

    def _any_uploader(self) -> Uploader:
        return self.chance.choice([self.node, *self.stale[-2:]])

    async def _save(self) -> None:
        also = self.chance.sample(self.node.knows, min(len(self.node.knows), 2))
        await self.node.save(*also)
        self.committed += 1

    async def _open(self) -> None:
        self.stale.append(replace(self.node, on_their_way=list(self.node.on_their_way)))
        await self.node.open()

    async def _announce(self) -> None:
        each = self._any_uploader()
        if each.upload is not None:
            await each.announce()

    async def _arrive(self) -> None:
        each = self._any_uploader()
        if each.on_their_way:
            pack_id = self.chance.choice(each.on_their_way)
            async with self.world.database.transaction() as session:
                if await session.scalar(
                    text("SELECT settled_at FROM store_deletions WHERE key = :key"),
                    {"key": pack_key(self.job_id, pack_id)},
                ):  # no signed address lives for two grace periods
                    return
            each.arrive(pack_id)

    async def _commit(self) -> None:
        each = self._any_uploader()
        if each.upload is not None:
            there = [pack for pack in each.announced if pack not in each.on_their_way]
            await each.commit([*there, *each.knows][:6])
            self.committed += 1

    async def _commit_stale(self) -> None:
        """It woke up and builds on packs that it knew long ago."""
        old = [pack for each in self.stale for pack in each.knows]
        if old and self.node.upload is not None:
            await self.node.commit(self.chance.sample(old, min(3, len(set(old)))))
            self.committed += 1

    async def _fail_over(self) -> None:
        self.stale.append(replace(self.node, on_their_way=list(self.node.on_their_way)))
        await self.world.lose(self.node.placed.node_id)
        placed = await self.world.place(self.job_id, f"node_{os.urandom(4).hex()}")
        if self.chance.random() < 0.7:
            await set_running(self.world, placed)
        self.node = Uploader(self.world, placed, knows=list(self.node.knows))

    async def _pass_time(self) -> None:
        await age(self.world, self.chance.choice([1, 13, 25, 30]))

    async def _claim(self) -> None:
        async with self.world.database.transaction() as session:
            self.claims += await self.collection.claim_jobs(session)

    async def _collect(self) -> None:
        if self.claims:  # perhaps long after it was claimed
            claim = self.claims.pop(self.chance.randrange(len(self.claims)))
            async with self.world.database.transaction() as session:
                done: Collected | None = await self.collection.collect(session, claim)
            self.collected += done.packs if done else 0

    async def _sweep(self) -> None:
        await collect(self.world, self.collection)

    async def _claim_objects(self) -> None:
        async with self.world.database.transaction() as session:
            self.deletions += await self.collection.claim_objects(session)

    async def _remove(self) -> None:
        if self.deletions:  # perhaps long after everybody else has removed it
            deletion = self.deletions.pop(self.chance.randrange(len(self.deletions)))
            await self.collection.remove(deletion)
            if self.chance.random() < 0.5:
                async with self.world.database.transaction() as session:
                    await self.collection.record_removed(session, deletion)


async def test_h19_no_schedule_of_uploaders_collectors_and_failovers_loses_a_named_object(
    world: World,
) -> None:
    """Every step is a whole use case; crashes are steps that never follow. Each schedule replays from its number."""
    refused = committed = collected = 0
    for seed in range(int(os.environ.get("GP4U_COLLECTION_SCHEDULES", "3"))):
        schedule = Schedule(world, await uploader(world), random.Random(seed))
        for _ in range(60):
            await schedule.step()
        refused, committed = refused + schedule.refused, committed + schedule.committed
        await schedule._fail_over()
        await set_running(world, schedule.node.placed)
        await schedule.node.save()
        for _ in range(5):
            await age(world, 25)
            await collect(world)
        left = stored(world, schedule.job_id) - await named(world, schedule.job_id)
        assert not left, f"seed {seed}: left for ever"
        async with world.database.transaction() as session:
            collected += await session.scalar(
                text("SELECT count(*) FROM store_deletions WHERE job_id = :j AND key LIKE '%/packs/%'"),
                {"j": schedule.job_id},
            ) or 0  # fmt: skip
            await world.jobs.request_stop(session, schedule.job_id, "by_renter")
    assert min(refused, committed, collected) >= 5, "the schedules must reach what they are for"
