"""The figures of the main job, measured through the public interfaces of a marketplace started for this run.

    make bench-main                         everything (about 20 minutes)
    python -m bench.main --only failover --kills 5

Prints a table of what was measured beside what is aimed at, and with --json one JSON object.
"""

import argparse
import itertools
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from gp4u.api import ApiClient, ApiError
from gp4u.config import Credentials
from gp4u.sdk import Client, Job

from bench.seed_offers import seed_offers
from tests.stack.marketplace import GP4U, Marketplace, eventually, free_port, story, wait_for_state

ROOT = Path(__file__).resolve().parents[1]
DIGITS = ROOT / "examples" / "digits"
FAILOVER_ROWS = {
    "first_step": ("node death → first new step seen", "p50 ≤ 8 s, max < 15 s"),
    "running": ("  node death → running again", ""),
    "detect_ms": ("    detect", ""),
    "decide_ms": ("    decide", ""),
    "restore_ms": ("    restore", ""),
    "start_ms": ("    start", ""),
}
OFFERS_FOUGHT_FOR = 200
SECTIONS = ("start", "help", "failover", "search", "bookings", "checkpoints")


@dataclass
class Report:
    """What was measured, in order."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)

    def add(self, key: str, value: Any, text: str, label: str, aim: str = "") -> None:
        self.values[key] = value
        self.rows.append((label, text, aim))
        print(f"  {label}: {text}{f'   (aim {aim})' if aim else ''}", flush=True)


def percentile(values: list[float], share: float) -> float:
    """Nearest-rank percentile."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(share * len(ordered) + 0.5) - 1))]


@contextmanager
def stack() -> Iterator[Marketplace]:
    """A marketplace with its demo fleet, in a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="gp4u-bench-"))
    folder.chmod(0o755)
    port = free_port()
    subprocess.run(
        [GP4U, "up", "--demo", "--detach", "--port", str(port), "--data", str(folder / "data")],
        check=True,
        stdout=subprocess.DEVNULL,
        # All clients of this run share one address; many people don't.
        env={
            **os.environ,
            "GP4U_REGISTRATIONS_PER_MINUTE": "1000",
            "GP4U_SIGN_INS_PER_MINUTE": "1000",
            "GP4U_REQUESTS_PER_MINUTE": "1000000",
        },
    )
    marketplace = Marketplace(f"http://127.0.0.1:{port}", folder / "data")
    try:
        marketplace.wait_for_offers()
        yield marketplace
    finally:
        subprocess.run([GP4U, "down", "--data", str(folder / "data")], check=False, stdout=subprocess.DEVNULL)
        shutil.rmtree(folder, ignore_errors=True)


def measure_start(report: Report) -> None:
    """Fresh clone to ready, and the second start, with nothing of ours around."""
    folder = Path(tempfile.mkdtemp(prefix="gp4u-fresh-"))
    folder.chmod(0o755)
    clone = folder / "gp4u"
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("VIRTUAL_ENV", "UV_", "GP4U_"))
    }
    environment |= {"HOME": str(folder / "home"), "UV_CACHE_DIR": str(folder / "uv-cache")}
    (folder / "home").mkdir()
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    try:
        for key, label in (("fresh_up_s", "fresh `make up` to ready"), ("second_up_s", "second start")):
            began = time.monotonic()
            up = subprocess.run(
                ["make", "up", f"ARGS=--port {free_port()} --detach"],
                cwd=clone,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            elapsed = time.monotonic() - began
            if up.returncode:
                raise SystemExit(f"make up failed:\n{up.stdout[-3000:]}\n{up.stderr[-3000:]}")
            report.add(key, round(elapsed, 2), f"{elapsed:.1f} s", label)
            subprocess.run(
                [str(clone / ".venv/bin/gp4u"), "down"],
                cwd=clone,
                env=environment,
                check=True,
                stdout=subprocess.DEVNULL,
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure_help(report: Report) -> None:
    """`gp4u --help`, median of 15 runs of the installed command."""
    times = []
    for _ in range(15):
        began = time.monotonic()
        subprocess.run([GP4U, "--help"], check=True, stdout=subprocess.DEVNULL)
        times.append((time.monotonic() - began) * 1000)
    report.add(
        "help_ms",
        round(statistics.median(times)),
        f"{statistics.median(times):.0f} ms",
        "gp4u --help, median",
        "< 250 ms",
    )


def measure_search(report: Report, marketplace: Marketplace, offers: int, requests: int) -> None:
    """Search over HTTP with many offers, one client after another and four at once."""
    seed_offers(database_url(marketplace), offers)
    renter = marketplace.client()
    queries: list[dict[str, Any]] = [
        {},
        {"q": "gpu_model=RTX_4090 sort:price"},
        {"q": "vram_gb>=24 price<=0.60 sort:-perf_per_dollar"},
        {"q": "region=eu-west reliability>=0.99"},
        {"sort": "-vram_gb", "gpus_min": 4},
        {"q": "gpu_model=H100_SXM,A100_80GB price<=2.5 sort:-reliability"},
    ]
    for clients, key in ((1, "search_1"), (4, "search_4")):
        times: list[float] = []
        lock = threading.Lock()

        def ask(index: int, times: list[float] = times, lock: threading.Lock = lock) -> None:
            client = _thread_client(renter)
            parameters = queries[index % len(queries)]
            began = time.monotonic()
            client.api.get("/offers", **parameters)
            with lock:
                times.append((time.monotonic() - began) * 1000)

        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(ask, range(24)))  # connections and caches
            times.clear()
            list(pool.map(ask, range(requests)))
        p50, p99 = percentile(times, 0.5), percentile(times, 0.99)
        report.add(
            f"{key}_ms",
            {"p50": round(p50, 2), "p99": round(p99, 2)},
            f"p50 {p50:.1f} ms, p99 {p99:.1f} ms",
            f"search, {offers:,} offers, {clients} client{'s' if clients > 1 else ''}",
            "p99 < 50 ms" if clients == 1 else "",
        )


_local = threading.local()


def _thread_client(renter: Client) -> Client:
    """This thread's own connection, signed in as `renter` is."""
    clients = _local.__dict__.setdefault("clients", {})
    if id(renter) not in clients:
        clients[id(renter)] = client = Client.__new__(Client)
        client.api = ApiClient(renter.api.credentials)
    return clients[id(renter)]


