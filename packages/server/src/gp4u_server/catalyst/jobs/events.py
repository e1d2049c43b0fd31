"""Facts about jobs and placements. Bookings and billing hear them in the same transaction."""

from datetime import datetime
from typing import ClassVar

from gp4u_server.catalyst.jobs.types import JobState, Outcome
from gp4u_server.foundation.events import Event


class JobEvent(Event):
    """Base: every fact about a job carries its id and its renter's."""

    job_id: str
    renter_id: str

    @property
    def key(self) -> str:
        return self.job_id


class TimelineGrew(JobEvent):
    """A row was added to job_events; streams wake up and read it."""

    topic: ClassVar[str] = "job.timeline_grew"
    event_id: int


class LogGrew(JobEvent):
    """Output arrived."""

    topic: ClassVar[str] = "job.log_grew"


class PlacementRan(JobEvent):
    """The job is proven ready: from `at` (server time) on it is metered."""

    topic: ClassVar[str] = "placement.ran"
    placement_id: str
    epoch: int
    booking_id: str
    at: datetime


class LeaseInterrupted(JobEvent):
    """Beats went missing: running time is confirmed only until `covered_until`."""

    topic: ClassVar[str] = "placement.lease_interrupted"
    placement_id: str
    epoch: int
    booking_id: str
    covered_until: datetime


class LeaseRestored(JobEvent):
    """The node came back before it was replaced: metering goes on from `at`."""

    topic: ClassVar[str] = "placement.lease_restored"
    placement_id: str
    epoch: int
    booking_id: str
    at: datetime


class PlacementEnded(JobEvent):
    """A placement is over. For LOST, work after `saved_until` (the last committed checkpoint of this placement,
    or the instant it began to run) is lost and goes back to the renter."""

    topic: ClassVar[str] = "placement.ended"
    placement_id: str
    epoch: int
    booking_id: str
    outcome: Outcome
    at: datetime
    saved_until: datetime | None


class CheckpointSaved(JobEvent):
    """A hot job has a newer restore point: whoever stands by for it fetches it. Said of hot jobs only."""

    topic: ClassVar[str] = "job.checkpoint_saved"
    checkpoint_id: str
    epoch: int
    seq: int
    at: datetime


class JobEnded(JobEvent):
    """The job reached a final state."""

    topic: ClassVar[str] = "job.ended"
    state: JobState
    reason: str | None
    at: datetime
