"""What goes wrong: each fault by its name, drawn by the seed."""

from collections.abc import Callable

from gp4u_simulation.platform import Platform

LONG_S = 18.0


def _seconds(platform: Platform) -> float:
    """Short, around the lease's 5 s, or long."""
    chance = platform.world.chance
    kind = chance()
    if kind < 0.34:
        return 0.5 + 3.5 * chance()
    if kind < 0.67:
        return 4.0 + 3.0 * chance()
    return 7.0 + (LONG_S - 7.0) * chance()


def _cut(platform: Platform, seconds: float) -> None:
    link = _node(platform).link
    link.up_cut_until = link.down_cut_until = platform.world.now + seconds


def _cut_up(platform: Platform, seconds: float) -> None:
    _node(platform).link.up_cut_until = platform.world.now + seconds


def _cut_down(platform: Platform, seconds: float) -> None:
    _node(platform).link.down_cut_until = platform.world.now + seconds


def _cut_all(platform: Platform, seconds: float) -> None:
    for node in platform.nodes:
        node.link.up_cut_until = node.link.down_cut_until = platform.world.now + seconds


def _flap(platform: Platform, seconds: float) -> None:
    link = _node(platform).link
    world = platform.world

    def cut() -> None:
        link.up_cut_until = world.now + 1.5

    for beat in range(int(seconds / 3) + 1):
        world.after(3.0 * beat, cut)


def _slow(platform: Platform, seconds: float) -> None:
    link = _node(platform).link
    link.slow_until = platform.world.now + seconds
    link.slow_s = 0.5 + 5.5 * platform.world.chance()


def _bad_link(platform: Platform, seconds: float) -> None:
    """Lossy and slow at once, in both directions: what a TTL has to follow."""
    link = _node(platform).link
    world = platform.world
    link.loss = 0.15 + 0.3 * world.chance()
    link.slow_until = world.now + 2 * seconds
    link.slow_s = 0.2 + 1.3 * world.chance()


def _pause_agent(platform: Platform, seconds: float) -> None:
    _node(platform).pause(seconds)


def _pause_machine(platform: Platform, seconds: float) -> None:
    _node(platform).sleep(seconds)


def _crash_agent(platform: Platform, seconds: float) -> None:
    _node(platform).crash_agent(seconds / 2)


def _crash_shim(platform: Platform, _: float) -> None:
    _node(platform).crash_shim()


def _crash_machine(platform: Platform, seconds: float) -> None:
    _node(platform).crash(seconds)


def _crash_gateway(platform: Platform, seconds: float) -> None:
    _gateway(platform).restart(seconds / 2)


def _lose_site(platform: Platform, seconds: float) -> None:
    """A gateway dies, and the links of all nodes with it: nobody comes back before it is taken over."""
    _gateway(platform).restart(0.5 * seconds)
    for node in platform.nodes:
        if platform.world.chance() < 0.8:
            node.link.up_cut_until = node.link.down_cut_until = platform.world.now + LONG_S + seconds


def _pause_gateway(platform: Platform, seconds: float) -> None:
    _gateway(platform).pause(seconds)


def _cut_gateway_off(platform: Platform, seconds: float) -> None:
    # From the database alone; its agents still reach it.
    _gateway(platform).database_cut_until = platform.world.now + 2 * seconds


def _crash_controller(platform: Platform, seconds: float) -> None:
    _controller(platform).restart(seconds / 2)


def _pause_controller(platform: Platform, seconds: float) -> None:
    _controller(platform).pause(seconds)


def _stall_database(platform: Platform, seconds: float) -> None:
    platform.database.stalled_until = platform.world.now + seconds


def _flaky_database(platform: Platform, seconds: float) -> None:
    platform.database.flaky_until = platform.world.now + seconds


def _step_wall_clock(platform: Platform, _: float) -> None:
    database, chance = platform.database, platform.world.chance
    step_s = 40.0 * (chance() - 0.5)
    database.wall_offset_s += step_s
    platform.outage_s += abs(step_s)


def _lose_store(platform: Platform, seconds: float) -> None:
    platform.store_down_until = platform.world.now + seconds


def _stop_job(platform: Platform, _: float) -> None:
    jobs = platform.database.jobs.rows
    job_id = platform.world.random.choice(list(jobs))
    platform.database.transact(platform.api, platform.database.request_stop, None, None, job_id)


def _node(platform: Platform):  # type: ignore[no-untyped-def]
    """A node at random, rather one with a job."""
    busy = {p.node_id for job in platform.database.jobs.rows.values() if (p := job.placement)}
    nodes = platform.nodes
    if busy and platform.world.chance() < 0.7:
        nodes = [node for node in nodes if node.node_id in busy]
    return nodes[int(platform.world.chance() * len(nodes))]


def _gateway(platform: Platform):  # type: ignore[no-untyped-def]
    return platform.gateways[int(platform.world.chance() * len(platform.gateways))]


def _controller(platform: Platform):  # type: ignore[no-untyped-def]
    return platform.controllers[int(platform.world.chance() * len(platform.controllers))]


FAULTS: dict[str, tuple[int, Callable[[Platform, float], None]]] = {
    "cut": (5, _cut),
    "cut_up": (2, _cut_up),
    "cut_down": (3, _cut_down),
    "cut_all": (1, _cut_all),
    "flap": (1, _flap),
    "slow": (4, _slow),
    "bad_link": (3, _bad_link),
    "pause_agent": (3, _pause_agent),
    "pause_machine": (2, _pause_machine),
    "crash_agent": (3, _crash_agent),
    "crash_shim": (1, _crash_shim),
    "crash_machine": (3, _crash_machine),
    "crash_gateway": (3, _crash_gateway),
    "lose_site": (1, _lose_site),
    "pause_gateway": (2, _pause_gateway),
    "cut_gateway_off": (3, _cut_gateway_off),
    "crash_controller": (1, _crash_controller),
    "pause_controller": (1, _pause_controller),
    "stall_database": (2, _stall_database),
    "flaky_database": (2, _flaky_database),
    "step_wall_clock": (1, _step_wall_clock),
    "lose_store": (1, _lose_store),
    "stop_job": (1, _stop_job),
}
"""Name → (how often, what it does)."""
OURS = frozenset(
    {"crash_gateway", "lose_site", "pause_gateway", "cut_gateway_off", "stall_database", "flaky_database"}
)


def strike(platform: Platform, name: str) -> None:
    """Let it happen now."""
    seconds = _seconds(platform)
    platform.world.counts[f"fault_{name}"] += 1
    platform.world.note("fault: %s, %.2f s", name, seconds)
    if name in OURS:
        platform.outage_s += 2 * seconds + 1.0
    FAULTS[name][1](platform, seconds)


def heal(platform: Platform) -> None:
    """Peace from now on: links are whole."""
    platform.world.note("peace")
    for node in platform.nodes:
        link = node.link
        link.up_cut_until = link.down_cut_until = link.slow_until = 0.0
        link.loss = 0.0
    platform.database.flaky_until = 0.0
