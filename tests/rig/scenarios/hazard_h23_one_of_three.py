"""H23 with three of everything: one that stands still, or one host that is cut off, costs no job its place.

The database is on a, so a is never cut off here. What is cut off is an api, a gateway and a controller at once, with the agents
that the gateway served; the machines are on hosts of their own.
"""

from collections.abc import Callable

import pytest

from tests.rig.scenarios.hazard_h16_h23_several_of_everything import (
    PLATFORM,
    Busy,
    large_marketplace,
    several,
)
from tests.rig.world import World

__all__ = ["large_marketplace", "several"]

LONG_S = 10


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
