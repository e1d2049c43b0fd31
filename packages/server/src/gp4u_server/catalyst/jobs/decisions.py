"""What becomes of a job when something happened to its placement. Pure: facts in, verdict out."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from gp4u_protocol.job_spec import OnNodeLoss, Protection
from gp4u_protocol.messages import ActualState, Arriving

from gp4u_server.catalyst.jobs.notice import preemption_pause_s
from gp4u_server.catalyst.jobs.types import JobState, Outcome, PlacementState

START_FAILURES_MAX = 3
"""Starts that may fail in a row through the job's own doing before it is given up."""
HOST_FAILURES_MAX = 8
"""Starts in a row that may fail through hosts (never claimed, fetch broke off) before the job is given up."""
RETRY_DELAYS_S = (1.0, 5.0, 15.0, 30.0, 60.0)
QUEUE_WAIT_S_MAX = 86_400
"""A job that never ran is given up after this long: an acknowledged job always ends."""
STOP_OVERDUE_S = 90.0
"""A stop that the node has not confirmed after this long (grace 30 s, final checkpoint) is taken as done."""
UNCONFIRMED_MOVE_PAUSE_S = 60.0
"""A job that moves away and whose node never confirmed the stop is placed this much later: nobody renews the old run's
lease any more, and by then it has run out wherever the node is (a gateway's authority 10 s, the lease 5 s, drift)."""

HOST_FAULTS = frozenset({"not_claimed", "node_offline", "fetch_failed", "restore_failed", "agent_error"})
"""Reasons of a failed start that say nothing about the job."""

PLACEMENT_STATES: dict[ActualState, PlacementState] = {
    ActualState.CLAIMED: PlacementState.CLAIMED,
    ActualState.FETCHING: PlacementState.STARTING,
    ActualState.RESTORING: PlacementState.STARTING,
    ActualState.RUNNING: PlacementState.RUNNING,
    ActualState.STOPPING: PlacementState.STOPPING,
}
"""Reported states in which a placement goes on. FROZEN is missing: the lease table knows better."""

SENTENCES = {
    "out_of_memory": "The job used more memory than it asked for and was ended. Ask for more in resources.memory_gb.",
    "disk_full": "The job filled its disk and was ended. Ask for more in resources.disk_gb.",
    "node_lost": "The node was lost and the job was submitted without protection.",
    "start_failed": "The job could not be started, several times in a row.",
    "duration_reached": "The job reached its longest duration and was stopped.",
    "budget_reached": "The job reached its budget and was stopped.",
    "wallet_empty": "The wallet ran dry, so the job was stopped after a final checkpoint.",
    "by_renter": "Stopped by the renter.",
    "no_capacity": "No node could take the job for a whole day. Ask for less, raise the price cap or allow more regions.",
    "never_started": (
        "Nodes took the job but for a whole day it never got to run. Its output and timeline say how far it came; try "
        "another GPU model or offer, or a smaller folder."
    ),
    "deadline_reached": "The job's deadline came before its end, so it was stopped. Its last checkpoint is kept.",
    "stop_on_node_loss": (
        "Its node was lost, and its policy for that is to stop (failover.on_node_loss). Its last checkpoint is kept."
    ),
    "moves_used_up": (
        "Its node was lost after it had moved as often as it may (failover.max_moves). Its last checkpoint is kept."
    ),
    "node_drained": "The node was taken out of service and the job was submitted without protection.",
    "preempted": "An on-demand job needed the GPUs, and the job was submitted without protection.",
    "not_claimed": "The node did not take the job in time.",
}


@dataclass(frozen=True)
class JobFacts:
    """What the verdict depends on. `moving`: its placement has notice to leave, so that it goes on elsewhere; `preempted`: for
    an on-demand job, the `preemptions`-th time in a row."""

    protection: Protection
    has_run: bool
    stop_reason: str | None
    start_failures: int
    on_node_loss: OnNodeLoss = OnNodeLoss.MOVE
    moves: int = 0
    moves_max: int | None = None
    moving: bool = False
    preempted: bool = False
    preemptions: int = 0


@dataclass(frozen=True)
class Verdict:
    """How the placement ended and where the job goes. `retry_after_s` is set when it is placed again."""

    outcome: Outcome
    state: JobState
    reason: str | None = None
    detail: str | None = None
    retry_after_s: float | None = None
    start_failures: int = 0


FINISHED_LATE = Verdict(Outcome.DONE, JobState.DONE)
"""It had exited 0 with everything saved before its run was given up; the report came late, but before another run began."""


def retry_delay_s(failures: int) -> float:
    """Back-off before attempt number `failures` + 1."""
    return RETRY_DELAYS_S[min(failures, len(RETRY_DELAYS_S)) - 1] if failures > 0 else 0.0


def after_exit(
    facts: JobFacts, exit_code: int | None, signal: int | None, reason: str | None, detail: str | None
) -> Verdict:
    """The job's process ended by itself. Never a failover: another node would see the same."""
    if exit_code == 0:
        return Verdict(Outcome.DONE, JobState.DONE)
    if facts.stop_reason is not None:
        return Verdict(Outcome.STOPPED, JobState.STOPPED, facts.stop_reason, SENTENCES.get(facts.stop_reason))
    if facts.moving:
        return after_moved(facts)  # it was told to end; how it did says nothing about it
    if reason is None:
        reason = f"signal_{signal}" if signal else f"exit_{exit_code}"
    if detail is None:
        ended = f"was ended by signal {signal}" if signal else f"exited with code {exit_code}"
        detail = SENTENCES.get(reason, f"The command {ended}. Its output says more.")
    return Verdict(Outcome.FAILED, JobState.FAILED, reason, detail)


