"""SQL that must return no rows, on any database at any instant."""

from collections.abc import Mapping

INVARIANTS: Mapping[str, str] = {
    "standby_not_on_the_jobs_own_node": """
        SELECT 'standbys ' || s.id AS row, 'is on the node that the job runs on' AS detail
        FROM standbys s JOIN placements p ON p.job_id = s.job_id AND p.node_id = s.node_id
        WHERE s.state <> 'ended' AND p.state <> 'ended'
    """,
    "standby_settled_has_no_open_meter": """
        SELECT 'standbys ' || s.id AS row, 'is settled, and its meter is not' AS detail
        FROM standbys s JOIN meters m ON m.booking_id = s.id
        WHERE s.settled_at IS NOT NULL AND m.settled_at IS NULL
    """,
}
