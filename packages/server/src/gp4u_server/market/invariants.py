"""SQL that must return no rows, in tests and in production."""

INVARIANTS = {
    "an offer's free count equals its node's free devices": """
        SELECT o.id
        FROM offers o
        LEFT JOIN LATERAL (
            SELECT count(*) AS present,
                   count(*) FILTER (WHERE d.taken_as IS NULL AND d.reserved_for IS NULL) AS free
            FROM devices d
            WHERE d.node_id = o.node_id AND d.model = o.gpu_model AND d.present AND d.faulted_at IS NULL
        ) AS devices ON true
        WHERE o.state <> 'withdrawn' AND (o.gpus_free <> devices.free OR o.gpus_total <> devices.present)
    """,
    "an offer is ready exactly when its node is verified, online and in service": """
        SELECT o.id
        FROM offers o
        JOIN nodes n ON n.id = o.node_id
        WHERE o.state <> 'withdrawn'
          AND o.node_ready <> (n.status = 'verified' AND n.liveness = 'online' AND n.duty = 'in_service')
    """,
    "an offer is in the replacement pool exactly when its node is": """
        SELECT o.id
        FROM offers o
        JOIN nodes n ON n.id = o.node_id
        WHERE o.state <> 'withdrawn' AND o.in_pool <> n.in_pool
    """,
    "a removed node has no standing offer": """
        SELECT o.id
        FROM offers o
        JOIN nodes n ON n.id = o.node_id
        WHERE o.state <> 'withdrawn' AND n.status = 'removed'
    """,
}
