"""Known bugs, planted on purpose: each breaks one decision, and the referee must notice.

Most replace a function of production's own decision code for as long as `planted` holds. A few (marked `glue`) break what
production does with SQL conditions or in its asyncio services, where the simulation has its own few lines.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from gp4u_protocol import lease, lease_core
from gp4u_protocol.lease_core import LeaseHolder, LeaseId, ShimEvent, ShimState, Tick
from gp4u_server.billing import metering, settling
from gp4u_server.catalyst.checkpoints import decisions as commits
from gp4u_server.catalyst.checkpoints import retention
from gp4u_server.catalyst.health import authority, lease_table
from gp4u_server.catalyst.health.lease_table import LeaseTable, NodeState
from gp4u_server.catalyst.jobs import coverage, decisions, fencing
from gp4u_server.catalyst.jobs.types import JobState
from gp4u_server.gateway import decisions as gateway_decisions

from gp4u_simulation import database as sim_database
from gp4u_simulation.agent import Node
from gp4u_simulation.checkpoints import Checkpoints
from gp4u_simulation.database import Database
from gp4u_simulation.jobs import Jobs, Report, Told
from gp4u_simulation.placement import Placement
from gp4u_simulation.scenario import run
from gp4u_simulation.world import World

Patch = tuple[Any, str, Any]


@dataclass(frozen=True)
class Plant:
    """One bug. `faults`: what its seeds may draw (None: everything); `calm`: only our own outages; `wild`: TTLs by chance."""

    name: str
    says: str
    patches: Callable[[], list[Patch]]
    faults: Sequence[str] | None = None
    calm: bool | None = None
    wild: bool | None = None
    glue: bool = False
    hole: str = ""
    """Why the seeds do not find it: a hole in the simulation that we know of."""

    def play(self, world: World) -> None:
        """One seed where this bug should show."""
        run(world, faults=self.faults, calm=self.calm or None, wild=self.wild)


@contextmanager
def planted(plant: Plant) -> Iterator[None]:
    """The bug is there inside the block, in this process only."""
    patches = plant.patches()
    before = [(owner, name, owner.__dict__[name]) for owner, name, _ in patches]
    try:
        for owner, name, broken in patches:
            setattr(owner, name, broken)
        yield
    finally:
        for owner, name, whole in before:
            setattr(owner, name, whole)


PLANTS: dict[str, Plant] = {}


def _plant(
    says: str,
    *,
    faults: Sequence[str] | None = None,
    calm: bool | None = None,
    wild: bool | None = None,
    glue: bool = False,
    hole: str = "",
) -> Callable[[Callable[[], list[Patch]]], Callable[[], list[Patch]]]:
    def add(patches: Callable[[], list[Patch]]) -> Callable[[], list[Patch]]:
        PLANTS[patches.__name__] = Plant(patches.__name__, says, patches, faults, calm, wild, glue, hole)
        return patches

    return add


LINKS = ("cut", "cut_down", "cut_up", "slow", "slow")
TTLS = ("bad_link", "cut", "cut_down", "cut_up", "slow")
RECONNECTS = ("bad_link", "crash_gateway", "crash_agent", "cut", "cut")
FILLERS = ("crash_controller", "pause_controller")
"""Beside a fault that is a story of its own, and that another one would cut short."""
TAKEOVERS = ("lose_site", "lose_store", "lose_store")
GATEWAYS = ("cut_gateway_off", "pause_gateway", "crash_gateway", "cut")


# --- the lease on the node -----------------------------------------------------------------------------------


@_plant("the deadline counts from the answer's receipt", faults=("slow", "slow", "cut_up"), glue=True)
def deadline_from_receipt() -> list[Patch]:
    acked, granted = Node.acked, Node.granted

    def late_acked(self: Node, session: str, seq: int, renewed: list[LeaseId], ttl_s: float) -> None:
        self.holder.heartbeat_sent(seq, self.clock.read())
        acked(self, session, seq, renewed, ttl_s)

    def late_granted(self: Node, session: str, seq: int, lease: LeaseId, ttl_s: float) -> None:
        self.holder.claim_sent(seq, lease.placement_id, lease.epoch, self.clock.read())
        granted(self, session, seq, lease, ttl_s)

    return [(Node, "acked", late_acked), (Node, "granted", late_granted)]


@_plant("Desired starts the job; nobody claims", faults=("slow", "slow", "cut", "pause_agent"), glue=True)
def pushed_start() -> list[Patch]:
    claim = Node._claim

    def push(self: Node, spec: Any, now: float) -> None:
        lease = LeaseId(spec.placement_id, spec.epoch)
        is_new = lease not in self.placements
        claim(self, spec, now)
        if is_new:
            # Its answer is not waited for; the real one will renew, like any heartbeat's.
            self.holder.claim_sent(0, *lease, now)
            renewal = self.holder.claim_granted(self.session or "", 0, *lease)
            if renewal is not None:
                self.placements[lease].grant(renewal.deadline)

    return [(Node, "_claim", push)]


@_plant(
    "an answer of an earlier session renews",
    faults=("stammer", *FILLERS),
)
def stale_ack_accepted() -> list[Patch]:
    acked = LeaseHolder.heartbeat_acked

    def gullible(self: LeaseHolder, session_id: str, seq: int, renewed: Any, ttl_s: float) -> Any:
        return acked(self, self.session_id or session_id, seq, renewed, ttl_s)

    return [(LeaseHolder, "heartbeat_acked", gullible)]


@_plant("the shim never freezes", faults=LINKS)
def never_freezes() -> list[Patch]:
    step = lease_core.shim_step

    def idle(state: ShimState, event: ShimEvent, now: float) -> Any:
        return (state, ()) if isinstance(event, Tick) else step(state, event, now)

    return [(lease_core, "shim_step", idle)]


@_plant("the shim freezes when the server already replaces", faults=LINKS)
def freezes_too_late() -> list[Patch]:
    return [(lease_core, "freeze_after_s", lambda ttl_s=5.0: ttl_s * 1.3)]


@_plant("both sides count the bare TTL: clocks may drift", faults=LINKS)
def no_drift_margin() -> list[Patch]:
    return [
        (lease_core, "freeze_after_s", lambda ttl_s=5.0: ttl_s),
        (lease_table, "replace_after_s", lambda ttl_s=5.0: ttl_s),
    ]


@_plant("the lease's clock stands still while the machine sleeps", faults=("pause_machine", "cut"), glue=True)
def clock_stops_in_sleep() -> list[Patch]:
    sleep = Node.sleep

    def fooled(self: Node, seconds: float) -> None:
        sleep(self, seconds)
        self.world.at(self.world.now + seconds - 1e-6, turn_back, self, seconds)

    def turn_back(node: Node, seconds: float) -> None:
        node.clock.origin -= seconds * node.clock.rate

    return [(Node, "sleep", fooled)]


@_plant("a restarted agent does not look for its shims", faults=("crash_agent", "cut"), glue=True)
def shims_forgotten() -> list[Patch]:
    return [(Placement, "adopt", lambda self: False)]


@_plant("reports are forgotten once sent", faults=("cut", "cut_up", "crash_gateway"), glue=True)
def reports_not_repeated() -> list[Patch]:
    def once(self: Placement, told: Told) -> None:
        self.node.send_report(Report(self.lease, self.next_seq, told))
        self.next_seq += 1

    return [(Placement, "_report", once)]


# --- how long leases last --------------------------------------------------------------------------------------


@_plant("a shorter TTL holds for the leases that were granted with a longer one", faults=TTLS, wild=True)
def shorter_ttl_at_once() -> list[Patch]:
    beat = LeaseTable.beat

    def forgetful(
        self: LeaseTable, node_id: str, session_id: str, reported: Any, now: float, *more: Any
    ) -> Any:
        answer = beat(self, node_id, session_id, reported, now, *more)
        if answer is not None:
            self._nodes[node_id].void_at = now + lease.replace_after_s(answer.ttl_s)
        return answer

    return [(LeaseTable, "beat", forgetful)]


@_plant("a longer TTL is forgotten when the node connects again", faults=RECONNECTS, wild=True)
def ttl_forgotten_over_a_reconnect() -> list[Patch]:
    opened = LeaseTable.opened

    def forgetful(self: LeaseTable, *arguments: Any, noted_s: float, resumed: bool) -> float:
        return opened(self, *arguments, noted_s=None, resumed=resumed)

    return [(LeaseTable, "opened", forgetful)]


@_plant("a longer TTL is granted before the node's row says so", faults=RECONNECTS, wild=True)
def ttl_granted_before_noted() -> list[Patch]:
    return [(LeaseTable, "_ask", LeaseTable._change_ttl), (LeaseTable, "noted", lambda self, note: None)]


@_plant("the node's row says a shorter TTL while the longer is in force", faults=RECONNECTS, wild=True)
def ttl_lowered_too_early() -> list[Patch]:
    due = LeaseTable.notes_due

    def hasty(self: LeaseTable, now: float) -> Any:
        for node in self._nodes.values():
            node.longer_until = now
        return due(self, now)

    return [(LeaseTable, "notes_due", hasty)]


@_plant("a dead gateway's nodes are taken as if all had the shortest TTL", faults=TAKEOVERS, wild=True)
def takeover_ignores_longer_ttls() -> list[Patch]:
    observe = authority.AuthorityWatch.observe

    def short(self: Any, rows: Any, began: float, ended: float, ttls_s: Any) -> Any:
        return observe(self, rows, began, ended, None)

    return [(authority.AuthorityWatch, "observe", short)]


@_plant("the agent counts with the longest TTL that it ever heard", faults=TTLS, wild=True)
def agent_keeps_the_longest_ttl() -> list[Patch]:
    extend = LeaseHolder._extend

    def clinging(self: LeaseHolder, lease: LeaseId, sent_at: float, ttl_s: float | None) -> Any:
        self.ttl_s = max(self.ttl_s, ttl_s or 0.0)
        return extend(self, lease, sent_at, self.ttl_s)

    return [(LeaseHolder, "_extend", clinging)]


# --- the gateway and the controller --------------------------------------------------------------------------


@_plant("a node is replaced before its lease ran out", faults=LINKS)
def replaced_before_ttl() -> list[Patch]:
    return [(lease_table, "replace_after_s", lambda ttl_s=5.0: 3.0)]


@_plant("a lost node's leases are renewed on", faults=LINKS)
def leases_survive_loss() -> list[Patch]:
    tick = LeaseTable.tick

    def keeping(self: LeaseTable, now: float) -> Any:
        before = {node_id: set(node.leases) for node_id, node in self._nodes.items()}
        changes = tick(self, now)
        for change in changes:
            if change.state is NodeState.LOST:
                self._nodes[change.node_id].leases |= before[change.node_id]
        return changes

    return [(LeaseTable, "tick", keeping), (LeaseTable, "keep_only", lambda self, node_id, leases: None)]


@_plant("whatever a node reports is renewed")
def renews_whatever_is_reported() -> list[Patch]:
    beat = LeaseTable.beat

    def generous(
        self: LeaseTable, node_id: str, session_id: str, reported: Any, now: float, *more: Any
    ) -> Any:
        answer = beat(self, node_id, session_id, reported, now, *more)
        return answer if answer is None else answer._replace(renewed=list(reported))

    return [(LeaseTable, "beat", generous)]


@_plant(
    "a gateway renews although it cannot reach the database",
    faults=("cut_gateway_off", "cut_gateway_off", "cut"),
)
def authority_for_ever() -> list[Patch]:
    return [(authority, "authority_until", lambda sent_at, window_s=0.0: float("inf"))]


@_plant("a gateway is taken over at the first doubt", faults=GATEWAYS)
def no_wait_after_restart() -> list[Patch]:
    return [(authority, "takeover_after_s", lambda ttl_s=5.0, window_s=10.0: 2.7)]


@_plant("a gateway that renewed after all is taken over all the same", faults=GATEWAYS, glue=True)
def takeover_of_a_living_row() -> list[Patch]:
    take_over = Database.take_over

    def blind(self: Database, gateway_id: str, seen: datetime) -> Any:
        return take_over(self, gateway_id, self.gateways[gateway_id].renewed_at)

    return [
        (Database, "take_over", blind),
        (authority, "takeover_after_s", lambda ttl_s=5.0, window_s=10.0: 6.0),
    ]


@_plant(
    "silence of the database counts as silence of the gateways, and the row is not looked at again",
    calm=True,
    faults=("stall_database",),
    glue=True,
)
def outages_watched_through() -> list[Patch]:
    # The guard of the row alone makes up for a watch that does not notice its own gaps, so both go.
    return [
        (authority, "WATCH_GAP_S_MAX", 1e9),
        (authority.AuthorityWatch, "missed", lambda self: None),
        *takeover_of_a_living_row()[:1],
    ]


@_plant("a gateway judges nodes by the time it slept itself", calm=True, faults=("pause_gateway",))
def own_stall_not_forgiven() -> list[Patch]:
    return [(lease_table, "STALL_S", 1e9)]


@_plant(
    "claims pass between a loss and its write",
    faults=("sleep_at_the_offer", "sleep_at_the_offer", "cut"),
)
def claims_pass_unwritten_losses() -> list[Patch]:
    return [(gateway_decisions.UnwrittenLosses, "bars", lambda self, node_id, session_no: False)]


@_plant("a gateway that lost a node still writes its state", glue=True)
def session_number_ignored() -> list[Patch]:
    record = Database.record_change

    def blind(self: Database, change: Any) -> bool:
        return record(self, replace(change, session_no=self.nodes[change.node_id].session_no))

    return [(Database, "record_change", blind)]


@_plant(
    "a late handshake supersedes the session that came after it",
    faults=("reset_amid_outages", *FILLERS),
    glue=True,
)
def slow_handshake() -> list[Patch]:
    return [(sim_database, "CONNECT_S_MAX", 10.0)]


# --- fences ----------------------------------------------------------------------------------------------------


@_plant(
    "claims, uploads and commits are taken from any epoch", faults=("cut", "cut_down", "slow", "pause_agent")
)
def writes_unfenced() -> list[Patch]:
    return [(fencing, "is_current", lambda epoch, **_: True)]


@_plant("reports are taken from any epoch")
def reports_unfenced() -> list[Patch]:
    def gullible(epoch: int, seq: int, *, last_seq: int, **_: Any) -> Any:
        return fencing.ReportFate.REPEATED if seq <= last_seq else fencing.ReportFate.APPLY

    return [(fencing, "judge_report", gullible)]


@_plant("a job is placed that another controller has just placed")
def placed_twice() -> list[Patch]:
    return [(fencing, "may_place", lambda state, **_: state not in ("done", "failed", "stopped"))]


# --- the end of a job --------------------------------------------------------------------------------------------


@_plant("a job that lost its node waits for ever", faults=("crash_machine", "cut"))
def lost_job_forgotten() -> list[Patch]:
    after_lost = decisions.after_lost
    return [
        (decisions, "after_lost", lambda *a, **k: replace(after_lost(*a, **k), retry_after_s=1e7)),
    ]


@_plant("a job that lost its node counts as done", faults=("crash_machine", "cut"))
def lost_job_is_done() -> list[Patch]:
    after_lost = decisions.after_lost
    return [
        (
            decisions,
            "after_lost",
            lambda *a, **k: replace(after_lost(*a, **k), state=JobState.DONE, retry_after_s=None),
        ),
    ]


# --- checkpoints ---------------------------------------------------------------------------------------------------


@_plant("the manifest is committed before its packs are stored")
def commit_before_upload() -> list[Patch]:
    return [(commits, "not_stored", lambda sizes, named: 0), (Placement, "stores_first", False)]


@_plant("the object of a pack goes before its row, and nobody looks for open uploads")
def collect_without_open_uploads() -> list[Patch]:
    collect = Checkpoints.collect

    def hasty(self: Checkpoints, job: Any, now: datetime) -> list[str]:
        named = {pack_id for row in self.committed[job.id].values() for pack_id in row.packs}
        collect(self, job, now)
        # The row stays, so a commit that has looked already still finds what it names.
        return [pack_id for pack_id in self.packs[job.id] if pack_id not in named]

    return [(Checkpoints, "collect", hasty)]


@_plant("packs that a checkpoint names are collected")
def collect_referenced() -> list[Patch]:
    collect = Checkpoints.collect

    def greedy(self: Checkpoints, job: Any, now: datetime) -> Any:
        oldest = min(self.packs[job.id].values(), key=lambda row: row.id, default=None)
        return collect(self, job, now) + ([oldest.id] if oldest is not None else [])

    return [(Checkpoints, "collect", greedy)]


@_plant("retention drops the newest", faults=("crash_machine", "cut", "crash_agent"))
def newest_expires() -> list[Patch]:
    def wrong(points: Any, rule: Any, now: datetime, **_: Any) -> list[str]:
        oldest_first = sorted(points, key=lambda point: (point.epoch, point.seq))
        return [point.id for point in oldest_first[rule.last :]]

    return [(retention, "expired", wrong)]


@_plant("a job starts from the checkpoint before the newest", faults=("crash_machine", "cut"), glue=True)
def restores_an_older_one() -> list[Patch]:
    def older(self: Checkpoints, job: Any) -> Any:
        points = sorted(self.committed[job.id].values(), key=lambda point: (point.epoch, point.seq))
        return points[-2] if len(points) > 1 else (points[0] if points else None)

    return [(Checkpoints, "restore_point", older)]


# --- money -----------------------------------------------------------------------------------------------------------


@_plant("running time starts when the node says", glue=True)
def agent_clock_billing() -> list[Patch]:
    record = Jobs.record_report

    def trusting(self: Jobs, node_id: str, report: Any, now: datetime, over_s: float) -> bool:
        # Wall clocks of machines are minutes apart.
        return record(self, node_id, report, now + timedelta(seconds=45 * (int(node_id[4:]) - 1)), over_s)

    return [(Jobs, "record_report", trusting)]


@_plant("an interval may begin before the one before it ended")
def intervals_overlap() -> list[Patch]:
    def opens(meter: metering.Meter, at: datetime) -> Any:
        if meter.open_interval is not None:
            return meter, []
        interval = metering.Interval(len(meter.intervals), at - timedelta(seconds=3), None)
        return replace(meter, intervals=(*meter.intervals, interval)), [metering.StoreInterval(interval)]

    return [(metering, "_open", opens)]


@_plant("the end of a placement leaves its interval open")
def end_leaves_interval_open() -> list[Patch]:
    observe = metering.observe

    def forgetful(meter: metering.Meter, event: metering.Event) -> Any:
        if isinstance(event, metering.Ended):
            return replace(meter, ended_at=event.at), []
        return observe(meter, event)

    return [(metering, "observe", forgetful)]


@_plant("time in which the job was frozen is billed", faults=("cut", "pause_machine", "cut_all"))
def frozen_time_billed() -> list[Patch]:
    return [(coverage, "counts_again_at", lambda interrupted_at, now, bridge_s: interrupted_at)]


@_plant("work lost with its node is charged", faults=("crash_machine", "cut"))
def lost_work_charged() -> list[Patch]:
    return [(metering, "lose", lambda meter, saved_until: meter)]


@_plant("what was posted before is posted again")
def posted_again() -> list[Patch]:
    post = metering.post

    def again(meter: metering.Meter, through: datetime, *, payable_micros: int) -> Any:
        after, posting, unpaid = post(replace(meter, net_micros=0), through, payable_micros=10**9)
        return replace(after, net_micros=meter.net_micros + posting.amount_micros), posting, unpaid

    return [(metering, "post", again)]


@_plant("owner's and platform's parts are rounded each for itself")
def parts_do_not_add_up() -> list[Patch]:
    def floors(meter: metering.Meter, net_micros: int) -> tuple[int, int]:
        share = meter.owner_share_percent
        return net_micros * share // 100, net_micros * (100 - share) // 100

    return [(metering, "split", floors)]


@_plant("the rest of a hold is never given back")
def hold_kept() -> list[Patch]:
    settle = settling.settle
    return [(settling, "settle", lambda *a, **k: replace(settle(*a, **k), release_micros=0))]
