"""Incidents and what they are attributed to; scores, their changes and what they rest on."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)
CAUSES = "('host_hardware', 'host_software', 'renter_job', 'network', 'platform', 'unknown')"


def upgrade() -> None:
    """Add tables, and columns that the release before this one leaves to their defaults.

    Losses from before were never attributed to anybody, so every score begins with none.
    """
    _scores()
    _incidents()
    _runs_and_rulings()
    for name, default in (("reliability_low", "0"), ("reliability_high", "1"), ("seen_s", "0")):
        op.add_column("offers", sa.Column(name, sa.Double(), server_default=default, nullable=False))
    op.add_column("offers", sa.Column("record", sa.Text(), server_default="", nullable=False))


def _scores() -> None:
    op.create_table(
        "node_scores",
        _text("node_id"),
        *(_counter(name) for name in ("host_losses", "network_losses", "away_ms")),
        sa.Column("agent_life", postgresql.JSONB()),
        sa.CheckConstraint(
            "host_losses >= 0 AND network_losses >= 0 AND away_ms >= 0",
            name=op.f("ck_node_scores_score_not_negative"),
        ),
        _of_node("node_scores"),
        sa.PrimaryKeyConstraint("node_id", name="pk_node_scores"),
    )
    op.create_table(
        "score_changes",
        _text("id"),
        _text("node_id"),
        sa.Column("before", sa.Double(), nullable=False),
        sa.Column("after", sa.Double(), nullable=False),
        *(
            sa.Column(name, sa.BigInteger(), nullable=False)
            for name in ("host_losses", "network_losses", "away_ms")
        ),
        sa.Column("incident_id", sa.Text()),
        _text("reason"),
        sa.Column("at", INSTANT, nullable=False),
        _of_node("score_changes"),
        sa.PrimaryKeyConstraint("id", name="pk_score_changes"),
    )
    op.create_index("ix_score_changes_node", "score_changes", ["node_id", "id"])
    op.create_index(
        "ix_score_changes_incident",
        "score_changes",
        ["incident_id"],
        postgresql_where=sa.text("incident_id IS NOT NULL"),
    )
    op.create_table(
        "reliability_tallies",
        _text("gpu_model"),
        _text("owner_id"),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("host_losses", "online_ms", "nodes")),
        sa.Column("computed_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("gpu_model", "owner_id", name="pk_reliability_tallies"),
    )
    op.create_index("ix_reliability_tallies_owner", "reliability_tallies", ["owner_id"])


def _incidents() -> None:
    op.create_table(
        "incidents",
        _text("id"),
        _text("kind"),
        _text("node_id"),
        _text("owner_id"),
        sa.Column("gateway_id", sa.Text()),
        _text("region"),
        *(sa.Column(name, sa.Text()) for name in ("job_id", "placement_id", "reason")),
        sa.Column("began_at", INSTANT, nullable=False),
        sa.Column("opened_at", INSTANT, nullable=False),
        sa.Column("returned_at", INSTANT),
        sa.Column("away_until", INSTANT),
        *(
            sa.Column(name, sa.Boolean(), server_default=sa.false(), nullable=False)
            for name in ("ours", "off_duty")
        ),
        sa.Column("socket_open", sa.Boolean()),
        sa.Column("before", postgresql.JSONB(), server_default="{}", nullable=False),
        sa.Column("after", postgresql.JSONB()),
        *(sa.Column(name, sa.Text()) for name in ("cause", "sub_class", "sentence")),
        sa.Column("evidence", postgresql.JSONB(), server_default="[]", nullable=False),
        sa.Column("settled_at", INSTANT),
        sa.Column("ruled", sa.Boolean(), server_default=sa.false(), nullable=False),
        *(_counter(name) for name in ("host_losses", "network_losses", "away_ms", "looks")),
        sa.Column("due_at", INSTANT),
        sa.Column("deadline_at", INSTANT, nullable=False),
        sa.Column("claim_token", sa.Text()),
        sa.Column("claimed_until", INSTANT),
        sa.CheckConstraint(
            "kind IN ('node_lost', 'run_lost', 'job_failed', 'start_failed')",
            name=op.f("ck_incidents_kind_known"),
        ),
        sa.CheckConstraint(f"cause IN {CAUSES}", name=op.f("ck_incidents_cause_known")),
        sa.CheckConstraint(
            "(cause IS NULL) = (settled_at IS NULL)", name=op.f("ck_incidents_settled_has_a_cause")
        ),
        sa.CheckConstraint(
            "(cause IN ('host_hardware', 'host_software', 'network'))"
            " OR (host_losses = 0 AND network_losses = 0 AND away_ms = 0)",
            name=op.f("ck_incidents_only_the_host_side_counts"),
        ),
        _of_node("incidents"),
        sa.PrimaryKeyConstraint("id", name="pk_incidents"),
    )
    op.create_index("ix_incidents_node", "incidents", ["node_id", "id"])
    op.create_index(
        "ix_incidents_due", "incidents", ["due_at"], postgresql_where=sa.text("due_at IS NOT NULL")
    )
    op.create_index(
        "ix_incidents_losses", "incidents", ["opened_at"], postgresql_where=sa.text("kind = 'node_lost'")
    )
    op.create_index(
        "ix_incidents_away",
        "incidents",
        ["node_id"],
        postgresql_where=sa.text("kind = 'node_lost' AND returned_at IS NULL"),
    )
    op.create_index(
        "uq_incidents_placement",
        "incidents",
        ["placement_id"],
        unique=True,
        postgresql_where=sa.text("placement_id IS NOT NULL"),
    )


def _runs_and_rulings() -> None:
    op.create_table(
        "incident_runs",
        _text("placement_id"),
        _text("incident_id"),
        _text("job_id"),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("told_cause", sa.Text()),
        sa.Column("tell_at", INSTANT),
        _of_incident("incident_runs"),
        sa.PrimaryKeyConstraint("placement_id", name="pk_incident_runs"),
    )
    op.create_index("ix_incident_runs_incident", "incident_runs", ["incident_id"])
    op.create_index(
        "ix_incident_runs_untold",
        "incident_runs",
        ["tell_at"],
        postgresql_where=sa.text("tell_at IS NOT NULL"),
    )
    op.create_table(
        "incident_rulings",
        *(_text(name) for name in ("id", "incident_id", "by_user_id", "cause")),
        *(sa.Column(name, sa.Text()) for name in ("was", "was_sub_class")),
        _text("reason"),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("undone_at", INSTANT),
        sa.Column("undone_by", sa.Text()),
        sa.CheckConstraint(f"cause IN {CAUSES}", name=op.f("ck_incident_rulings_ruling_cause_known")),
        _of_incident("incident_rulings"),
        sa.PrimaryKeyConstraint("id", name="pk_incident_rulings"),
    )
    op.create_index("ix_incident_rulings_incident", "incident_rulings", ["incident_id", "id"])


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def _counter(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), server_default="0", nullable=False)


def _of_node(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["node_id"], ["nodes.id"], name=f"fk_{table}_node_id", ondelete="RESTRICT")


def _of_incident(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["incident_id"], ["incidents.id"], name=f"fk_{table}_incident_id", ondelete="RESTRICT"
    )


def downgrade() -> None:
    """Releases before this one run on this schema as it is."""
