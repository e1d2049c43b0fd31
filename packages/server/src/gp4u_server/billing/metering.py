"""The meter: PURE. (state, event) → (state, effects), the events carry their instants. Production and the simulations run this code.

All instants are the server's. A fact told twice, late or out of order never bills a second twice: an interval never
starts before the end of the one before it, and never ends before it starts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gp4u_server.billing.types import ReceiptLine, Why
from gp4u_server.kit.money import allocate, charge_for

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Interval:
    """Confirmed running time; open while `ended_at` is None."""

    seq: int
    started_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True)
class Meter:
    """A booking's meter. `net_micros` is what is posted: charges less refunds."""

    rate_per_hour_micros: int
    owner_share_percent: int
    intervals: tuple[Interval, ...] = ()
    floor: datetime | None = None  # the end of this job's time under earlier epochs
    lost_from: datetime | None = None
    net_micros: int = 0
    ended_at: datetime | None = None

    @property
    def open_interval(self) -> Interval | None:
        """The interval that is running now."""
        return self.intervals[-1] if self.intervals and self.intervals[-1].ended_at is None else None


@dataclass(frozen=True)
class Ran:
    """The job is proven ready."""

    at: datetime


@dataclass(frozen=True)
class Interrupted:
    """Running time is confirmed until `covered_until` and not after."""

    covered_until: datetime


@dataclass(frozen=True)
class Restored:
    """The node came back with the job unharmed."""

    at: datetime


@dataclass(frozen=True)
class Ended:
    """The placement is over."""

    at: datetime


Event = Ran | Interrupted | Restored | Ended


@dataclass(frozen=True)
class StoreInterval:
    """Effect: insert or change this interval."""

    interval: Interval


@dataclass(frozen=True)
class Posting:
    """Effect: move money. Positive: from the hold to owner and platform; negative: back to the renter."""

    through: datetime
    amount_micros: int
    owner_micros: int
    platform_micros: int


def observe(meter: Meter, event: Event) -> tuple[Meter, list[StoreInterval]]:
    """What `event` does to the intervals. After the end nothing changes any more."""
    if meter.ended_at is not None:
        return meter, []
    match event:
        case Ran(at) | Restored(at):
            return _open(meter, at)
        case Interrupted(covered_until):
            return _close(meter, covered_until)
        case Ended(at):
            return _end(meter, at)


def _open(meter: Meter, at: datetime) -> tuple[Meter, list[StoreInterval]]:
    if meter.open_interval is not None:
        return meter, []
    last = meter.intervals[-1].ended_at if meter.intervals else meter.floor
    started_at = at if last is None else max(at, last)
    interval = Interval(len(meter.intervals), started_at, None)
    return replace(meter, intervals=(*meter.intervals, interval)), [StoreInterval(interval)]


def _close(meter: Meter, at: datetime) -> tuple[Meter, list[StoreInterval]]:
    interval = meter.open_interval
    if interval is None:
        return meter, []
    closed = replace(interval, ended_at=max(at, interval.started_at))
    return replace(meter, intervals=(*meter.intervals[:-1], closed)), [StoreInterval(closed)]


def _end(meter: Meter, at: datetime) -> tuple[Meter, list[StoreInterval]]:
    """Nothing ran after `at`, also where the process had ended before beats went missing and came back."""
    intervals = tuple(
        replace(interval, ended_at=max(at, interval.started_at))
        if interval.ended_at is None or interval.ended_at > at
        else interval
        for interval in meter.intervals
    )
    effects = [
        StoreInterval(after)
        for before, after in zip(meter.intervals, intervals, strict=True)
        if before != after
    ]
    return replace(meter, intervals=intervals, ended_at=at), effects


def lose(meter: Meter, saved_until: datetime | None) -> Meter:
    """Mark the work after `saved_until` as lost; all of it when nothing was ever saved."""
    if not meter.intervals:
        return meter
    start = meter.intervals[0].started_at
    return replace(meter, lost_from=start if saved_until is None else max(saved_until, start))


def billable_us(meter: Meter, until: datetime) -> int:
    """Microseconds to be paid for, up to `until`: confirmed, and not lost."""
    limit = until if meter.lost_from is None else min(until, meter.lost_from)
    return sum(_overlap_us(interval, limit) for interval in meter.intervals)


def lost_us(meter: Meter, until: datetime) -> int:
    """Microseconds of work that were done, up to `until`, and lost."""
    return billable_us(replace(meter, lost_from=None), until) - billable_us(meter, until)


def _overlap_us(interval: Interval, limit: datetime) -> int:
    end = limit if interval.ended_at is None else min(interval.ended_at, limit)
    return max(0, (end - interval.started_at) // _MICROSECOND)


def owed_micros(meter: Meter, until: datetime) -> int:
    """The whole price of the time up to `until`, computed on the cumulated time."""
    return charge_for(meter.rate_per_hour_micros, billable_us(meter, until))


def split(meter: Meter, net_micros: int) -> tuple[int, int]:
    """Owner's and platform's parts of a net amount."""
    owner, platform = allocate(net_micros, [meter.owner_share_percent, 100 - meter.owner_share_percent])
    return owner, platform


def post(meter: Meter, through: datetime, *, payable_micros: int) -> tuple[Meter, Posting, int]:
    """Bring what is posted to what is owed at `through`, charging at most `payable_micros` more.

    Answers the new state, the posting (its amount may be 0) and how much of what is owed could not be paid. The
    parts move by the difference of the splits of the whole, so they are exact however often it is posted.
    """
    difference = owed_micros(meter, through) - meter.net_micros
    amount = min(difference, max(payable_micros, 0))
    owner_before, platform_before = split(meter, meter.net_micros)
    after = replace(meter, net_micros=meter.net_micros + amount)
    owner, platform = split(after, after.net_micros)
    posting = Posting(through, amount, owner - owner_before, platform - platform_before)
    return after, posting, max(difference, 0) - max(amount, 0)


def receipt_lines(meter: Meter) -> Sequence[ReceiptLine]:
    """The bill's lines in order: what ran, what stood still, what was lost."""
    lines: list[ReceiptLine] = []
    previous_end: datetime | None = None
    for interval in meter.intervals:
        start, end = interval.started_at, interval.ended_at
        if start == end:
            continue  # it began after the process had ended
        if start == previous_end and lines and lines[-1].why is Why.RAN and _all_billed(meter, end):
            # The link was gone for less than the lease: the job never stood still.
            lines[-1] = replace(lines[-1], ended_at=end)
            previous_end = end
            continue
        if previous_end is not None and start > previous_end:
            lines.append(ReceiptLine(previous_end, start, False, Why.FROZEN))
        cut = meter.lost_from
        if cut is None or _all_billed(meter, end):
            lines.append(ReceiptLine(start, end, True, Why.RAN))
        elif start >= cut:
            lines.append(ReceiptLine(start, end, False, Why.LOST_WORK))
        else:
            lines.append(ReceiptLine(start, cut, True, Why.RAN))
            lines.append(ReceiptLine(cut, end, False, Why.LOST_WORK))
        previous_end = end
    return lines


def _all_billed(meter: Meter, end: datetime | None) -> bool:
    return meter.lost_from is None or (end is not None and end <= meter.lost_from)
