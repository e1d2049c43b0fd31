"""Tables of routing."""

from datetime import datetime
from typing import Any

from sqlalchemy import Double, ForeignKey, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from gp4u_server.kit.db import Base


class RoutingDecisionRow(Base):
    """One decision. `candidates` holds the first fifty with their numbers, `failed_counts` speaks for all."""

    __tablename__ = "routing_decisions"
    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    epoch: Mapped[int]
    at: Mapped[datetime]
    took_ms: Mapped[float] = mapped_column(Double)
    offer_id: Mapped[str | None]
    summary: Mapped[str]
    candidates_count: Mapped[int]
    candidates: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    failed_counts: Mapped[dict[str, Any]]

    __table_args__ = (Index("ix_routing_decisions_job", "job_id", text("id DESC")),)
