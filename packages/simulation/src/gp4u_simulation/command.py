"""gp4u-sim: GP4U's protocols under seeded faults.

Exit codes: 0 every promise held (or every planted bug was caught that is not a known hole), 1 otherwise, 2 wrong usage.
"""

import argparse
import sys
import time
from collections.abc import Sequence

from gp4u_simulation.campaign import Catch, Outcome, cores, hunt_all, play_many
from gp4u_simulation.plants import PLANTS, planted
from gp4u_simulation.scenario import run
from gp4u_simulation.world import Violation, World

PROGRESS_EVERY_S = 5.0
HUNT_SEEDS_MAX = 4000
COVERAGE = (
    ("node_lost", "nodes lost"),
    ("failovers", "failovers"),
    ("freeze", "freezes"),
    ("thaw", "thaws"),
    ("interruptions", "interruptions of billing"),
    ("takeovers", "gateways taken over"),
    ("gateway_restarts", "gateway restarts"),
    ("controller_restarts", "controller restarts"),
    ("agent_restarts", "agent restarts"),
    ("woke_past_deadline", "machines that woke past a deadline"),
    ("sessions", "sessions"),
    ("grants", "leases granted"),
    ("stale_refused", "stale writes refused"),
    ("changes_refused", "changes of old sessions refused"),
    ("claims_barred", "claims barred by unwritten losses"),
    ("mass_holds", "mass losses held back"),
    ("takeover_holds", "losses of dead gateways held back"),
    ("checkpoints", "checkpoints committed"),
    ("checkpoints_expired", "checkpoints expired"),
    ("packs_collected", "packs collected"),
    ("restores", "restores"),
    ("messages_lost", "messages lost"),
    ("messages_doubled", "messages doubled"),
    ("answers_lost", "answers of the database lost"),
    ("transactions_aborted", "transactions aborted"),
    ("transactions_timed_out", "transactions timed out"),
    ("refunds", "bills with lost work given back"),
    ("wallets_empty", "wallets run dry"),
    ("ended_stopped", "jobs stopped"),
    ("start_failures", "starts that failed"),
    ("unclaimed", "placements never claimed"),
    ("authority_lapses", "jobs frozen by a lapse of authority"),
    ("calm_seeds", "seeds with an outage of ours only"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="gp4u-sim", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument(
        "--seeds", type=int, default=2000, metavar="N", help="how many (default: %(default)s)"
    )
    parser.add_argument("--from", type=int, default=0, dest="first", metavar="S", help="the first seed")
    parser.add_argument(
        "--jobs", type=int, default=cores(), metavar="J", help="processes (default: all cores)"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="play one seed and print its history")
    parser.add_argument(
        "--plant", metavar="BUG", help="plant a bug (`all`: every one on its own; `list`: say which)"
    )
    chosen = parser.parse_args(arguments)
    if chosen.seeds < 1 or chosen.jobs < 1:
        parser.error("--seeds and --jobs must be at least 1")
    if chosen.plant is not None and chosen.plant not in (*PLANTS, "all", "list"):
        parser.error(f"there is no planted bug {chosen.plant!r}; `gp4u-sim --plant list` names them")
    if chosen.plant == "list":
        for plant in PLANTS.values():
            _say(f"{plant.name:30} {plant.says}{' (glue)' if plant.glue else ''}")
        return 0
    if chosen.seed is not None:
        return _show(chosen.seed, chosen.plant)
    if chosen.plant is not None:
        names = list(PLANTS) if chosen.plant == "all" else [chosen.plant]
        return _hunt(names, chosen.first, chosen.jobs)
    return _many(chosen.first, chosen.seeds, chosen.jobs)


def _show(seed: int, plant_name: str | None) -> int:
    world = World(seed, recording=True)
    broken = None
    try:
        if plant_name in (None, "all"):
            run(world)
        else:
            plant = PLANTS[str(plant_name)]
            with planted(plant):
                plant.play(world)
    except Violation as violation:
        broken = violation
    for line in world.history:
        _say(line)
    if broken is None:
        return 0
    _say(str(broken))
    return 1


def _many(first: int, seeds: int, jobs: int) -> int:
    began = time.monotonic()
    said = [began]

    def progress(total: Outcome) -> None:
        now = time.monotonic()
        if now - said[0] >= PROGRESS_EVERY_S:
            said[0] = now
            rate = total.seeds / (now - began)
            _note(f"{total.seeds} of {seeds} seeds, {rate:.0f} seeds/s, {total.failed} failed")

    total = play_many(first, seeds, jobs, progress)
    wall_s = time.monotonic() - began
    _coverage(total)
    for failure in total.failures:
        _say(failure.says)
    _say(
        f"{total.failed} of {total.seeds} seeds broke a promise; {wall_s:.1f} s, {total.seeds / wall_s:.0f} seeds/s "
        f"with {jobs} processes; {total.cpu_s:.1f} s of processor, {1000 * total.cpu_s / total.seeds:.2f} ms a seed"
    )
    return int(total.failed > 0)


def _coverage(total: Outcome) -> None:
    seeds = total.seeds
    seconds = total.counts["seconds"] / max(1, total.counts["seeds"])
    _say(f"a seed on average: {seconds:.1f} s, {total.counts['events'] / seeds:.0f} events, and")
    for key, label in COVERAGE:
        count, share = total.counts[key], total.seen[key] / seeds
        _say(f"  {count / seeds:8.3f}  {label} (in {100 * share:.1f} % of the seeds)")
    faults = sorted(key for key in total.counts if key.startswith("fault_"))
    _say("faults: " + ", ".join(f"{key[6:]} {total.counts[key]}" for key in faults))


def _hunt(names: Sequence[str], first: int, jobs: int) -> int:
    def found(catch: Catch) -> None:
        if catch.failure is None:
            why = PLANTS[catch.plant].hole or "nobody knows why"
            _say(f"{catch.plant:30} NOT CAUGHT in {catch.seeds} seeds: {why}")
        else:
            _say(
                f"{catch.plant:30} caught by seed {catch.failure.seed} after {catch.seeds} seeds: "
                f"{catch.failure.invariant}"
            )

    began = time.monotonic()
    catches = hunt_all(names, first, HUNT_SEEDS_MAX, min(jobs, len(names)), found)
    missed = [catch.plant for catch in catches if catch.failure is None]
    _say(
        f"{len(catches) - len(missed)} of {len(catches)} planted bugs caught in {time.monotonic() - began:.1f} s"
    )
    if missed:
        _say("HOLES: " + ", ".join(missed))
    return int(any(not PLANTS[name].hole for name in missed))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def _note(line: str) -> None:
    sys.stderr.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
