"""The figures of the Catalyst Network, measured on marketplaces started for this run.

    make bench-catalyst                                        everything (about 75 minutes)
    python -m bench.catalyst --only checkpoints --only losses  some of it; each section stands alone
    python -m bench.catalyst --only failover --kills 40 --json failover.json

Sections, in this order, with what each takes on two cores: `losses` 1 minute; `checkpoints` (2 GiB beside restic, borg and the disk)
3; `heartbeats` (10,000 agents) 5; on one stack with 200 connected nodes, which takes a minute to start: `failover` (500 kills) 30,
`hot` (40 kills) 12, `lossy` (40 kills) 8, `stall` 3.

Prints a table of what was measured beside what is aimed at. `--json FILE` writes it as one JSON object too, after each section, and keeps
every single kill in FILE.kills: after Ctrl-C, which prints what there is, the same command goes on where it was stopped (remove FILE.kills
to begin anew).
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from gp4u.sdk import Job

from bench.catalyst.heartbeats import (
    connected_swarm,
    gateway_socket_url,
    measure_heartbeats,
    swarm,
    swarm_owner,
)
from bench.catalyst.losses import measure_losses
from bench.catalyst.stall import measure_stall
from bench.catalyst.swarm import enrol
from bench.failover import Load, measure_failover
from bench.measuring import Report, database_url, stack
from tests.stack.marketplace import Marketplace, eventually, story

LOAD = Path(__file__).parent / "load"
SECTIONS = ("failover", "hot", "lossy", "stall", "heartbeats", "checkpoints", "losses")
ON_A_STACK = {"failover", "hot", "lossy", "stall"}
REAL_NODES = 16
ONE_GPU_NODES = 14
BELOW_EIGHT_GPUS = 1_000_000
"""Price cap an hour, in micro-units, that keeps the load off the nodes with eight GPUs: a kill is then one job's."""


def load(mib: int, **options: object) -> Load:
    """The job of these measurements with a checkpoint of this size."""
    return Load(
        f"python3 work.py --mib {mib}", LOAD, "state", {"per_hour_micros_max": BELOW_EIGHT_GPUS, **options}
    )


def has_standby(job: Job) -> None:
    """Return when a standby holds the newest checkpoint."""
    eventually(
        lambda: (job.refresh().data.get("standby") or {}).get("state") == "ready",
        within_s=120,
        what=f"a standby that is ready\n{story(job)}",
    )


def measure_lossy(report: Report, marketplace: Marketplace, kills: int) -> None:
    """Failovers while every node's link delays by 300 ms and loses a twentieth."""
    for name in marketplace.demo_nodes():
        marketplace.demo(f"/nodes/{name}/link", {"mode": "poor", "loss_percent": 5, "delay_ms": 300})
    try:
        measure_failover(
            report, marketplace, load(64), kills=kills, at_once=2, key="lossy",
            what=f"{kills} kills, 64 MiB, 5 % loss and 300 ms delay", aims={"first_step": "p99 < 30 s"},
        )  # fmt: skip
    finally:
        for name in marketplace.demo_nodes():
            marketplace.demo(f"/nodes/{name}/link", {"mode": "up"})


def measure_on_a_stack(report: Report, wanted: set[str], arguments: argparse.Namespace) -> None:
    """What needs real agents and a crowd of others connected."""
    with stack(offers=ONE_GPU_NODES, GP4U_DEMO_NODES=str(REAL_NODES)) as marketplace:
        crowd = arguments.nodes - REAL_NODES
        url, _ = gateway_socket_url(marketplace)
        with swarm(
            marketplace, url, enrol(database_url(marketplace), swarm_owner(marketplace), crowd)
        ) as lines:
            connected_swarm(marketplace, lines, crowd)
            if "failover" in wanted:
                for mib, share in ((64, 0.6), (256, 0.4)):
                    kills = max(1, round(arguments.kills * share))
                    measure_failover(
                        report,
                        marketplace,
                        load(mib),
                        kills=kills,
                        at_once=arguments.at_once,
                        key=f"failover_{mib}",
                        what=f"{kills} kills, {mib} MiB, {arguments.nodes} nodes, {arguments.at_once} at a time",
                        aims={"first_step": "p50 ≤ 6.5 s, p99 ≤ 10 s, max < 15 s"},
                        file=_kills_file(arguments.json),
                    )
                    _keep(report, arguments.json)  # fmt: skip
            if "hot" in wanted:
                measure_failover(
                    report, marketplace, load(64, protection="hot"), kills=arguments.hot_kills, key="hot",
                    what=f"hot standby, {arguments.hot_kills} kills, 64 MiB", before_kill=has_standby,
                    aims={"running": "p50 ≤ 5.5 s", "after_detection": "p50 ≤ 500 ms"},
                )  # fmt: skip
            if "lossy" in wanted:
                measure_lossy(report, marketplace, arguments.lossy_kills)
            if "stall" in wanted:
                measure_stall(report, marketplace, load(8), jobs=8, stall_s=60)
        marketplace.assert_ledger_verifies()


