"""Tables of checkpoints. Private to this folder."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from gp4u_server.kit.db import Base


class OpenUpload(Base):
    """A snapshot on its way: recorded before its first byte. `finished_at` when it became a checkpoint, `closed_at` when
    it was given up: never both, and neither is ever undone. `manifest_keys`: objects it may have put, no row names them."""

    __tablename__ = "open_uploads"
    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="RESTRICT"))
    placement_id: Mapped[str]
    epoch: Mapped[int]
    seq: Mapped[int]
    opened_at: Mapped[datetime] = mapped_column(server_default=func.now())
    finished_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    manifest_keys: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))

    __table_args__ = (
        UniqueConstraint("job_id", "seq", name="uq_open_uploads_job_id_seq"),
        CheckConstraint("seq >= 1 AND epoch >= 1", name="numbers_start_at_one"),
        CheckConstraint("finished_at IS NULL OR closed_at IS NULL", name="finished_or_closed"),
        Index("ix_open_uploads_open", "opened_at", postgresql_where=text("finished_at IS NULL")),
        Index(
            "ix_open_uploads_unfinished",
            "job_id",
            postgresql_where=text("finished_at IS NULL AND closed_at IS NULL"),
        ),
    )


class PackRow(Base):
    """One pack, announced by an upload; `stored_at` when a committed checkpoint first named it, `marked_at` when the
    collection first saw that none names it. A pack that goes leaves this table before its object is touched."""

    __tablename__ = "packs"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="RESTRICT"), primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    upload_id: Mapped[str] = mapped_column(ForeignKey("open_uploads.id", ondelete="RESTRICT"))
    size_bytes: Mapped[int]
    announced_at: Mapped[datetime] = mapped_column(server_default=func.now())
    stored_at: Mapped[datetime | None]
    marked_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint("size_bytes > 0", name="size_positive"),
        Index("ix_packs_upload", "upload_id"),
    )


class Checkpoint(Base):
    """One committed checkpoint."""

    __tablename__ = "checkpoints"
    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="RESTRICT"))
    epoch: Mapped[int]
    seq: Mapped[int]
    upload_id: Mapped[str] = mapped_column(ForeignKey("open_uploads.id", ondelete="RESTRICT"))
    placement_id: Mapped[str]
    node_id: Mapped[str]
    node_name: Mapped[str]
    manifest_key: Mapped[str]
    manifest_blake3: Mapped[str]
    manifest_bytes: Mapped[int]
    files: Mapped[int]
    size_bytes: Mapped[int]
    stored_bytes: Mapped[int]
    step: Mapped[int | None]
    trigger: Mapped[str]
    committed_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    damaged_at: Mapped[datetime | None]
    damage: Mapped[str | None]
    pinned_at: Mapped[datetime | None]
    transparent: Mapped[dict[str, Any] | None]
    """Of a dump of the whole job: {"made_by": TransparentFacts of the node, "signed_by": its public key, base64}."""

    __table_args__ = (
        UniqueConstraint("job_id", "epoch", "seq", name="uq_checkpoints_job_id_epoch_seq"),
        UniqueConstraint("id", "job_id", name="uq_checkpoints_id_job_id"),
        CheckConstraint("files >= 0 AND size_bytes >= 0 AND stored_bytes >= 0", name="counts_not_negative"),
        CheckConstraint("trigger IN ('job', 'interval', 'final')", name="trigger_known"),
    )


class CheckpointPack(Base):
    """Which packs a checkpoint needs. The job is part of both keys, so no checkpoint can name another job's pack."""

    __tablename__ = "checkpoint_packs"
    checkpoint_id: Mapped[str] = mapped_column(primary_key=True)
    pack_id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str]

    __table_args__ = (
        ForeignKeyConstraint(
            ["checkpoint_id", "job_id"],
            ["checkpoints.id", "checkpoints.job_id"],
            name="fk_checkpoint_packs_checkpoint",
            ondelete="RESTRICT",
        ),
        ForeignKeyConstraint(
            ["job_id", "pack_id"],
            ["packs.job_id", "packs.id"],
            name="fk_checkpoint_packs_pack",
            ondelete="RESTRICT",
        ),
        Index("ix_checkpoint_packs_pack", "job_id", "pack_id"),
    )


class JobUpload(Base):
    """The folder sent with jobs, a tar.zst, by its hash. Shared between jobs of one renter, never between renters."""

    __tablename__ = "job_uploads"
    id: Mapped[str] = mapped_column(primary_key=True)
    renter_id: Mapped[str]
    blake3: Mapped[str]
    size_bytes: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    wanted_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        CheckConstraint("size_bytes > 0", name="size_positive"),
        Index("ix_job_uploads_renter", "renter_id", "blake3", "id"),
        Index("ix_job_uploads_wanted", "wanted_at"),
    )


class Fork(Base):
    """A job that starts from another job's checkpoint, which is kept until `released_at`: then the job has one of its
    own, or has ended."""

    __tablename__ = "checkpoint_forks"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="RESTRICT"), primary_key=True)
    origin_job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="RESTRICT"))
    checkpoint_id: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    released_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_checkpoint_forks_origin", "origin_job_id", postgresql_where=text("released_at IS NULL")),
    )


class Collection(Base):
    """A job whose checkpoints are looked through from time to time. `id` is the job's; the claim makes it one at a time."""

    __tablename__ = "checkpoint_collections"
    id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="RESTRICT"), primary_key=True)
    next_at: Mapped[datetime]
    claim_token: Mapped[str | None]
    claimed_until: Mapped[datetime | None]

    __table_args__ = (Index("ix_checkpoint_collections_next", "next_at"),)


class Deletion(Base):
    """An object that no row names any more and none ever will. Written before the object is touched, and kept while its
    job can still write, so that nobody announces the key again.

    It is removed twice, a grace period apart (`due_at`): an upload that was on its way may arrive after the first time.
    """

    __tablename__ = "store_deletions"
    id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str]
    job_id: Mapped[str | None]
    size_bytes: Mapped[int]
    decided_at: Mapped[datetime] = mapped_column(server_default=func.now())
    due_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]
    settled_at: Mapped[datetime | None]
    claim_token: Mapped[str | None]
    claimed_until: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("key", name="uq_store_deletions_key"),
        CheckConstraint("(settled_at IS NULL) = (due_at IS NOT NULL)", name="settled_is_not_due"),
        Index("ix_store_deletions_due", "due_at", postgresql_where=text("due_at IS NOT NULL")),
        Index("ix_store_deletions_job", "job_id"),
    )
