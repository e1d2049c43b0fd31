"""The network as heartbeats see it: the time from each to its answer."""

from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

LATE_S = 2.0
"""A heartbeat that is answered later, or never, counts as lost. Below TCP a lost packet is sent again, so what an
application sees of it is a late answer."""
KEPT_MAX = 600


@dataclass(frozen=True)
class LinkReading:
    """Since the reading before; None where no heartbeat was sent."""

    rtt_ms: float | None
    jitter_ms: float | None
    loss_percent: float | None


@dataclass
class LinkMeter:
    """Fed by the connection, read by the sampler. All instants are monotonic seconds."""

    _waiting: dict[int, float] = field(default_factory=dict)
    _times_ms: list[float] = field(default_factory=list)
    _lost: int = 0

    def began(self) -> None:
        """A session began: its numbers start anew, and what the last one still owed is lost."""
        self._lost += len(self._waiting)
        self._waiting.clear()

    def sent(self, seq: int, now_s: float) -> None:
        """A heartbeat goes out."""
        if len(self._waiting) < KEPT_MAX:
            self._waiting[seq] = now_s

    def answered(self, seq: int, now_s: float) -> None:
        """Its answer is here."""
        sent_s = self._waiting.pop(seq, None)
        if sent_s is None:
            return
        took_s = now_s - sent_s
        if took_s > LATE_S:
            self._lost += 1
        if len(self._times_ms) < KEPT_MAX:
            self._times_ms.append(took_s * 1000)

    def take(self, now_s: float) -> LinkReading:
        """What was seen since the last call."""
        late = [seq for seq, sent_s in self._waiting.items() if now_s - sent_s > LATE_S]
        for seq in late:
            del self._waiting[seq]
        lost = self._lost + len(late)
        # A late answer is among the times as well as among the lost.
        in_time = sum(took <= LATE_S * 1000 for took in self._times_ms)
        times, self._times_ms, self._lost = self._times_ms, [], 0
        steps = [abs(after - before) for before, after in pairwise(times)]
        return LinkReading(
            rtt_ms=round(median(times), 3) if times else None,
            jitter_ms=round(sum(steps) / len(steps), 3) if steps else None,
            loss_percent=round(100 * lost / (lost + in_time), 2) if lost + in_time else None,
        )
