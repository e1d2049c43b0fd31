"""What the checker needs beside the words of jobs: checkpoints read back one by one, and the database's rows."""

import sys
from typing import Any

from gp4u.api import ApiError
from gp4u_protocol.checkpoint.errors import Damaged

from tests.rig.cluster import Cluster
from tests.rig.renter import WORKLOAD, Job, Renter

sys.path.insert(0, str(WORKLOAD))
import content

# Instants as seconds, so that nothing is lost or added on the way through JSON.
_QUERIES = {
    "jobs": "SELECT id, name, state, reason, epoch FROM jobs",
    "placements": """
        SELECT job_id, epoch, node_name, state, outcome, extract(epoch FROM created_at)::float8 AS created_at,
               extract(epoch FROM ended_at)::float8 AS ended_at FROM placements
    """,
    "checkpoints": """
        SELECT id, job_id, epoch, seq, step, trigger, extract(epoch FROM committed_at)::float8 AS committed_at
        FROM checkpoints
    """,
    "usage_intervals": """
        SELECT job_id, epoch, seq, booking_id, extract(epoch FROM started_at)::float8 AS started_at,
               extract(epoch FROM ended_at)::float8 AS ended_at FROM usage_intervals
    """,
    "meters": """
        SELECT booking_id, job_id, epoch, rate_per_hour_micros, charged_micros, refunded_micros,
               extract(epoch FROM settled_at)::float8 AS settled_at FROM meters
    """,
    "ledger_entries": """
        SELECT transfer_id, account, currency, version, amount_micros, balance_after_micros FROM ledger_entries
    """,
    "ledger_accounts": "SELECT name, currency, balance_micros FROM ledger_accounts",
    "ledger_transfers": "SELECT id, key FROM ledger_transfers",
}


def gather(cluster: Cluster, renter: Renter) -> None:
    """Read back every visible checkpoint of the renter's jobs of this history, then take the rows."""
    assert renter.history is not None
    for job in renter.jobs:
        for checkpoint in renter.pages(f"/jobs/{job.id}/checkpoints"):
            if checkpoint["damaged_at"] is None:
                step, problem = _read_back(renter, job, checkpoint)
                if problem is not None and not _is_listed(renter, job, checkpoint["id"]):
                    continue  # the collection took it out of sight after we had seen it
                renter.history.write(
                    "read",
                    job=job.id,
                    checkpoint=checkpoint["id"],
                    epoch=checkpoint["epoch"],
                    seq=checkpoint["seq"],
                    step=step,
                    ok=problem is None,
                    detail=problem,
                )
    with cluster.connect() as connection:
        tables = {}
        for table, query in _QUERIES.items():
            rows = connection.execute(query)
            assert rows.description is not None
            names = [column.name for column in rows.description]
            tables[table] = [dict(zip(names, row, strict=True)) for row in rows]
    renter.history.write("database", tables=tables)


def _is_listed(renter: Renter, job: Job, checkpoint_id: str) -> bool:
    return checkpoint_id in {row["id"] for row in renter.pages(f"/jobs/{job.id}/checkpoints")}


def _read_back(renter: Renter, job: Job, checkpoint: dict[str, Any]) -> tuple[int, str | None]:
    """The step in the checkpoint, and what is wrong with it."""
    try:
        files = renter.read_back(job, checkpoint)
    except (Damaged, ApiError) as failure:
        return 0, f"{type(failure).__name__}: {failure}"
    if "state.bin" not in files:
        return 0, None if checkpoint["step"] is None else "state.bin is missing"
    found = files["state.bin"]
    step = content.step_of(found)
    if found != content.state(job.seed, step, job.state_bytes):
        return step, "state.bin is not what the job wrote"
    # A commit that the job itself asked for holds that very step.
    if checkpoint["trigger"] == "job" and checkpoint["step"] != step:
        return step, f"it is listed as step {checkpoint['step']} and holds step {step}"
    for number in range(job.ballast):
        expected = content.ballast(job.seed, number, job.ballast_bytes)
        if files.get(f"ballast-{number}") != expected:
            return step, f"ballast-{number} is not what the job wrote"
    return step, None
