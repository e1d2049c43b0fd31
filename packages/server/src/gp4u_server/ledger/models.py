"""Tables of the ledger. Triggers and the reason for each are in the migration and in docs/design/ledger.md."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    UniqueConstraint,
    func,
)
from sqlalchemy.orm import Mapped, mapped_column

from gp4u_server.kit.db import Base


class AccountRow(Base):
    """An account's running balance, kept with its entries in one transaction."""

    __tablename__ = "ledger_accounts"
    name: Mapped[str] = mapped_column(primary_key=True)
    currency: Mapped[str] = mapped_column(primary_key=True)
    minimum_micros: Mapped[int | None]
    balance_micros: Mapped[int] = mapped_column(server_default="0")
    version: Mapped[int] = mapped_column(server_default="0")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (CheckConstraint("balance_micros >= minimum_micros", name="minimum"),)


class TransferRow(Base):
    """One balanced movement."""

    __tablename__ = "ledger_transfers"
    id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str]
    kind: Mapped[str]
    description: Mapped[str]
    refs: Mapped[dict[str, Any]]
    inputs_hash: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]

    __table_args__ = (UniqueConstraint("key"),)


class EntryRow(Base):
    """One leg of a transfer in its account's chain."""

    __tablename__ = "ledger_entries"
    account: Mapped[str] = mapped_column(primary_key=True)
    currency: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    transfer_id: Mapped[str] = mapped_column(ForeignKey("ledger_transfers.id", ondelete="RESTRICT"))
    leg: Mapped[int]
    amount_micros: Mapped[int]
    balance_after_micros: Mapped[int]
    previous_hash: Mapped[bytes] = mapped_column(LargeBinary)
    entry_hash: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]

    __table_args__ = (
        ForeignKeyConstraint(
            ["account", "currency"], ["ledger_accounts.name", "ledger_accounts.currency"], ondelete="RESTRICT"
        ),
        Index("uq_ledger_entries_transfer_id_leg", "transfer_id", "leg", unique=True),
        CheckConstraint("amount_micros <> 0", name="amount_not_zero"),
        CheckConstraint("version > 0", name="version_positive"),
    )
