"""Tables of checkpoints. Private to this folder."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from gp4u_server.kit.db import Base


class OpenUpload(Base):
    """A snapshot on its way: recorded before its first byte. `finished_at` when it became a checkpoint."""

    __tablename__ = "open_uploads"
    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="RESTRICT"))
    placement_id: Mapped[str]
    epoch: Mapped[int]
    seq: Mapped[int]
    opened_at: Mapped[datetime] = mapped_column(server_default=func.now())
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("job_id", "seq", name="uq_open_uploads_job_id_seq"),
        CheckConstraint("seq >= 1 AND epoch >= 1", name="numbers_start_at_one"),
        Index("ix_open_uploads_open", "opened_at", postgresql_where=text("finished_at IS NULL")),
    )


class PackRow(Base):
    """One pack, announced by an upload; `stored_at` when a committed checkpoint first named it."""

    __tablename__ = "packs"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="RESTRICT"), primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    upload_id: Mapped[str] = mapped_column(ForeignKey("open_uploads.id", ondelete="RESTRICT"))
    size_bytes: Mapped[int]
    announced_at: Mapped[datetime] = mapped_column(server_default=func.now())
    stored_at: Mapped[datetime | None]

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

    __table_args__ = (
        CheckConstraint("size_bytes > 0", name="size_positive"),
        Index("ix_job_uploads_renter", "renter_id", "blake3", "id"),
    )
