"""One seed: a small marketplace, twenty seconds of troubles, then peace until every job has ended."""

from collections.abc import Sequence

from gp4u_simulation import referee as promises
from gp4u_simulation.database import EPOCH_0
from gp4u_simulation.faults import FAULTS, heal, strike
from gp4u_simulation.money import RATE_PER_HOUR_MICROS
from gp4u_simulation.platform import Platform
from gp4u_simulation.referee import JobBook
from gp4u_simulation.rows import JobRow
from gp4u_simulation.world import World

TROUBLE_S = 22.0
PEACE_S = 34.0
PATIENCE_S = 220.0
RICH_MICROS = 10_000_000
"""A second costs a thousand micro-units: a wallet for thousands of seconds, or (rarely) for a few."""

ALL = tuple(name for name, (weight, _) in FAULTS.items() for _ in range(weight))


def play(
    seed: int,
    *,
    faults: Sequence[str] = ALL,
    gateways: int | None = None,
    lossless: bool = False,
    recording: bool = False,
) -> World:
    """Run one seed to its end. Raises Violation; `world_of` keeps what was recorded until then."""
    world = World(seed, recording=recording)
    run(world, faults=faults, gateways=gateways, lossless=lossless)
    return world


def run(
    world: World, *, faults: Sequence[str] = ALL, gateways: int | None = None, lossless: bool = False
) -> None:
    """As `play`, in a world that the caller keeps: its history says what led to a violation."""
    random = world.random
    platform = Platform(
        world,
        nodes=random.choice((2, 3, 3, 4)),
        gateways=gateways or random.choice((1, 1, 2, 3)),
        controllers=random.choice((1, 1, 2)),
    )
    database, referee = platform.database, platform.referee
    if lossless:
        for node in platform.nodes:
            node.link.loss = 0.0
    for number in range(random.choice((1, 1, 2))):
        job_id = f"job{number}"
        work_s = random.uniform(6.0, 18.0)
        database.jobs.rows[job_id] = JobRow(job_id, f"renter{number}", work_s, EPOCH_0)
        referee.jobs[job_id] = JobBook(job_id, work_s)
        rich = random.random() < 0.93
        database.money.deposit(f"renter{number}", RICH_MICROS if rich else random.randint(20_000, 40_000))
    for _ in range(random.randint(2, 6)):
        world.at(random.uniform(1.0, TROUBLE_S), strike, platform, random.choice(faults))
    world.at(PEACE_S, heal, platform)

    world.run(PATIENCE_S)
    _judge_end(platform)


def _judge_end(platform: Platform) -> None:
    world, database, referee = platform.world, platform.database, platform.referee
    for job in database.jobs.rows.values():
        if not job.state.is_final:
            world.violated(promises.JOB_ENDS, f"{job.id} is {job.state} and never ended")
        floor = EPOCH_0.replace(year=1)
        for placement in job.placements:
            meter = database.money.meters[placement.id].meter
            floor = referee.bill(
                placement.id,
                [(interval.started_at, interval.ended_at) for interval in meter.intervals],
                RATE_PER_HOUR_MICROS,
                floor,
                steady_clock=not database.stepped,
                outage_s=database.outage_s,
            )
    referee.settle(deposited=database.money.deposited)
    world.counts["seconds"] += round(world.now)
    world.counts["seeds"] += 1
    world.note("all jobs ended after %.1f s", world.now)
