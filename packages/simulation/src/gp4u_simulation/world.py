"""A seeded discrete-event world: true time, drifting clocks, processes that die and pause, links that fail."""

import random
from collections import Counter
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

Action = Callable[..., None]


class Violation(Exception):
    """A promise was broken. `invariant` is the promise's name; the history says how."""

    def __init__(self, seed: int, invariant: str, detail: str, now: float) -> None:
        super().__init__(f"seed {seed}: {invariant}: {detail} (at {now:.3f} s)")
        self.seed = seed
        self.invariant = invariant


class World:
    """True time, the event queue, chance, and the history."""

    def __init__(self, seed: int, *, recording: bool = False) -> None:
        self.seed = seed
        self.recording = recording
        self.now = 0.0
        self.random = random.Random(seed)  # noqa: S311 - a replay must draw the same again
        self.chance = self.random.random
        self.history: list[str] = []
        self.counts: Counter[str] = Counter()
        self.over = False
        self._queue: list[tuple[float, int, Process | None, int, Action, tuple[Any, ...]]] = []
        self._count = 0

    def at(self, when: float, action: Action, *arguments: Any) -> None:
        """Do something at a true instant."""
        self._count += 1
        heappush(self._queue, (max(when, self.now), self._count, None, 0, action, arguments))

    def after(self, delay: float, action: Action, *arguments: Any) -> None:
        """Do something after true seconds."""
        self._count += 1
        heappush(self._queue, (self.now + delay, self._count, None, 0, action, arguments))

    def run(self, until: float) -> None:
        """Until that instant, or until `over` is set. What a paused process missed is handled when it wakes, in order;
        what a dead one missed is gone."""
        queue = self._queue
        events = 0
        while queue and not self.over:
            when, _, process, life, action, arguments = heappop(queue)
            if when > until:
                break
            self.now = when
            if process is not None:
                if life != process.life:
                    continue
                if when < process.paused_until:
                    self._count += 1
                    heappush(queue, (process.paused_until, self._count, process, life, action, arguments))
                    continue
            events += 1
            action(*arguments)
        self.counts["events"] += events

    def note(self, text: str, *values: object) -> None:
        """One line of history. Costs nothing unless recording."""
        if self.recording:
            self.history.append(f"{self.now:9.3f}  {text % values if values else text}")

    def violated(self, invariant: str, detail: str) -> None:
        """End here."""
        self.note("VIOLATION: %s: %s", invariant, detail)
        raise Violation(self.seed, invariant, detail, self.now)


class Clock:
    """An interval clock that runs up to 5 % fast or slow, from an origin of its own."""

    __slots__ = ("origin", "rate", "world")

    def __init__(self, world: World) -> None:
        # Extreme rates are as likely as honest ones.
        self.world = world
        self.rate = world.random.choice((0.95, 1.0, 1.05, 0.95 + 0.1 * world.chance()))
        self.origin = 1e5 * world.chance()

    def read(self) -> float:
        """What it shows now."""
        return self.origin + self.world.now * self.rate

    def true_time(self, shown: float) -> float:
        """When it will show this."""
        return (shown - self.origin) / self.rate


class Process:
    """Something that can be paused and killed."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.alive = True
        self.life = 0
        self.paused_until = 0.0
        self.database_cut_until = 0.0

    def soon(self, delay: float, action: Action, *arguments: Any) -> None:
        """A timer of this process. A dead one sets none, whoever still calls it."""
        if not self.alive:
            return
        world = self.world
        world._count += 1
        heappush(world._queue, (world.now + delay, world._count, self, self.life, action, arguments))

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


class Link:
    """A node's way to the platform. Each direction has its own troubles; frames may pass each other."""

    def __init__(self, world: World, loss: float, copies: float) -> None:
        self.world = world
        self.loss = loss
        self.copies = copies
        self.up_cut_until = 0.0
        self.down_cut_until = 0.0
        self.slow_until = 0.0
        self.slow_s = 0.0
        self.slow_up = True  # and not only down

    def carry(self, up: bool, process: Process, action: Action, *arguments: Any) -> None:
        """Deliver to a process: late, twice, or never."""
        world = self.world
        chance = world.chance
        now = world.now
        if now < (self.up_cut_until if up else self.down_cut_until) or (self.loss and chance() < self.loss):
            world.counts["messages_lost"] += 1
            return
        delay = 0.002 + 0.03 * chance()
        if now < self.slow_until and (self.slow_up or not up):
            delay += self.slow_s * chance()
        life = process.life
        world.after(delay, self._arrive, up, process, life, action, arguments)
        if self.copies and chance() < self.copies:
            world.counts["messages_doubled"] += 1
            world.after(delay + chance(), self._arrive, up, process, life, action, arguments)

    def carry_surely(self, up: bool, process: Process, action: Action, *arguments: Any) -> None:
        """As TCP does within a session: sent again until it arrives. The session may be over by then."""
        world = self.world
        cut_until = self.up_cut_until if up else self.down_cut_until
        if world.now < cut_until or (self.loss and world.chance() < self.loss):
            life = process.life
            world.after(0.2 + 0.2 * world.chance(), self._again, up, process, life, action, arguments)
        else:
            self.carry(up, process, action, *arguments)

    def _again(
        self, up: bool, process: Process, life: int, action: Action, arguments: tuple[Any, ...]
    ) -> None:
        if life == process.life:
            self.carry_surely(up, process, action, *arguments)

    def _arrive(
        self, up: bool, process: Process, life: int, action: Action, arguments: tuple[Any, ...]
    ) -> None:
        if life != process.life or not process.alive:
            return
        if self.world.now < (self.up_cut_until if up else self.down_cut_until):
            return
        if self.world.now < process.paused_until:
            process.soon(process.paused_until - self.world.now, action, *arguments)
        else:
            action(*arguments)
