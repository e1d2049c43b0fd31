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

CALM_SHARE = 0.06
CALM_FAULTS = ("pause_controller", "crash_controller", "stall_database", "pause_gateway")
"""In a calm seed only one thing goes wrong, and it is ours: no node may be taken for dead."""

WILD_SHARE = 0.2
"""Of the seeds whose gateways ask for longer and shorter TTLs by chance, beside what the links ask for."""

ALL = tuple(name for name, (weight, _) in FAULTS.items() for _ in range(weight))


def run(
    world: World, *, faults: Sequence[str] | None = None, calm: bool | None = None, wild: bool | None = None
) -> None:
    """Play the world's seed to its end. Raises Violation; the world's history then says what led to it.

    `faults`, `calm` and `wild` narrow what the seed may draw: planted bugs are looked for where they should show.
    """
    random = world.random
    if calm is None:
        calm = faults is None and random.random() < CALM_SHARE
    platform = Platform(
        world,
        nodes=random.choice((2, 3, 3, 4)),
        gateways=1 if calm else random.choice((1, 1, 2, 3)),
        controllers=random.choice((1, 1, 2)),
        wild_ttls=random.random() < WILD_SHARE if wild is None else wild,
    )
    database, referee = platform.database, platform.referee
    for number in range(random.choice((1, 1, 2))):
        job_id = f"job{number}"
        # Where a bug is looked for, no job is over before it shows.
        work_s = random.uniform(6.0, 18.0) if faults is None else random.uniform(14.0, 26.0)
        database.jobs.rows[job_id] = JobRow(job_id, f"renter{number}", work_s, EPOCH_0)
        referee.jobs[job_id] = JobBook(job_id, work_s)
        rich = calm or random.random() < 0.93
        database.money.deposit(f"renter{number}", RICH_MICROS if rich else random.randint(20_000, 40_000))
    struck = None
    if calm:
        for node in platform.nodes:
            node.link.loss = 0.0
        struck = random.choice(faults or CALM_FAULTS)
        world.at(random.uniform(2.0, 8.0), strike, platform, struck)
    else:
        for _ in range(random.randint(2, 6)):
            world.at(random.uniform(1.0, TROUBLE_S), strike, platform, random.choice(faults or ALL))
        world.at(PEACE_S, heal, platform)

    world.run(PATIENCE_S)
    _judge_end(platform)
    if struck is not None:
        _judge_calm(world, struck)


def _judge_calm(world: World, struck: str) -> None:
    world.counts["calm_seeds"] += 1
    taken, lost = world.counts["takeovers"], world.counts["node_lost"]
    # A gateway that stands still for longer than its authority and a lease is dead for all that anybody can know.
    if struck == "pause_gateway" and taken:
        return
    if taken or lost:
        world.violated(promises.OUR_OUTAGE, f"{struck}: {taken} gateways taken over, {lost} nodes lost")


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
                outage_s=platform.outage_s,
            )
    referee.settle(deposited=database.money.deposited)
    world.counts["seconds"] += round(world.now)
    world.counts["seeds"] += 1
    world.note("all jobs ended after %.1f s", world.now)
