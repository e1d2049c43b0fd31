"""States of jobs and placements, and the kinds of timeline entries."""

from enum import StrEnum


class JobState(StrEnum):
    """Where a job stands, as its renter sees it."""

    QUEUED = "queued"  # waits for a placement; not billed
    STARTING = "starting"  # placed; pulling, restoring or starting; not billed
    RUNNING = "running"
    RECOVERING = "recovering"  # its node is lost; waits for the next placement; not billed
    STOPPING = "stopping"  # final checkpoint, then the end
    DONE = "done"  # the command exited 0
    FAILED = "failed"  # see reason
    STOPPED = "stopped"  # ended because somebody or a limit said so; see reason

    @property
    def is_final(self) -> bool:
        return self in FINAL_JOB_STATES


FINAL_JOB_STATES = frozenset({JobState.DONE, JobState.FAILED, JobState.STOPPED})


class PlacementState(StrEnum):
    """Where one placement stands, as the server knows it."""

    OFFERED = "offered"
    CLAIMED = "claimed"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    ENDED = "ended"


class Outcome(StrEnum):
    """How a placement ended."""

    DONE = "done"
    FAILED = "failed"  # the command exited non-zero or was killed by its own limits
    STOPPED = "stopped"
    START_FAILED = "start_failed"
    LOST = "lost"  # the node's lease ran out
    MOVED = "moved"  # ended with notice, so that the job goes on elsewhere

    @property
    def gives_unsaved_work_back(self) -> bool:
        """Whether running time after the last committed checkpoint is given back to the renter."""
        return self in (Outcome.LOST, Outcome.MOVED)


class EventKind(StrEnum):
    """Entries of a job's timeline."""

    QUEUED = "queued"
    MATCHED = "matched"
    WAITING = "waiting"  # nothing fits now; detail says what would
    STARTING = "starting"
    RESTORING = "restoring"
    RUNNING = "running"
    ARRIVING = "arriving"  # it started while lazy files of its checkpoint still arrive; all of them are there
    CHECKPOINT = "checkpoint"
    NODE_SUSPECT = "node_suspect"
    NODE_BACK = "node_back"
    NODE_LOST = "node_lost"
    MOVING = "moving"  # its node is taken out of service; final checkpoint, then it goes on elsewhere
    FAILED_OVER = "failed_over"
    RESUMED = "resumed"
    RETRYING = "retrying"
    STOPPING = "stopping"
    STOPPED = "stopped"
    DONE = "done"
    FAILED = "failed"
    REFUNDED = "refunded"
    ATTRIBUTED = "attributed"  # what a lost or failed run was put down to
    STANDBY = "standby"  # a hot job's second node: chosen, ready, gone, or none at present
