"""A stall of ours must move nobody's job: every process of the platform stands still for a minute while jobs run."""

import os
import signal
import time

import psycopg

from bench.failover import Load
from bench.measuring import Report, database_url
from tests.stack.marketplace import Marketplace, eventually, story

OURS = ("api", "gateway", "controller", "worker", "beat")
QUIET_S = 30.0


def measure_stall(report: Report, marketplace: Marketplace, load: Load, *, jobs: int, stall_s: float) -> None:
    """SIGSTOP to all of `OURS`, a minute later SIGCONT; then count moves, losses and jobs that do not run."""
    renter = marketplace.client()
    running = [load.start(renter) for _ in range(jobs)]
    epochs = {job.id: job.refresh().data["placement"]["epoch"] for job in running}
    losses = count_losses(marketplace)
    processes = marketplace.processes()
    pids = [pid for name, pid in processes.items() if name.rstrip("-0123456789") in OURS]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(stall_s)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    time.sleep(QUIET_S)  # longer than any watch of ours: what would be taken for a loss has been by now
    for job in running:
        eventually(
            lambda job=job: job.refresh().state == "running",
            within_s=60,
            what=f"the job runs again\n{story(job)}",
        )
    moved = sum(job.data["placement"]["epoch"] != epochs[job.id] for job in running)
    lost = count_losses(marketplace) - losses
    for job in running:
        job.stop()
    report.add(
        "stall", {"moved": moved, "losses": lost, "jobs": jobs},
        f"{moved} of {jobs} jobs moved, {lost} nodes called lost, {len(pids)} processes stopped",
        f"our own stall of {stall_s:.0f} s", "0 false failovers",
    )  # fmt: skip


def count_losses(marketplace: Marketplace) -> int:
    """Losses ever written."""
    with psycopg.connect(database_url(marketplace)) as connection:
        row = connection.execute("SELECT coalesce(sum(losses), 0) FROM nodes").fetchone()
    assert row
    return int(row[0])
