"""SQL that must return no rows, on any database at any instant."""

from collections.abc import Mapping

INVARIANTS: Mapping[str, str] = {
    "intervals_disjoint": """
        SELECT 'usage_intervals ' || a.job_id || ' ' || a.epoch || ' ' || a.seq AS row,
               'overlaps ' || b.epoch || ' ' || b.seq AS detail
        FROM usage_intervals a JOIN usage_intervals b
          ON b.job_id = a.job_id AND (b.epoch, b.seq) > (a.epoch, a.seq)
         AND tstzrange(a.started_at, a.ended_at) && tstzrange(b.started_at, b.ended_at)
    """,
    "meter_equals_postings": """
        SELECT 'meters ' || m.booking_id AS row,
               'says ' || m.charged_micros - m.refunded_micros || ', its postings ' || coalesce(p.total, 0) AS detail
        FROM meters m LEFT JOIN (SELECT booking_id, sum(amount_micros) AS total, sum(owner_micros) AS owner
                                 FROM postings GROUP BY booking_id) p USING (booking_id)
        WHERE m.charged_micros - m.refunded_micros <> coalesce(p.total, 0) OR m.owner_micros <> coalesce(p.owner, 0)
    """,
    "posting_equals_ledger": """
        SELECT 'postings ' || p.transfer_id AS row, 'owner part differs from the ledger' AS detail
        FROM postings p LEFT JOIN ledger_entries e
          ON e.transfer_id = p.transfer_id AND e.account = 'earnings:' || p.owner_id
        WHERE coalesce(e.amount_micros, 0) <> p.owner_micros
    """,
    "owner_owns_what_meters_say": """
        SELECT 'ledger_accounts earnings:' || m.owner_id AS row,
               'holds ' || coalesce(a.balance_micros, 0) || ', its meters say ' || m.total AS detail
        FROM (SELECT owner_id, currency, sum(owner_micros) AS total FROM meters GROUP BY owner_id, currency) m
        LEFT JOIN ledger_accounts a ON a.name = 'earnings:' || m.owner_id AND a.currency = m.currency
        WHERE coalesce(a.balance_micros, 0) <> m.total
    """,
    "settled_holds_nothing": """
        SELECT 'meters ' || m.booking_id AS row, 'is settled and still holds ' || a.balance_micros AS detail
        FROM meters m JOIN ledger_accounts a ON a.name = 'hold:' || m.booking_id AND a.currency = m.currency
        WHERE m.settled_at IS NOT NULL AND a.balance_micros <> 0
    """,
    "ended_has_no_open_interval": """
        SELECT 'usage_intervals ' || i.job_id || ' ' || i.epoch || ' ' || i.seq AS row,
               'is open though its meter is over' AS detail
        FROM usage_intervals i JOIN meters m USING (booking_id) WHERE m.ended_at IS NOT NULL AND i.ended_at IS NULL
    """,
    "top_up_moved_once": """
        SELECT 'top_ups ' || u.id AS row, u.state || ', transfers: ' || count(t.id) AS detail
        FROM top_ups u LEFT JOIN ledger_transfers t ON t.key = 'top_up:' || u.id
        GROUP BY u.id, u.state HAVING count(t.id) <> (CASE u.state WHEN 'succeeded' THEN 1 ELSE 0 END)
    """,
}
