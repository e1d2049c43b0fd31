"""A seeded discrete-event world: true time, drifting clocks, links that delay, lose and cut."""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


class Violation(Exception):
    """An invariant broke. The history says how."""


@dataclass
class World:
    """True time, the event queue, chance, and the history."""

    seed: int
    bugs: frozenset[str] = frozenset()
    recording: bool = False
    now: float = 0.0
    history: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self._queue: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0

    def at(self, when: float, action: Callable[..., None], *arguments: Any) -> None:
        """Do something at a true instant."""
        self._count += 1
        heapq.heappush(self._queue, (max(when, self.now), self._count, action, arguments))

    def after(self, delay: float, action: Callable[..., None], *arguments: Any) -> None:
        """Do something after true seconds."""
        self.at(self.now + delay, action, *arguments)

    def run(self, until: float, done: Callable[[], bool]) -> None:
        """Until that instant, or until `done`."""
        queue = self._queue
        while queue and queue[0][0] <= until:
            self.now, _, action, arguments = heapq.heappop(queue)
            action(*arguments)
            if done():
                return

    def note(self, text: str, *values: Any) -> None:
        """One line of history (costs nothing unless recording)."""
        if self.recording:
            self.history.append(f"{self.now:9.3f}  {text % values if values else text}")

    def violated(self, text: str) -> None:
        """End here."""
        self.note("VIOLATION: " + text)
        raise Violation(f"seed {self.seed}: {text} at {self.now:.3f} s")


@dataclass
class DriftingClock:
    """An interval clock that runs up to 5 % fast or slow, from an origin of its own."""

    world: World
    rate: float
    origin: float

    @classmethod
    def random(cls, world: World) -> "DriftingClock":
        """Extreme rates are as likely as honest ones."""
        rate = world.random.choice((0.95, 1.0, 1.05, world.random.uniform(0.95, 1.05)))
        return cls(world, rate, world.random.uniform(-1e5, 1e5))

    def read(self) -> float:
        """What it shows now."""
        return self.origin + self.world.now * self.rate

    def true_time(self, shown: float) -> float:
        """When it will show this."""
        return (shown - self.origin) / self.rate


class Process:
    """Something that can be paused and killed. What arrives while it is paused is handled when it wakes."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.alive = True
        self.life = 0
        self.paused_until = 0.0
        self.database_cut_until = 0.0

    def call(self, life: int, action: Callable[..., None], *arguments: Any) -> None:
        """Run `action` in this process, if it still lives that life; later if it is paused."""
        if not self.alive or life != self.life:
            return
        if self.world.now < self.paused_until:
            self.world.at(self.paused_until, self.call, life, action, *arguments)
            return
        action(*arguments)

    def soon(self, delay: float, action: Callable[..., None], *arguments: Any) -> None:
        """A timer of this process."""
        self.world.after(delay, self.call, self.life, action, *arguments)

    def pause(self, seconds: float) -> None:
        """SIGSTOP for a while."""
        self.paused_until = max(self.paused_until, self.world.now + seconds)

    def kill(self) -> None:
        """SIGKILL: timers, sockets and memory are gone."""
        self.alive = False
        self.life += 1

    def revive(self) -> None:
        """A fresh process."""
        self.alive = True
        self.life += 1
        self.paused_until = 0.0


@dataclass
class Link:
    """A node's way to the platform, each direction with its own troubles."""

    world: World
    up_cut_until: float = 0.0
    down_cut_until: float = 0.0
    slow_until: float = 0.0
    slow_s: float = 0.0
    loss: float = 0.0

    def carry(self, up: bool, process: Process, action: Callable[..., None], *arguments: Any) -> None:
        """Deliver to a process: late, or never."""
        world = self.world
        cut_until = self.up_cut_until if up else self.down_cut_until
        if world.now < cut_until or (self.loss and world.random.random() < self.loss):
            return
        delay = 0.002 + 0.03 * world.random.random()
        if world.now < self.slow_until:
            delay += self.slow_s * world.random.random()
        world.after(delay, self._arrive, up, process, process.life, action, arguments)

    def _arrive(
        self, up: bool, process: Process, life: int, action: Callable[..., None], arguments: tuple[Any, ...]
    ) -> None:
        if self.world.now >= (self.up_cut_until if up else self.down_cut_until):
            process.call(life, action, *arguments)
