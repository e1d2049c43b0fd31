"""A seeded nemesis: draws a plan of faults, and carries it out. One seed is one plan; `make rig ARGS="-k nemesis --seed N"`
plays it again. (What the machine makes of it in between differs from run to run: processes are real.)"""

import heapq
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import psutil

from tests.rig.nodes import Node, resume
from tests.rig.world import World

SILENCE_S = (1.0, 14.0)
"""How long links are cut and things paused: below, around and above a lease."""


@dataclass(frozen=True)
class Fault:
    """At this second of the scenario, this happens to that, for so long."""

    at_s: float
    what: str
    target: str
    for_s: float


def draw(
    seed: int,
    seconds: float,
    *,
    machines: list[str],
    hosts: list[str],
    platform: str,
    services: list[str],
    pause_s: float,
) -> list[Fault]:
    """A plan. `platform`: the host that the machines' links lead to. About one fault each three seconds."""
    chance = random.Random(seed)
    kinds: list[tuple[str, list[str], float]] = [
        ("cut", [f"{host}-{platform}" for host in hosts], 3),
        ("unheard", [f"{host}-{platform}" for host in hosts], 2),
        ("deaf", [f"{host}-{platform}" for host in hosts], 2),
        ("flapping", [f"{host}-{platform}" for host in hosts], 1),
        ("slow", [f"{host}-{platform}" for host in hosts], 2),
        ("lossy", [f"{host}-{platform}" for host in hosts], 2),
        ("agent_killed", machines, 4),
        ("power_lost", machines, 4),
        ("agent_paused", machines, 3),
        ("machine_sleeps", machines, 2),
        ("shim_killed", machines, 2),
        ("killed", services, 6),
        ("paused", services, 3),
        ("wiped", ["valkey"], 1),
    ]
    plan, now = [], 2.0
    while now < seconds:
        what, targets, _ = chance.choices(kinds, [weight for _, _, weight in kinds])[0]
        for_s = chance.uniform(*SILENCE_S)
        if what in ("agent_killed", "power_lost", "killed"):
            for_s = chance.uniform(0.0, 6.0)
        if what == "paused":
            for_s = chance.uniform(0.5, pause_s)
        plan.append(Fault(round(now, 2), what, chance.choice(targets), round(for_s, 2)))
        now += chance.expovariate(1 / 3.0)
    return plan


class Nemesis:
    """Carries a plan out; call `tick` often, from the main thread: processes that it starts again die with theirs."""

    def __init__(self, world: World, plan: list[Fault]) -> None:
        self.world = world
        self._began = time.monotonic()
        self._order = 0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        world.history.write("note", what="plan", plan=[asdict(fault) for fault in plan])
        for fault in plan:
            self._at(fault.at_s, lambda fault=fault: self._strike(fault))  # type: ignore[misc]

    @property
    def is_over(self) -> bool:
        """Whether everything was done and undone."""
        return not self._due

    def tick(self) -> None:
        """Do what is due."""
        while self._due and self._due[0][0] <= time.monotonic() - self._began:
            heapq.heappop(self._due)[2]()

    def _at(self, at_s: float, act: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._due, (at_s, self._order, act))

    def _later(self, for_s: float, act: Callable[[], None]) -> None:
        self._at(time.monotonic() - self._began + for_s, act)

    def _strike(self, fault: Fault) -> None:
        strike = getattr(self, f"_{fault.what}")
        undo: Callable[[], None] | None = strike(fault.target)
        self.world.fault(
            fault.what if undo is not None else "missed", fault.target, for_s=fault.for_s, planned=fault.what
        )
        if undo is not None:
            self._later(fault.for_s, undo)

    # --- links ----------------------------------------------------------------------------------------------

    def _link(
        self, pair: str, *, both: bool = True, backwards: bool = False, **rule: Any
    ) -> Callable[[], None]:
        source, target = pair.split("-")
        if backwards:
            source, target = target, source
        self.world.lab.link(source, target, both=both, **rule)
        return lambda: self._heal(pair)

    def _heal(self, pair: str) -> None:
        self.world.fault("heal", pair)
        self.world.lab.join(*pair.split("-"))

    def _cut(self, pair: str) -> Callable[[], None]:
        return self._link(pair, up=False)

    def _unheard(self, pair: str) -> Callable[[], None]:
        return self._link(pair, both=False, up=False)

    def _deaf(self, pair: str) -> Callable[[], None]:
        return self._link(pair, both=False, backwards=True, up=False)

    def _flapping(self, pair: str) -> Callable[[], None]:
        return self._link(pair, flap_s=(1.5, 2.5))

    def _slow(self, pair: str) -> Callable[[], None]:
        return self._link(pair, delay_s=0.3, jitter_s=0.3, bytes_per_s=400_000)

    def _lossy(self, pair: str) -> Callable[[], None]:
        return self._link(pair, loss=0.08, delay_s=0.05)

    # --- machines -------------------------------------------------------------------------------------------

    def _node(self, name: str) -> Node | None:
        node = self.world.nodes[name]
        return node if node.alive else None

    def _revive(self, node: Node) -> None:
        if not node.alive:
            self.world.fault("started", node.name)
            node.start()

    def _agent_killed(self, name: str) -> Callable[[], None] | None:
        if (node := self._node(name)) is None:
            return None
        node.kill_agent()
        return lambda: self._revive(node)

    def _power_lost(self, name: str) -> Callable[[], None] | None:
        if (node := self._node(name)) is None:
            return None
        node.lose_power()
        return lambda: self._revive(node)

    def _agent_paused(self, name: str) -> Callable[[], None] | None:
        if (node := self._node(name)) is None:
            return None
        stopped = node.pause_agent()

        def wake() -> None:
            self.world.fault("agent_wakes", name)
            resume(stopped)

        return wake

    def _machine_sleeps(self, name: str) -> Callable[[], None] | None:
        if (node := self._node(name)) is None:
            return None
        stopped = node.pause()

        def wake() -> None:
            self.world.fault("machine_wakes", name)
            resume(stopped)

        return wake

    def _shim_killed(self, name: str) -> Callable[[], None] | None:
        shims = [shim for each in self.world.nodes[name].placements() if (shim := each.shim()) is not None]
        if not shims:
            return None
        try:
            shims[0].kill()
        except psutil.Error:
            return None
        return lambda: None

    # --- the platform ---------------------------------------------------------------------------------------

    def _killed(self, name: str) -> Callable[[], None] | None:
        service = self.world.cluster.service(name)
        if not service.alive:
            return None
        service.resume()
        service.kill()

        def start() -> None:
            if not service.alive:
                self.world.fault("started", name)
                service.start(wait=False)

        return start

    def _paused(self, name: str) -> Callable[[], None] | None:
        service = self.world.cluster.service(name)
        if not service.alive:
            return None
        service.pause()

        def go_on() -> None:
            if service.alive:
                self.world.fault("resumed", name)
                service.resume()

        return go_on

    def _wiped(self, name: str) -> Callable[[], None] | None:
        service = self.world.cluster.service(name)
        if not service.alive or not service.ready():
            return None
        self.world.cluster.wipe_valkey()
        return lambda: None
