"""H16: what was answered with 201 exists, once, and ends."""

import random
import threading

from tests.rig.renter import ENDLESS
from tests.rig.world import World

JOBS, KILLS = 8, 4


def test_h16_the_api_is_killed_again_and_again_under_submissions(rig: World) -> None:
    """The renter repeats each request under its key until it is answered; he never knows which try went through."""
    chance = random.Random(rig.seed)
    over = threading.Event()
    # Signals come from a thread, processes are started from this one: they die with the thread that started them.
    hits: list[int] = []

    def killer() -> None:
        service = rig.cluster.service("api@a")
        while not over.wait(0.02) and len(hits) < KILLS:
            if not service.alive or not service.ready():
                continue  # let it come up, or nobody would ever be answered
            over.wait(chance.uniform(0.0, 1.5))
            if service.alive:
                rig.fault("killed", "api@a")
                hits.append(1)
                service.kill()

    thread = threading.Thread(target=killer, daemon=True)
    keeper = _Keeper(rig)
    thread.start()
    try:
        for _ in range(JOBS):
            keeper.revive()
            rig.renter.submit(steps=4, pace_s=0.1, save_every=2, when_away=keeper.revive, answers_lost=1)
    finally:
        over.set()
        thread.join()
        keeper.revive()
    rig.wait_for_ends()
    assert hits, "the api was never hit"


class _Keeper:
    """Starts the api again, from the main thread."""

    def __init__(self, rig: World) -> None:
        self._rig = rig

    def revive(self) -> None:
        service = self._rig.cluster.service("api@a")
        if not service.alive:
            service.start(wait=False)


def test_h16_postgresql_is_killed_under_running_jobs(rig: World) -> None:
    jobs = [rig.renter.submit(steps=ENDLESS, pace_s=0.3) for _ in range(3)]
    for job in jobs:
        rig.wait_for_save(job)
        rig.history.write("note", what="must_not_move", job=job.id, why="only the database was killed")
    for _ in range(3):
        rig.fault("killed", "postgres")
        rig.cluster.service("postgres").kill()
        rig.cluster.service("postgres").start()
        for job in jobs:
            rig.wait_for_steps(job, 2)
    rig.end()