def new_renter(marketplace: Marketplace) -> Client:
    """A renter of its own account, with money."""
    renter = Client.__new__(Client)
    with ApiClient(Credentials(url=marketplace.url)) as api:
        account = {"email": f"renter-{uuid4().hex}@example.com", "password": "a long enough pass phrase"}
        api.post("/auth/register", {**account, "name": "Renter", "roles": ["renter"]})
        tokens = api.post("/auth/token", account)
    renter.api = ApiClient(
        Credentials(marketplace.url, account["email"], tokens["access_token"], tokens["refresh_token"])
    )
    renter.api.post("/wallet/top-ups", {"amount_micros": 1_000_000_000})
    return renter


def measure_bookings(report: Report, marketplace: Marketplace, clients: int, attempts: int) -> None:
    """Bookings a second over HTTP while many renters fight for few offers; then count overlaps in the database."""
    url = database_url(marketplace)
    offers = seed_offers(url, OFFERS_FOUGHT_FOR, prefix="fight")
    renters = [new_renter(marketplace) for _ in range(clients)]
    counts = {"booked": 0, "refused": 0}
    lock = threading.Lock()

    def fight(renter: Client) -> None:
        for offer_id in random.Random(id(renter)).choices(offers, k=attempts // clients):
            try:
                renter.api.post(
                    "/bookings", {"offer_id": offer_id, "job": {"name": "fight", "command": "true"}}
                )
                outcome = "booked"
            except ApiError as error:
                if error.status != 409:
                    raise
                outcome = "refused"
            with lock:
                counts[outcome] += 1

    with ThreadPoolExecutor(clients) as pool:
        began = time.monotonic()
        list(pool.map(fight, renters))
        elapsed = time.monotonic() - began
    overlaps = count_overlaps(url)
    report.add(
        "bookings",
        {**counts, "per_s": round(sum(counts.values()) / elapsed, 1), "overlaps": overlaps},
        f"{sum(counts.values()) / elapsed:.0f} attempts/s, {counts['booked'] / elapsed:.0f} booked/s, {overlaps} overlaps",
        f"bookings, {clients} clients, {len(offers)} offers",
        "0 overlaps",
    )


def count_overlaps(url: str) -> int:
    """Pairs of bookings that hold one device at the same time; counted here, not asked of the constraint."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT device_id, lower(during), upper(during) FROM booking_devices WHERE live ORDER BY 1, 2"
        ).fetchall()
    return sum(
        1
        for (device, _, end), (next_device, start, _) in itertools.pairwise(rows)
        if device == next_device and (end is None or start < end)
    )


def measure_failover(report: Report, marketplace: Marketplace, kills: int, ballast_mib: int) -> None:
    """Kill the node of a running job again and again, while another job runs beside it."""
    renter = marketplace.client()
    measured: dict[str, list[float]] = {name: [] for name in FAILOVER_ROWS}
    command = f"python train.py --epochs 100000 --pace-ms 20 --save-every 2 --ballast-mib {ballast_mib}"

    def start() -> Job:
        job = renter.run(command, name="load", files=DIGITS, checkpoint_path="ckpt", checkpoint_every_s=5)
        return wait_for_state(job, "running")

    beside, job = start(), start()
    for number in range(kills):
        saved = job.refresh().data["checkpoints_count"]
        eventually(
            lambda saved=saved: job.refresh().data["checkpoints_count"] > saved,
            within_s=90,
            what=f"a checkpoint of this placement\n{story(job)}",
        )
        placement = job.data["placement"]
        killed = marketplace.demo(f"/nodes/{placement['node_name']}/kill")
        killed_at = datetime.fromisoformat(killed["killed_at"])
        running_at, step_at = first_new_step(job, placement["epoch"])
        recovery = job.refresh().data["placement"]["recovery_ms"]
        measured["first_step"].append((step_at - killed_at).total_seconds() * 1000)
        measured["running"].append((running_at - killed_at).total_seconds() * 1000)
        for name in ("detect_ms", "decide_ms", "restore_ms", "start_ms"):
            measured[name].append(recovery.get(name, 0))
        print(f"    kill {number + 1}/{kills}: {measured['first_step'][-1]:,.0f} ms {recovery}", flush=True)
        marketplace.demo(f"/nodes/{placement['node_name']}/revive")
        marketplace.wait_for_offers(4)
    for running in (job, beside):
        running.stop()
    for name, values in measured.items():
        label, aim = FAILOVER_ROWS[name]
        summary = {"p50": percentile(values, 0.5), "p99": percentile(values, 0.99), "max": max(values)}
        report.add(
            f"failover_{name}",
            {k: round(v) for k, v in summary.items()},
            ", ".join(f"{key} {value:,.0f} ms" for key, value in summary.items()),
            f"{label} ({kills} kills, {ballast_mib} MiB)" if name == "first_step" else label,
            aim,
        )


def first_new_step(job: Job, lost_epoch: int) -> tuple[datetime, datetime]:
    """When the job ran again by the server's record, and when its first step after that was seen.

    Steps travel with the beats, one a second, so the second instant is late by up to a second.
    """
    running_at = None
    for update in job.updates():
        if (
            update.kind == "timeline"
            and update.data["kind"] == "resumed"
            and update.data["epoch"] > lost_epoch
        ):
            running_at = datetime.fromisoformat(update.data["at"])
        elif running_at and update.kind == "metrics" and update.data.get("step") is not None:
            return running_at, datetime.now(UTC)
    raise SystemExit(f"The job ended before it ran again:\n{story(job)}")


def measure_checkpoints(report: Report, size_mb: int) -> None:
    """Our engine beside restic, on the same folder in the same run (bench/checkpoints.py)."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.checkpoints", "--size-mb", str(size_mb), "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-4000:])
    measured = json.loads(done.stdout[done.stdout.index("{") :])
    report.add("checkpoints", measured, json.dumps(measured), f"checkpoints of {size_mb} MB beside restic")


def database_url(marketplace: Marketplace) -> str:
    """The address of the stack's database; only its own user may read the file."""
    environment = json.loads((marketplace.data / "run" / "environment.json").read_text())
    return str(environment["DATABASE_URL"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=SECTIONS, help="run only these; repeatable")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--ballast-mib", type=int, default=64)
    parser.add_argument("--offers", type=int, default=10_000)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--attempts", type=int, default=1500)
    parser.add_argument("--size-mb", type=int, default=1024)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    wanted = arguments.only or list(SECTIONS)
    report = Report()
    alone: dict[str, Callable[[], None]] = {
        "start": lambda: measure_start(report),
        "help": lambda: measure_help(report),
        "checkpoints": lambda: measure_checkpoints(report, arguments.size_mb),
    }
    for name, measure in alone.items():
        if name in wanted:
            measure()
    if {"failover", "search", "bookings"} & set(wanted):
        with stack() as marketplace:
            if "failover" in wanted:
                measure_failover(report, marketplace, arguments.kills, arguments.ballast_mib)
            if "search" in wanted:
                measure_search(report, marketplace, arguments.offers, arguments.requests)
            if "bookings" in wanted:
                measure_bookings(report, marketplace, arguments.clients, arguments.attempts)
            marketplace.assert_ledger_verifies()
    width = max(len(label) for label, _, _ in report.rows)
    print()
    for label, text, aim in report.rows:
        print(f"{label:<{width}}  {text}{f'   aim: {aim}' if aim else ''}")
    if arguments.json:
        print(json.dumps(report.values))


if __name__ == "__main__":
    main()
