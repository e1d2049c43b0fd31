"""Reports of one placement: numbered, kept on disk until acknowledged, so that no restart loses the end of a job."""

import logging
from dataclasses import dataclass, field
from typing import Any

from gp4u_protocol.messages import ActualState, Report

from gp4u_agent.placement_dir import PlacementDir

PENDING_MAX = 64
SEQ_AFTER_DAMAGE = 500_000
"""Above every number that the unreadable journal may have used: the server passes over numbers that it has seen."""
log = logging.getLogger(__name__)
FINAL_STATES = frozenset(
    {ActualState.EXITED, ActualState.STOPPED, ActualState.START_FAILED, ActualState.KILLED}
)


@dataclass
class ReportJournal:
    """The unacknowledged reports of one placement and epoch, oldest first."""

    folder: PlacementDir
    placement_id: str
    epoch: int
    next_seq: int = 1
    pending: list[Report] = field(default_factory=list)
    end_acknowledged: bool = False

    @classmethod
    def load(cls, folder: PlacementDir, placement_id: str, epoch: int) -> "ReportJournal":
        """What an earlier run of the agent left, or an empty one."""
        journal = cls(folder, placement_id, epoch)
        document = folder.read(folder.path / "reports.json")
        if document is not None:
            try:
                pending = [Report.model_validate(entry) for entry in document["pending"]]
                journal.next_seq = int(document["next_seq"])
                journal.end_acknowledged = bool(document["end_acknowledged"])
                journal.pending = pending
            except (KeyError, TypeError, ValueError) as error:
                log.warning("%s: its reports cannot be read: %s", placement_id, error)
                journal.next_seq = SEQ_AFTER_DAMAGE
        return journal

    @property
    def ended(self) -> bool:
        """Whether the end was already said."""
        return self.end_acknowledged or any(report.state in FINAL_STATES for report in self.pending)

    def add(self, state: ActualState, **fields: Any) -> Report:
        """Write a new report down; sending it comes after."""
        report = Report(
            seq=self.next_seq, placement_id=self.placement_id, epoch=self.epoch, state=state, **fields
        )
        self.next_seq += 1
        self.pending.append(report)
        if len(self.pending) > PENDING_MAX:
            # A long outage: freezing and thawing is the only thing that repeats, and only its last word matters.
            del self.pending[1]
        self._keep()
        return report

    def acknowledge(self, seq: int) -> None:
        """The gateway has everything up to `seq`."""
        done = [report for report in self.pending if report.seq <= seq]
        if done:
            self.pending = [report for report in self.pending if report.seq > seq]
            self.end_acknowledged = self.end_acknowledged or any(r.state in FINAL_STATES for r in done)
            self._keep()

    def _keep(self) -> None:
        if not self.folder.path.is_dir():
            return
        document = {
            "next_seq": self.next_seq,
            "pending": [report.model_dump(mode="json") for report in self.pending],
            "end_acknowledged": self.end_acknowledged,
        }
        try:
            self.folder.write(self.folder.path / "reports.json", document)
        except OSError as error:
            # A full disk must not end the agent, and with it all leases of the node: it is sent from memory.
            log.warning("%s: reports cannot be kept on disk: %s", self.placement_id, error)
