"""What goes wrong: each fault by its name, drawn by the seed."""

from collections.abc import Callable

from gp4u_simulation.agent import Node
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
    link.slow_up = True


def _bad_link(platform: Platform, seconds: float) -> None:
    """Lossy and slow at once, in both directions: what a TTL has to follow."""
    link = _node(platform).link
    world = platform.world
    link.loss = 0.15 + 0.3 * world.chance()
    link.slow_until = world.now + 2 * seconds
    link.slow_s = 0.2 + 1.3 * world.chance()
    link.slow_up = True


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
    """A gateway is gone, and the links of its nodes with it: nobody comes back before it is taken over. Either it dies at
    once, or it first loses the database and goes on renewing while it has authority."""
    world, gateway = platform.world, _gateway(platform)
    dies = world.chance() < 0.5
    if dies:
        gateway.restart(0.5 * seconds)
    else:
        gateway.database_cut_until = world.now + 12.0 + LONG_S + seconds

    def cut() -> None:
        for node in platform.nodes:
            if node.gateway is gateway:
                node.link.up_cut_until = node.link.down_cut_until = world.now + LONG_S + seconds

    world.after(0.0 if dies else 6.0 + 3.0 * world.chance(), cut)


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
    world = platform.world
    if world.chance() < 0.3:
        seconds += 12.0 * world.chance()
    platform.database.stalled_until = world.now + seconds
    if world.chance() < 0.5:
        # Who finds it again first, and how much later the others do, is chance.
        for gateway in platform.gateways:
            gateway.database_cut_until = world.now + seconds + 2.0 * world.chance()


def _sleep_at_the_offer(platform: Platform, seconds: float) -> None:
    """The next node that is offered a job is paused at that moment, for a little more than a lease. Somebody holds its row
    when its loss is to be written; it wakes, claims, and soon hears nothing more."""
    world, database = platform.world, platform.database
    armed_until = world.now + 2 * seconds

    def offered(node_id: str) -> None:
        node = platform.nodes[int(node_id[4:])]
        fresh = any(not placement.claimed for placement in database.jobs.live_on(node_id))
        if world.now < armed_until and fresh and database.nodes[node_id].state == "online":
            database.node_listeners.remove(offered)
            awake_s = 5.5 + world.chance()
            node.pause(awake_s)
            database.rows_held_until[node_id] = world.now + awake_s + 1.5 + world.chance()
            world.after(awake_s + 0.7 + 0.8 * world.chance(), deafen, node)

    def deafen(node: Node) -> None:
        node.link.down_cut_until = world.now + 6.0

    database.node_listeners.append(offered)


def _stammer(platform: Platform, seconds: float) -> None:
    """Answers are slow, the connection breaks, breaks again in its youth, and the way that is then found is quick, but loses
    what the node sends: answers of a young session arrive in the next, which counts its heartbeats from one as well."""
    world, node = platform.world, _node(platform)
    link = node.link
    link.slow_until = world.now + 25.0
    link.slow_s = 5.0
    link.slow_up = False
    until = world.now + 20.0

    def reset(times: int, before: str | None) -> None:
        if node.session is not None and node.session != before:
            before, times = node.session, times - 1
            if times == 0:
                link.up_cut_until = world.now + 8.0 + seconds
                return
            world.after(2.1 + 0.9 * world.chance(), close, times, before)
        if world.now < until:
            world.after(0.05, reset, times, before)

    def close(times: int, session: str) -> None:
        node.closed(session)
        if times == 1:
            link.slow_s = 0.3

    reset(3, None)


def _reset_amid_outages(platform: Platform, seconds: float) -> None:
    """A node's connection breaks while one gateway has lost the database for longer than a handshake lasts, and as that one
    finds it again, the others lose it."""
    world = platform.world
    node, first = _node(platform), _gateway(platform)
    others = [other for other in platform.gateways if other is not first]
    back_s = 5.6 + 3.0 * world.chance()
    first.database_cut_until = world.now + back_s
    if node.session is not None and others:
        node.dials_next = [first, others[0]]
        node.closed(node.session)

    def lose() -> None:
        for other in others:
            other.database_cut_until = world.now + 8.0 + seconds

    world.after(back_s - 0.4 * world.chance(), lose)


def _stall_for_a_minute(platform: Platform, _: float) -> None:
    """Every process of ours stands still for a minute, or the database does; they wake one after the other."""
    world = platform.world
    platform.outage_s += 130.0
    if world.chance() < 0.5:
        platform.database.stalled_until = world.now + 60.0
        return
    for process in (*platform.gateways, *platform.controllers, platform.api):
        process.pause(60.0 + 0.8 * world.chance())


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
    "sleep_at_the_offer": (1, _sleep_at_the_offer),
    "stammer": (1, _stammer),
    "reset_amid_outages": (1, _reset_amid_outages),
    "pause_gateway": (2, _pause_gateway),
    "cut_gateway_off": (3, _cut_gateway_off),
    "crash_controller": (1, _crash_controller),
    "pause_controller": (1, _pause_controller),
    "stall_database": (2, _stall_database),
    "stall_for_a_minute": (0, _stall_for_a_minute),
    "flaky_database": (2, _flaky_database),
    "step_wall_clock": (1, _step_wall_clock),
    "lose_store": (1, _lose_store),
    "stop_job": (1, _stop_job),
}
"""Name → (how often, what it does)."""
OURS = frozenset(
    {
        "crash_gateway",
        "lose_site",
        "reset_amid_outages",
        "pause_gateway",
        "cut_gateway_off",
        "stall_database",
        "flaky_database",
    }
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
