"""Tables of scores: what counts for and against each node, and every change of it."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Double, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from gp4u_server.kit.db import Base


class NodeScoreRow(Base):
    """What was attributed to a node, and what its agent last said of itself. Beside `nodes`, whose rows heartbeats touch.

    Written with the node's row locked.
    """

    __tablename__ = "node_scores"
    node_id: Mapped[str] = mapped_column(ForeignKey("nodes.id", ondelete="RESTRICT"), primary_key=True)
    host_losses: Mapped[int] = mapped_column(server_default=text("0"))
    network_losses: Mapped[int] = mapped_column(server_default=text("0"))
    away_ms: Mapped[int] = mapped_column(server_default=text("0"))
    agent_life: Mapped[dict[str, Any] | None]

    __table_args__ = (
        CheckConstraint(
            "host_losses >= 0 AND network_losses >= 0 AND away_ms >= 0", name="score_not_negative"
        ),
    )


class ScoreChangeRow(Base):
    """A score before and after an event. Append-only."""

    __tablename__ = "score_changes"
    id: Mapped[str] = mapped_column(primary_key=True)
    node_id: Mapped[str] = mapped_column(ForeignKey("nodes.id", ondelete="RESTRICT"))
    before: Mapped[float] = mapped_column(Double)
    after: Mapped[float] = mapped_column(Double)
    host_losses: Mapped[int]  # the three are what was added; negative where a ruling took it back
    network_losses: Mapped[int]
    away_ms: Mapped[int]
    incident_id: Mapped[str | None]
    reason: Mapped[str]
    at: Mapped[datetime]

    __table_args__ = (
        Index("ix_score_changes_node", "node_id", "id"),
        Index("ix_score_changes_incident", "incident_id", postgresql_where=text("incident_id IS NOT NULL")),
    )


class ReliabilityTallyRow(Base):
    """Losses and hours of one GPU model at one owner; owner '' is everybody together. Made anew every hour."""

    __tablename__ = "reliability_tallies"
    gpu_model: Mapped[str] = mapped_column(primary_key=True)
    owner_id: Mapped[str] = mapped_column(primary_key=True)
    host_losses: Mapped[int]
    online_ms: Mapped[int]
    nodes: Mapped[int]
    computed_at: Mapped[datetime]

    __table_args__ = (Index("ix_reliability_tallies_owner", "owner_id"),)
