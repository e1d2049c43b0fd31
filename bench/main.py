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
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
from gp4u.api import ApiClient, ApiError
from gp4u.sdk import Client

from bench.failover import Load, measure_failover
from bench.measuring import Report, database_url, new_renter, percentile, stack
from bench.seed_offers import seed_offers
from tests.stack.marketplace import GP4U, Marketplace, free_port

ROOT = Path(__file__).resolve().parents[1]
DIGITS = ROOT / "examples" / "digits"
OFFERS_FOUGHT_FOR = 200
SECTIONS = ("start", "help", "failover", "search", "bookings", "checkpoints")


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


def digits(ballast_mib: int) -> Load:
    """The example that learns digits, with a checkpoint as heavy as that of a larger model."""
    command = f"python train.py --epochs 100000 --pace-ms 20 --save-every 2 --ballast-mib {ballast_mib}"
    return Load(command, DIGITS, "ckpt")


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
                measure_failover(
                    report,
                    marketplace,
                    digits(arguments.ballast_mib),
                    kills=arguments.kills,
                    key="failover",
                    what=f"{arguments.kills} kills, {arguments.ballast_mib} MiB",
                    aims={"first_step": "p50 ≤ 8 s, max < 15 s"},
                )
            if "search" in wanted:
                measure_search(report, marketplace, arguments.offers, arguments.requests)
            if "bookings" in wanted:
                measure_bookings(report, marketplace, arguments.clients, arguments.attempts)
            marketplace.assert_ledger_verifies()
    report.show(as_json=arguments.json)


if __name__ == "__main__":
    main()