def measure_checkpoints(report: Report, size_mb: int) -> None:
    """Our engine beside restic, borg and the disk (bench/checkpoints.py)."""
    command = [sys.executable, "-m", "bench.checkpoints", "--size-mb", str(size_mb), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-4000:])
    measured = json.loads(done.stdout[done.stdout.index("{") :])
    rows = ("first_mb_s", "changed_mb_s", "restore_mb_s")
    for name, rates in measured.items():
        if isinstance(rates, dict) and "first_mb_s" in rates:
            text = ", ".join(f"{row.removesuffix('_mb_s')} {rates[row]:,.0f}" for row in rows)
            ratio = measured["ratio"].get(name)
            beside = "" if ratio is None else "; ours is " + ", ".join(f"{ratio[row]:.2f}x" for row in rows)
            report.add(
                f"checkpoints_{name}", {**rates, "ratio": ratio}, f"{text} MB/s, stored for 5 % {rates['stored_percent']} %{beside}",
                f"checkpoint of {size_mb:,} MiB, {name}",
                "borg ≥ 2.5x, ≥ 2x, ≥ 1.3x" if name == "borg" else "≥ 0.5x of first" if name == "disk" else "",
            )  # fmt: skip
    report.add(
        "checkpoints_unchanged_s",
        measured["unchanged_s"],
        f"{measured['unchanged_s'] * 1000:.0f} ms",
        "  unchanged, ours",
    )


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=SECTIONS, help="run only these; repeatable")
    parser.add_argument(
        "--kills",
        type=int,
        default=500,
        help="of the section failover: 60 %% with 64 MiB, 40 %% with 256 MiB",
    )
    parser.add_argument("--at-once", type=int, default=4, help="jobs whose nodes are killed side by side")
    parser.add_argument("--hot-kills", type=int, default=40)
    parser.add_argument("--lossy-kills", type=int, default=40)
    parser.add_argument("--nodes", type=int, default=200, help="connected agents, 16 of them with real jobs")
    parser.add_argument("--agents", type=int, default=10_000, help="of the heartbeats")
    parser.add_argument("--window-s", type=float, default=60.0, help="how long heartbeats are counted")
    parser.add_argument("--size-mb", type=int, default=2048)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured there, too")
    arguments = parser.parse_args()
    wanted = set(arguments.only or SECTIONS)
    report = Report()
    try:
        if "losses" in wanted:
            measure_losses(report, 256)
        if "checkpoints" in wanted:
            measure_checkpoints(report, arguments.size_mb)
        if "heartbeats" in wanted:
            measure_heartbeats(report, arguments.agents, arguments.window_s)
        _keep(report, arguments.json)
        if wanted & ON_A_STACK:
            measure_on_a_stack(report, wanted, arguments)
    except KeyboardInterrupt:
        print("Stopped. What was measured:", flush=True)
    finally:
        report.show(file=arguments.json)


def _kills_file(file: Path | None) -> Path | None:
    return None if file is None else file.with_name(f"{file.name}.kills")


def _keep(report: Report, file: Path | None) -> None:
    """Write what there is: hours may follow."""
    if file is not None:
        file.write_text(json.dumps(report.values, indent=1) + "\n")


if __name__ == "__main__":
    main()
