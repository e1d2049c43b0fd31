"""Tables of ledger: accounts, transfers, entries, and the triggers that keep them honest."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_REFUSE_CHANGE = """
CREATE FUNCTION ledger_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused: the ledger is append-only', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END $$
"""

# Runs at commit, once per new entry: its transfer is balanced by then, and it follows the entry before it.
_CHECK_ENTRY = """
CREATE FUNCTION ledger_check_entry() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    before_micros bigint := 0;
BEGIN
    IF EXISTS (SELECT FROM ledger_entries WHERE transfer_id = NEW.transfer_id
               GROUP BY currency HAVING sum(amount_micros) <> 0) THEN
        RAISE EXCEPTION 'transfer % is not balanced', NEW.transfer_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.version > 1 THEN
        SELECT balance_after_micros INTO before_micros FROM ledger_entries
        WHERE account = NEW.account AND currency = NEW.currency AND version = NEW.version - 1;
    END IF;
    IF before_micros IS NULL OR before_micros + NEW.amount_micros <> NEW.balance_after_micros THEN
        RAISE EXCEPTION 'entry % of % does not follow the one before it', NEW.version, NEW.account
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$
"""

# Runs at commit, once per change of an account row: it must equal the account's last entry.
_CHECK_ACCOUNT = """
CREATE FUNCTION ledger_check_account() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    account_row ledger_accounts%ROWTYPE;
    head_version bigint;
    head_micros bigint;
BEGIN
    SELECT * INTO account_row FROM ledger_accounts WHERE name = NEW.name AND currency = NEW.currency;
    SELECT version, balance_after_micros INTO head_version, head_micros FROM ledger_entries
    WHERE account = NEW.name AND currency = NEW.currency ORDER BY version DESC LIMIT 1;
    IF account_row.version <> coalesce(head_version, 0) OR account_row.balance_micros <> coalesce(head_micros, 0) THEN
        RAISE EXCEPTION 'account % does not equal its last entry', NEW.name
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$
"""


def upgrade() -> None:
    """Create the tables of ledger."""
    op.create_table(
        "ledger_accounts",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("minimum_micros", sa.BigInteger()),
        sa.Column("balance_micros", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("name", "currency", name="pk_ledger_accounts"),
        sa.CheckConstraint("balance_micros >= minimum_micros", name="ck_ledger_accounts_minimum"),
    )
    op.create_table(
        "ledger_transfers",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("refs", postgresql.JSONB(), nullable=False),
        sa.Column("inputs_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_ledger_transfers"),
        sa.UniqueConstraint("key", name="uq_ledger_transfers_key"),
    )
    op.create_table(
        "ledger_entries",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("transfer_id", sa.Text(), nullable=False),
        sa.Column("leg", sa.BigInteger(), nullable=False),
        sa.Column("amount_micros", sa.BigInteger(), nullable=False),
        sa.Column("balance_after_micros", sa.BigInteger(), nullable=False),
        sa.Column("previous_hash", sa.LargeBinary(), nullable=False),
        sa.Column("entry_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("account", "currency", "version", name="pk_ledger_entries"),
        sa.ForeignKeyConstraint(
            ["account", "currency"],
            ["ledger_accounts.name", "ledger_accounts.currency"],
            name="fk_ledger_entries_account_currency",
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["transfer_id"],
            ["ledger_transfers.id"],
            name="fk_ledger_entries_transfer_id",
            ondelete="RESTRICT",
        ),
        sa.CheckConstraint("amount_micros <> 0", name="ck_ledger_entries_amount_not_zero"),
        sa.CheckConstraint("version > 0", name="ck_ledger_entries_version_positive"),
    )
    op.create_index(
        "uq_ledger_entries_transfer_id_leg", "ledger_entries", ["transfer_id", "leg"], unique=True
    )
    op.execute(_REFUSE_CHANGE)
    op.execute(_CHECK_ENTRY)
    op.execute(_CHECK_ACCOUNT)
    for table in ("ledger_transfers", "ledger_entries"):
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION ledger_refuse_change()"
        )
    op.execute(
        "CREATE TRIGGER ledger_accounts_kept BEFORE DELETE ON ledger_accounts "
        "FOR EACH ROW EXECUTE FUNCTION ledger_refuse_change()"
    )
    for table in ("ledger_accounts", "ledger_transfers", "ledger_entries"):
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change()"
        )
    op.execute(
        "CREATE CONSTRAINT TRIGGER ledger_entries_checked AFTER INSERT ON ledger_entries "
        "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_check_entry()"
    )
    op.execute(
        "CREATE CONSTRAINT TRIGGER ledger_accounts_checked AFTER INSERT OR UPDATE ON ledger_accounts "
        "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_check_account()"
    )


def downgrade() -> None:
    """There is nothing before the first release to go back to."""
