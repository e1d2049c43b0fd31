"""One seed: a small marketplace, half a minute of troubles, then peace until every job has ended."""

from tests.simulation.database import JobRow, NodeRow
from tests.simulation.engine import World
from tests.simulation.platform import Platform

TROUBLE_S = 30.0
PATIENCE_S = 200.0
FAULTS = (
    "cut", "cut", "cut", "cut_up", "cut_down", "slow", "slow", "pause_agent", "pause_agent", "crash_agent",
    "crash_node", "crash_gateway", "crash_gateway", "pause_gateway", "crash_controller", "pause_controller",
    "stall_database", "cut_gateway_off",
)  # fmt: skip


def play(
    seed: int,
    bugs: frozenset[str] = frozenset(),
    *,
    faults: tuple[str, ...] = FAULTS,
    gateways: int | None = None,
    loss_free: bool = False,
    recording: bool = False,
    history: list[str] | None = None,
) -> World:
    """Run one seed to its end. Raises Violation. `history` receives the lines when recording."""
    world = World(seed, bugs, recording, history=[] if history is None else history)
    rng = world.random
    platform = Platform(world, nodes=rng.choice((2, 3, 4)), jobs=rng.choice((1, 1, 2)), gateways=gateways)
    database = platform.database
    for node in platform.nodes:
        node.link.loss *= not loss_free
        database.nodes[node.node_id] = NodeRow(node.node_id)
    for job_id in platform.running:
        database.jobs[job_id] = JobRow(job_id, work_s=rng.uniform(8.0, 25.0))
    for _ in range(rng.randint(2, 7)):
        world.at(rng.uniform(2.0, TROUBLE_S), _fault, platform, rng.choice(faults))
    world.at(TROUBLE_S + 15.0, _heal, platform)

    jobs = list(database.jobs.values())
    world.run(PATIENCE_S, lambda: all(job.state.is_final for job in jobs))
    database.check_bills()
    for job in jobs:
        if not job.state.is_final:
            world.violated(f"{job.id} is {job.state} and never ended")
        if not 0 <= job.saved <= job.work_s + 1e-6:
            world.violated(f"{job.id} saved {job.saved} of {job.work_s}")
    world.note("all jobs ended; %d stale writes were refused", database.stale_refused)
    return world


def _fault(platform: Platform, kind: str) -> None:
    world, rng = platform.world, platform.world.random
    node = rng.choice(platform.nodes)
    gateway = rng.choice(platform.gateways)
    seconds = rng.choice((rng.uniform(0.5, 4.0), rng.uniform(4.0, 7.0), rng.uniform(7.0, 20.0)))
    world.note("fault: %s, %s, %s, %.2f s", kind, node.node_id, gateway.name, seconds)
    if kind in ("cut", "cut_up"):
        node.link.up_cut_until = world.now + seconds
    if kind in ("cut", "cut_down"):
        node.link.down_cut_until = world.now + seconds
    if kind == "slow":
        node.link.slow_until, node.link.slow_s = world.now + seconds, rng.uniform(0.5, 6.0)
    elif kind == "pause_agent":
        node.pause(seconds)
    elif kind == "crash_agent":
        node.crash_agent(seconds / 2)
    elif kind == "crash_node":
        node.crash(seconds)
    elif kind == "crash_gateway":
        gateway.restart(seconds / 2)
    elif kind == "pause_gateway":
        gateway.pause(seconds)
    elif kind == "cut_gateway_off":
        # From the database alone; its agents still reach it.
        gateway.database_cut_until = world.now + 2 * seconds
    elif kind == "crash_controller":
        platform.controller.restart(seconds / 2)
    elif kind == "pause_controller":
        platform.controller.pause(seconds)
    elif kind == "stall_database":
        platform.database.stalled_until = world.now + seconds


def _heal(platform: Platform) -> None:
    for node in platform.nodes:
        node.link.up_cut_until = node.link.down_cut_until = node.link.slow_until = 0.0
        node.link.loss = 0.0