def after_stopped(facts: JobFacts, reason: str | None) -> Verdict:
    """The node ended the job because it was told to."""
    if facts.moving and facts.stop_reason is None:
        return after_moved(facts)
    why = facts.stop_reason or reason or "by_platform"
    return Verdict(Outcome.STOPPED, JobState.STOPPED, why, SENTENCES.get(why))


def after_start_failed(facts: JobFacts, reason: str | None, detail: str | None) -> Verdict:
    """It never ran here. Tried elsewhere with back-off; the job's own failures end it soon."""
    if facts.stop_reason is not None:
        return Verdict(
            Outcome.START_FAILED, JobState.STOPPED, facts.stop_reason, SENTENCES.get(facts.stop_reason)
        )
    if facts.moving:
        return after_moved(facts)  # it was told to leave before it ran
    failures = facts.start_failures + 1
    limit = HOST_FAILURES_MAX if reason in HOST_FAULTS else START_FAILURES_MAX
    if failures >= limit:
        said = detail or SENTENCES.get(reason or "", "")
        return Verdict(
            Outcome.START_FAILED,
            JobState.FAILED,
            "start_failed",
            " ".join(part for part in (SENTENCES["start_failed"], said) if part),
            start_failures=failures,
        )
    return Verdict(
        Outcome.START_FAILED,
        JobState.RECOVERING if facts.has_run else JobState.QUEUED,
        retry_after_s=retry_delay_s(failures),
        start_failures=failures,
    )


def after_lost(facts: JobFacts) -> Verdict:
    """The node's lease ran out, or the node gave the run up."""
    if facts.stop_reason is not None:
        return Verdict(Outcome.LOST, JobState.STOPPED, facts.stop_reason, SENTENCES.get(facts.stop_reason))
    if facts.protection is Protection.NONE:
        return Verdict(Outcome.LOST, JobState.FAILED, "node_lost", SENTENCES["node_lost"])
    return _going_on(facts, Outcome.LOST)


def after_moved(facts: JobFacts, *, confirmed: bool = True) -> Verdict:
    """The run ended because its node is taken out of service. `confirmed`: the node itself says that it ended."""
    if facts.stop_reason is not None:
        return Verdict(Outcome.MOVED, JobState.STOPPED, facts.stop_reason, SENTENCES.get(facts.stop_reason))
    if facts.protection is Protection.NONE and facts.has_run:
        why = "preempted" if facts.preempted else "node_drained"
        return Verdict(Outcome.MOVED, JobState.FAILED, why, SENTENCES[why])
    pause_s = preemption_pause_s(facts.preemptions) if facts.preempted else 0.0
    return _going_on(facts, Outcome.MOVED, pause_s if confirmed else max(pause_s, UNCONFIRMED_MOVE_PAUSE_S))


def _going_on(facts: JobFacts, outcome: Outcome, pause_s: float = 0.0) -> Verdict:
    """What the job's own policy says. A job that has not run yet has lost nothing and simply waits again."""
    if facts.has_run:
        why = None
        if facts.on_node_loss is OnNodeLoss.STOP:
            why = "stop_on_node_loss"
        elif facts.moves_max is not None and facts.moves >= facts.moves_max:
            why = "moves_used_up"
        if why is not None:
            return Verdict(outcome, JobState.STOPPED, why, SENTENCES[why])
    return Verdict(
        outcome,
        JobState.RECOVERING if facts.has_run else JobState.QUEUED,
        retry_after_s=pause_s,
        start_failures=facts.start_failures,
    )


def overdue(
    now: datetime,
    *,
    created_at: datetime,
    started_at: datetime | None,
    duration_s_max: int,
    deadline_s: int | None = None,
    is_placed: bool = False,
) -> str | None:
    """The reason for which the job must end now, if any. `is_placed`: a node has it, though it never ran."""
    if deadline_s is not None and now >= created_at + timedelta(seconds=deadline_s):
        return "deadline_reached"
    if started_at is not None:
        return "duration_reached" if now >= started_at + timedelta(seconds=duration_s_max) else None
    if now < created_at + timedelta(seconds=QUEUE_WAIT_S_MAX):
        return None
    return "never_started" if is_placed else "no_capacity"


def started_without(arriving: Arriving) -> str:
    """The headline of a start before all files of the checkpoint are there."""
    here = arriving.bytes_total - arriving.bytes
    one = arriving.files == 1
    return (
        f"Started with {_size(here)} of {_size(arriving.bytes_total)} restored; "
        f"{arriving.files} {'file' if one else 'files'} still arriving"
    )


def all_arrived() -> str:
    """The headline of the moment when the last of them is."""
    return "All files of the checkpoint are there"


def _size(count: int) -> str:
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"


TITLES = {
    "no_capacity": "No node was free",
    "never_started": "Never started",
    "deadline_reached": "Deadline reached",
    "stop_on_node_loss": "Stopped, as its policy says",
    "moves_used_up": "Stopped: no moves left",
}
"""Headlines of ends that `Failed` and `Stopped` would not explain."""
