"""Many seeds on all cores, what they covered, and the hunt for planted bugs."""

import gc
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field

from gp4u_simulation.plants import PLANTS, planted
from gp4u_simulation.scenario import run
from gp4u_simulation.world import Violation, World

BATCH = 200
FAILURES_KEPT_MAX = 20
GARBAGE_EVERY = 100
"""Worlds are full of cycles; collecting them now and then costs less than looking all the time."""


@dataclass(frozen=True)
class Failure:
    """A seed that broke a promise."""

    seed: int
    invariant: str
    says: str


@dataclass
class Outcome:
    """What some seeds did."""

    seeds: int = 0
    cpu_s: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)  # in how many seeds each thing happened
    failures: list[Failure] = field(default_factory=list)
    failed: int = 0

    def add(self, other: "Outcome") -> None:
        """Sum up."""
        self.seeds += other.seeds
        self.cpu_s += other.cpu_s
        self.counts.update(other.counts)
        self.seen.update(other.seen)
        self.failed += other.failed
        self.failures = sorted(self.failures + other.failures, key=lambda failure: failure.seed)
        del self.failures[FAILURES_KEPT_MAX:]


def play_batch(first: int, count: int) -> Outcome:
    """Seeds one after another, in this process."""
    outcome = Outcome(seeds=count)
    began = time.process_time()
    gc.disable()
    try:
        for seed in range(first, first + count):
            world = World(seed)
            try:
                run(world)
            except Violation as violation:
                outcome.failed += 1
                if len(outcome.failures) < FAILURES_KEPT_MAX:
                    outcome.failures.append(Failure(seed, violation.invariant, str(violation)))
            outcome.counts.update(world.counts)
            outcome.seen.update(key for key, count in world.counts.items() if count)
            if seed % GARBAGE_EVERY == 0:
                gc.collect()
    finally:
        gc.enable()
    outcome.cpu_s = time.process_time() - began
    return outcome


def play_many(
    first: int, seeds: int, jobs: int, progress: Callable[[Outcome], None] | None = None
) -> Outcome:
    """`seeds` seeds from `first` on, in `jobs` processes. `progress` hears the sum so far."""
    total = Outcome()
    if jobs == 1:
        for start, count in _batches(first, seeds):
            total.add(play_batch(start, count))
            if progress:
                progress(total)
        return total
    with ProcessPoolExecutor(jobs) as pool:
        batches = _batches(first, seeds)
        running: set[Future[Outcome]] = set()
        while True:
            while len(running) < 2 * jobs and (batch := next(batches, None)):
                running.add(pool.submit(play_batch, *batch))
            if not running:
                return total
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                total.add(future.result())
            if progress:
                progress(total)


def _batches(first: int, seeds: int) -> Iterator[tuple[int, int]]:
    for start in range(first, first + seeds, BATCH):
        yield start, min(BATCH, first + seeds - start)


@dataclass(frozen=True)
class Catch:
    """How a planted bug was found, or that it was not."""

    plant: str
    failure: Failure | None
    seeds: int


def hunt(name: str, first: int, seeds_max: int) -> Catch:
    """Play seeds under a planted bug until the referee notices."""
    plant = PLANTS[name]
    with planted(plant):
        for seed in range(first, first + seeds_max):
            try:
                plant.play(World(seed))
            except Violation as violation:
                return Catch(name, Failure(seed, violation.invariant, str(violation)), seed - first + 1)
            except (AssertionError, KeyError, ValueError) as broken:
                # The bug is noticed by an assertion of ours that stays on in production.
                says = f"seed {seed}: {type(broken).__name__}: {broken}"
                return Catch(
                    name, Failure(seed, f"an assertion ({type(broken).__name__})", says), seed - first + 1
                )
    return Catch(name, None, seeds_max)


def hunt_all(
    names: Sequence[str], first: int, seeds_max: int, jobs: int, found: Callable[[Catch], None]
) -> list[Catch]:
    """Every plant on its own; `found` hears each as it is done."""
    catches: list[Catch] = []
    if jobs == 1:
        for name in names:
            catches.append(hunt(name, first, seeds_max))
            found(catches[-1])
        return catches
    with ProcessPoolExecutor(jobs) as pool:
        running = {pool.submit(hunt, name, first, seeds_max) for name in names}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                catches.append(future.result())
                found(catches[-1])
    return catches


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
