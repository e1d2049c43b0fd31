"""SQL that must return no rows, on any ledger at any instant. Run in tests and by `verify`."""

from collections.abc import Mapping

INVARIANTS: Mapping[str, str] = {
    "transfer_balances": """
        SELECT 'ledger_transfers ' || transfer_id AS row, currency || ' legs sum to ' || sum(amount_micros) AS detail
        FROM ledger_entries GROUP BY transfer_id, currency HAVING sum(amount_micros) <> 0
    """,
    "transfer_has_entries": """
        SELECT 'ledger_transfers ' || t.id AS row, 'has no entries' AS detail
        FROM ledger_transfers t WHERE NOT EXISTS (SELECT FROM ledger_entries e WHERE e.transfer_id = t.id)
    """,
    "entry_has_transfer": """
        SELECT 'ledger_entries ' || e.account || ' ' || e.currency || ' ' || e.version AS row,
               'names the unknown transfer ' || e.transfer_id AS detail
        FROM ledger_entries e LEFT JOIN ledger_transfers t ON t.id = e.transfer_id WHERE t.id IS NULL
    """,
    "entry_follows_predecessor": """
        SELECT 'ledger_entries ' || account || ' ' || currency || ' ' || version AS row,
               'does not follow entry ' || coalesce(previous_version, 0) || ' with ' || previous_balance AS detail
        FROM (SELECT *, lag(version, 1, 0::bigint) OVER chain AS previous_version,
                     lag(balance_after_micros, 1, 0::bigint) OVER chain AS previous_balance
              FROM ledger_entries WINDOW chain AS (PARTITION BY account, currency ORDER BY version)) e
        WHERE version <> previous_version + 1 OR balance_after_micros <> previous_balance + amount_micros
    """,
    "account_equals_entries": """
        SELECT 'ledger_accounts ' || a.name || ' ' || a.currency AS row,
               'says ' || a.balance_micros || ' at version ' || a.version || ', its entries ' || coalesce(e.total, 0)
               || ' at version ' || coalesce(e.versions, 0) AS detail
        FROM ledger_accounts a
        LEFT JOIN (SELECT account, currency, sum(amount_micros) AS total, max(version) AS versions
                   FROM ledger_entries GROUP BY account, currency) e
               ON e.account = a.name AND e.currency = a.currency
        WHERE a.balance_micros <> coalesce(e.total, 0) OR a.version <> coalesce(e.versions, 0)
    """,
    "entry_has_account": """
        SELECT 'ledger_entries ' || e.account || ' ' || e.currency || ' ' || e.version AS row,
               'names an unknown account' AS detail
        FROM ledger_entries e LEFT JOIN ledger_accounts a ON a.name = e.account AND a.currency = e.currency
        WHERE a.name IS NULL
    """,
    "balance_above_minimum": """
        SELECT 'ledger_accounts ' || name || ' ' || currency AS row,
               balance_micros || ' is below ' || coalesce(minimum_micros::text, 'a missing minimum') AS detail
        FROM ledger_accounts
        WHERE (split_part(name, ':', 1) <> 'world' AND (minimum_micros IS NULL OR minimum_micros <> 0))
           OR balance_micros < minimum_micros
    """,
    "currencies_sum_to_zero": """
        SELECT 'ledger_accounts * ' || currency AS row, 'all balances sum to ' || sum(balance_micros) AS detail
        FROM ledger_accounts GROUP BY currency HAVING sum(balance_micros) <> 0
    """,
}
