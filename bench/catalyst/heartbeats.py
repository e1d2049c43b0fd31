"""What ten thousand connected agents cost one gateway: processor, memory, and what PostgreSQL writes because of them."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
from gp4u.api import ApiClient
from gp4u.config import Credentials

from bench.catalyst.swarm import enrol
from bench.measuring import Report, database_url, percentile, stack
from tests.stack.marketplace import Marketplace, eventually

INTERVAL_S = 5.0
TTL_S = 15.0
CONNECT_WITHIN_S = 600
SETTLE_S = 45.0
OWNER = "swarm@example.com"


@dataclass(frozen=True)
class Sample:
    """Counters at one instant."""

    at: float
    gateway_s: float
    written: int
    commits: int
    wal_bytes: int


@contextmanager
def swarm(marketplace: Marketplace, gateway_url: str, nodes: list[dict[str, str]]) -> Iterator[Path]:
    """The agents in a process of their own; yields the file that its lines go to."""
    folder = marketplace.data / "run"
    members, lines = folder / "swarm.json", folder / "swarm.log"
    members.write_text(json.dumps(nodes))
    command = [sys.executable, "-m", "bench.catalyst.swarm", "--url", gateway_url, "--nodes", str(members)]
    with lines.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield lines
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def swarm_owner(marketplace: Marketplace) -> str:
    """The account that the swarm's nodes belong to; returns its address."""
    with ApiClient(Credentials(url=marketplace.url)) as api:
        account = {"email": OWNER, "password": "a long enough pass phrase", "name": "Swarm"}
        api.post("/auth/register", {**account, "roles": ["renter", "owner"]})
    return OWNER


def connected_swarm(marketplace: Marketplace, lines: Path, count: int) -> None:
    """Return when everybody is connected."""
    eventually(
        lambda: last_line(lines).get("connected") == count,
        within_s=CONNECT_WITHIN_S,
        what=f"{count} agents connected; last heard: {last_line(lines)}",
    )


def last_line(lines: Path) -> dict[str, Any]:
    """The newest whole line of the swarm; empty before the first."""
    return (said(lines) or [{}])[-1]


def said(lines: Path) -> list[dict[str, Any]]:
    """All whole lines of the swarm."""
    whole = lines.read_text().rpartition("\n")[0].splitlines()
    if whole and not whole[-1].startswith("{"):
        raise SystemExit("The swarm failed:\n" + "\n".join(whole[-20:]))
    return [json.loads(line) for line in whole]


def gateway_socket_url(marketplace: Marketplace) -> tuple[str, psutil.Process]:
    """The gateway itself, without the public port before it, and its process."""
    process = psutil.Process(marketplace.processes()["gateway"])
    arguments = process.cmdline()
    port = arguments[arguments.index("--port") + 1]
    return f"ws://127.0.0.1:{port}/agent/v1/connect", process


def measure_heartbeats(report: Report, agents: int, window_s: float) -> None:
    """Connect `agents`, wait until all is quiet, and count for `window_s`; the same is counted before, without them."""
    settings = {"GP4U_HEARTBEAT_INTERVAL_S": str(INTERVAL_S), "GP4U_LEASE_TTL_S": str(TTL_S)}
    with stack(demo=False, **settings) as marketplace:
        url = database_url(marketplace)
        socket_url, gateway = gateway_socket_url(marketplace)
        time.sleep(SETTLE_S)
        idle = sampled(url, gateway, window_s)
        memory_before = gateway.memory_info().rss
        began = time.monotonic()
        nodes = enrol(url, swarm_owner(marketplace), agents)
        with swarm(marketplace, socket_url, nodes) as lines:
            connected_swarm(marketplace, lines, agents)
            connecting_s = time.monotonic() - began
            time.sleep(SETTLE_S)
            known = len(said(lines))
            busy = sampled(url, gateway, window_s)
            heard = said(lines)[known:]
            memory = gateway.memory_info().rss - memory_before
            online = count_online(url)
    beats = sum(line["answered"] for line in heard)
    seconds = busy[1].at - busy[0].at
    rate = beats / len(heard)
    answers = [line["answer_p99_ms"] for line in heard if line["answer_p99_ms"] is not None]
    cores = (busy[1].gateway_s - busy[0].gateway_s) / seconds
    extra = per_second(busy, "written") - per_second(idle, "written")
    report.add(
        "heartbeats_rate", round(rate), f"{rate:,.0f} a second, {agents:,} agents every {INTERVAL_S:g} s, connected in {connecting_s:.0f} s",
        "heartbeats answered", f"{agents / INTERVAL_S:,.0f} a second",
    )  # fmt: skip
    report.add(
        "heartbeats_cores",
        round(cores, 3),
        f"{cores:.2f} of a core, {cores / rate * 1e6:.0f} µs a heartbeat",
        "  gateway's processor",
    )
    report.add(
        "heartbeats_memory_kib",
        round(memory / agents / 1024, 1),
        f"{memory / agents / 1024:.0f} KiB",
        "  gateway's memory per agent",
    )
    report.add(
        "heartbeats_answer_ms", round(percentile(answers, 0.5), 1),
        f"{percentile(answers, 0.5):.1f} ms, worst second {max(answers):.0f} ms (the agents share these cores)",
        "  answer, p99 of a second, median",
    )  # fmt: skip
    report.add(
        "heartbeats_rows_per_beat", round(extra / rate, 5),
        f"{per_second(busy, 'written'):.1f} rows/s and {per_second(busy, 'commits'):.1f} commits/s; "
        f"without agents {per_second(idle, 'written'):.1f} and {per_second(idle, 'commits'):.1f}; "
        f"{extra / rate:.5f} rows a heartbeat",
        "  PostgreSQL writes", "0 a heartbeat",
    )  # fmt: skip
    report.add(
        "heartbeats_lost", agents - online, f"{agents - online} of {agents:,}; {sum(line['broken'] for line in heard)} connections broken",
        "  agents not online at the end", "0",
    )  # fmt: skip


def sampled(url: str, gateway: psutil.Process, window_s: float) -> tuple[Sample, Sample]:
    """Counters at the two ends of a window."""
    before = sample(url, gateway)
    time.sleep(window_s)
    return before, sample(url, gateway)


def sample(url: str, gateway: psutil.Process) -> Sample:
    """Counters now."""
    with psycopg.connect(url) as connection:
        connection.execute("SELECT pg_stat_force_next_flush()")
        row = connection.execute(
            "SELECT tup_inserted + tup_updated + tup_deleted, xact_commit, pg_current_wal_lsn() - '0/0'::pg_lsn"
            " FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()
    assert row
    times = gateway.cpu_times()
    return Sample(time.monotonic(), times.user + times.system, int(row[0]), int(row[1]), int(row[2]))


def per_second(window: tuple[Sample, Sample], name: str) -> float:
    """Growth of a counter."""
    before, after = window
    return float((getattr(after, name) - getattr(before, name)) / (after.at - before.at))


def count_online(url: str) -> int:
    """Nodes that the database calls online."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM nodes n JOIN users u ON u.id = n.owner_id WHERE u.email = %s AND n.liveness = 'online'",
            [OWNER],
        ).fetchone()
    assert row
    return int(row[0])
