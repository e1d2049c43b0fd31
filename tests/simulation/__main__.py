"""`python -m tests.simulation --seed 7 [--bug deadline_from_receipt]` prints one seed's history;
`--seeds 10000` runs many and names the first that fails."""

import argparse
import sys
import time

from tests.simulation.engine import Violation
from tests.simulation.scenario import play


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--bug", action="append", default=[])
    arguments = parser.parse_args()
    bugs = frozenset(arguments.bug)
    if arguments.seed is not None:
        return _show(arguments.seed, bugs)
    began, failed = time.perf_counter(), []
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        try:
            play(seed, bugs)
        except Violation as violation:
            failed.append(seed)
            if len(failed) <= 10:
                print(violation)
    print(f"{len(failed)} of {arguments.seeds} seeds failed in {time.perf_counter() - began:.1f} s")
    return bool(failed)


def _show(seed: int, bugs: frozenset[str]) -> int:
    lines: list[str] = []

    try:
        play(seed, bugs, recording=True, history=lines)
    except Violation as violation:
        print("\n".join(lines))
        print(violation)
        return 1
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
