"""Three apis, three gateways, three controllers on three hosts; machines on two more. Any of them may go at any moment: killed,
standing still, or cut off with its host.

The database is on a, so a is never cut off here. What is cut off is an api, a gateway and a controller at once, with the agents
that the gateway served; the machines are on hosts of their own.
"""

import random
import time
from collections.abc import Callable, Iterator

import pytest

from tests.rig.nemesis import Nemesis, draw
from tests.rig.renter import Job
from tests.rig.scenarios.conftest import judged
from tests.rig.world import World

PLATFORM = ("a", "b", "c")
MACHINES = {"d1": "d", "d2": "d", "e1": "e", "e2": "e"}
LONG_S = 10


@pytest.fixture(scope="module")
def large_marketplace(request: pytest.FixtureRequest, lab_reason: str | None) -> Iterator[World]:
    """Database and cache on a, one of each process on a, b and c."""
    if lab_reason is not None:
        pytest.skip(f"no fault rig here: {lab_reason}")
    with World(
        tree=request.config.getoption("--tree"),
        hosts=(*PLATFORM, "d", "e"),
        apis=PLATFORM,
        gateways=PLATFORM,
        controllers=PLATFORM,
        machines=MACHINES,
        seed=request.config.getoption("--seed"),
        histories=request.config.getoption("--histories"),
        settings={"GP4U_BILLING_PERIOD_S": "3"},
    ) as world:
        yield world


@pytest.fixture
def several(large_marketplace: World, request: pytest.FixtureRequest) -> Iterator[World]:
    yield from judged(large_marketplace, request)


class Busy:
    """One job on each machine, for as long as the scenario lasts; none of them may move."""

    def __init__(self, rig: World, why: str) -> None:
        self._rig = rig
        self._why = why
        self._on: dict[str, Job] = {}
        self.keep()

    def keep(self) -> None:
        """Follow jobs that have ended, then return when each has told of a step from now on, or has ended."""
        for name in MACHINES:
            if name not in self._on or self._on[name].has_ended:
                self._on[name] = job = self._rig.renter.submit(steps=200, on=name, pace_s=0.3, save_every=10)
                self._rig.history.write("note", what="must_not_move", job=job.id, why=self._why)
        for job in self._on.values():
            before = len(self._rig.said(job, "step"))
            self._rig.wait(
                lambda job=job, before=before: job.has_ended or len(self._rig.said(job, "step")) > before,
                within_s=120,
                what=f"a step of {job.id}; {self._rig.story(job)}",
            )


def test_h16_h23_each_of_nine_processes_dies_in_turn_and_no_job_moves(several: World) -> None:
    busy = Busy(several, "one process of three died at a time")
    for kind in ("gateway", "controller", "api"):
        for host in PLATFORM:
            service = several.cluster.service(f"{kind}@{host}")
            several.fault("killed", service.name)
            service.kill()
            if kind != "api" or host != PLATFORM[0]:  # the renter's own
                busy.keep()  # those that it served have gone on elsewhere
            service.start()
            busy.keep()
    several.wait_for_ends()


def test_h16_h23_one_seed_of_everything_against_several_of_everything(
    several: World, request: pytest.FixtureRequest
) -> None:
    seed = request.config.getoption("--seed")
    chance = random.Random(seed)
    services = [f"{kind}@{host}" for kind in ("gateway", "controller", "api") for host in PLATFORM]
    seconds = request.config.getoption("--seconds") * 0.6
    ours = draw(
        seed,
        seconds,
        machines=list(MACHINES),
        hosts=["b", "c"],
        platform="a",
        services=services,
        pause_s=20.0,
    )
    theirs = draw(
        seed + 1,
        seconds,
        machines=list(MACHINES),
        hosts=["d", "e"],
        platform="b",
        services=services,
        pause_s=20.0,
    )
    nemesis = Nemesis(several, sorted(ours + theirs, key=lambda fault: fault.at_s))
    for _ in range(6):
        several.renter.submit(
            steps=chance.randint(60, 160),
            pace_s=0.3,
            save_every=chance.randint(3, 10),
            when_away=nemesis.tick,
        )
    while not nemesis.is_over:
        nemesis.tick()
        several.look()
        time.sleep(0.05)
    several.make_whole()
    several.wait_for_ends(within_s=420)


def test_h23_each_of_nine_processes_stands_still_in_turn_and_no_job_moves(several: World) -> None:
    busy = Busy(several, "one process of three stood still at a time")
    for kind in ("gateway", "controller", "api"):
        for host in PLATFORM:
            service = several.cluster.service(f"{kind}@{host}")
            several.fault("paused", service.name, seconds=LONG_S)
            service.pause()
            several.for_seconds(LONG_S)
            if kind != "api" or host != PLATFORM[0]:  # the renter's own
                busy.keep()  # while it stands still: who was served by it is elsewhere
            several.fault("resumed", service.name)
            service.resume()
            busy.keep()
    several.wait_for_ends()


@pytest.mark.parametrize("how", ["from everybody", "unheard by the machines", "from the database"])
def test_h23_one_of_three_hosts_is_cut_off_and_no_job_moves(several: World, how: str) -> None:
    cut: dict[str, Callable[[str], None]] = {
        "from everybody": several.lab.isolate,
        # It hears every beat, and its answers are lost: it does not know that its agents are about to leave it.
        "unheard by the machines": lambda host: (
            [several.lab.cut(host, to, both=False) for to in "de"] and None
        ),
        # Its agents reach it, and it may soon renew nothing: it sends them to the others.
        "from the database": lambda host: several.lab.cut(host, "a"),
    }
    busy = Busy(several, f"one platform host of three was cut off {how}")
    for host in PLATFORM[1:]:
        several.fault("cut", host, how=how, seconds=LONG_S)
        cut[how](host)
        several.for_seconds(LONG_S)
        busy.keep()
        several.fault("heal", host)
        several.lab.heal()
        busy.keep()
    several.wait_for_ends()
