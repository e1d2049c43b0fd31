"""The bill against an oracle that knows what truly ran, over thousands of job-hours with failovers, to the micro-unit.

No database: the meter's own decisions (production runs the same functions) and an oracle with arithmetic of its own.
The database's part, with a teller that dies at any statement, is tests/integration/billing/test_oracle.py.
"""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise

from gp4u_server.billing import metering, settling
from gp4u_server.billing.metering import Ended, Interrupted, Meter, Ran, Restored

from tests.checks.scale import scaled

T0 = datetime(2026, 1, 1, tzinfo=UTC)
JOB_HOURS = scaled(10_000)
LAG_S = 5.0
PLENTY = 10**18


def microseconds(span: timedelta) -> int:
    return span // timedelta(microseconds=1)


def rounded(amount: Fraction) -> int:
    """Half to even; Python's own rule for fractions."""
    return round(amount)


class Life:
    """One job: what is told to its meters, and what the oracle writes down beside it."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now = T0 + timedelta(microseconds=self.rng.randrange(10**9))
        self.billed: list[tuple[datetime, datetime]] = []
        self.ran_us = 0
        self.owner = self.platform = self.refunded = 0

    def some_time(self, most_s: int) -> datetime:
        self.now += timedelta(microseconds=self.rng.randrange(1, most_s * 1_000_000))
        return self.now

    def live(self) -> None:
        floor = None
        for _ in range(self.rng.randrange(1, 6)):  # each a node that dies, or the last one
            floor = self.placement(floor)

    def tell(self, meter: Meter, event: metering.Event) -> Meter:
        told, _ = metering.observe(meter, event)
        if self.rng.random() < 0.3:  # at least once, so sometimes twice
            told, effects = metering.observe(told, event)
            if not isinstance(event, Restored | Ran):
                assert effects == []
        return told

    def placement(self, floor: datetime | None) -> datetime | None:
        rate, share = self.rng.randrange(1_000, 5_000_000), self.rng.choice([80, 85])
        meter = Meter(rate, share, floor=floor)
        start = self.some_time(300)
        meter = self.tell(meter, Ran(start))
        covered: list[tuple[datetime, datetime]] = []
        posted_through = None
        for _ in range(self.rng.randrange(1, 8)):
            for _ in range(self.rng.randrange(1, 5)):
                now = self.some_time(7_200)
                through = settling.confirmed_through(
                    meter, now, confirm_lag_s=LAG_S, vouched=None, posted_through=posted_through
                )
                meter = self.post(meter, through)
                posted_through = through
            if self.rng.random() < 0.5:
                continue
            # Beats go missing: confirmed until a moment that may lie before what was posted already.
            until = max(start, self.now - timedelta(microseconds=self.rng.randrange(8_000_000)))
            covered.append((start, until))
            meter = self.tell(meter, Interrupted(until))
            start = until if self.rng.random() < 0.2 else self.some_time(60)
            meter = self.tell(meter, Restored(start))
        end = self.some_time(600)
        covered.append((start, end))
        meter = self.tell(meter, Ended(end))
        lost_from = None
        if self.rng.random() < 0.5:
            first = covered[0][0]
            saved = first + timedelta(microseconds=self.rng.randrange(microseconds(end - first) + 1))
            saved_until = None if self.rng.random() < 0.1 else saved
            lost_from = metering.lose(meter, saved_until).lost_from
            cut = saved_until or first
            covered_and_saved = [(a, min(b, cut)) for a, b in covered if a < cut]
        else:
            covered_and_saved = covered
        final = settling.settle(
            meter, lost_from, self.now, hold_micros=PLENTY, wallet_micros=0, limit_micros=None
        )
        for posting in (final.charge, final.refund):
            self.owner += posting.owner_micros
            self.platform += posting.platform_micros
            self.refunded -= min(posting.amount_micros, 0)
        assert final.unpaid_micros == 0
        truth_us = sum(microseconds(b - a) for a, b in covered_and_saved)
        self.ran_us += sum(microseconds(b - a) for a, b in covered)
        assert final.meter.net_micros == rounded(Fraction(rate * truth_us, 3_600_000_000))
        self.billed += [(i.started_at, i.ended_at or end) for i in meter.intervals]
        assert self.owner + self.platform == self.net(final.meter.net_micros)
        return meter.intervals[-1].ended_at

    def post(self, meter: Meter, through: datetime) -> Meter:
        after, posting, unpaid = metering.post(meter, through, payable_micros=PLENTY)
        assert unpaid == 0
        self.owner += posting.owner_micros
        self.platform += posting.platform_micros
        self.refunded -= min(posting.amount_micros, 0)
        return after

    total = 0

    def net(self, placement_net: int) -> int:
        self.total += placement_net
        return self.total


def test_h4_double_charge_over_many_job_hours_with_failovers() -> None:
    hours, seed, refunds = 0.0, 0, 0
    while hours < JOB_HOURS:
        life = Life(seed)
        life.live()
        in_order = sorted(life.billed)
        assert in_order == life.billed, "told in the order of time"
        assert all(a[1] <= b[0] for a, b in pairwise(in_order)), "no second twice"
        hours += life.ran_us / 3_600_000_000
        refunds += life.refunded > 0
        seed += 1
    assert refunds > seed // 4


def test_the_oracle_sees_a_second_that_is_billed_twice() -> None:
    """A meter that forgets where the job's earlier time ended bills it again, and the intervals say so."""
    first, _ = metering.observe(Meter(1_000, 80), Ran(T0))
    first, _ = metering.observe(first, Ended(T0 + timedelta(hours=1)))
    forgetful, _ = metering.observe(replace(Meter(1_000, 80), floor=None), Ran(T0 + timedelta(minutes=30)))
    assert forgetful.intervals[0].started_at < (first.intervals[-1].ended_at or T0)
