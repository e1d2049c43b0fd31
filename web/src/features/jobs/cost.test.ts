import { expect, it } from "vitest";
import { runningCost } from "./cost";

const facts = {
  chargedMicros: 0,
  refundedMicros: 0,
  bookingChargedMicros: 0,
  ratePerHourMicros: 3_600_000,
  meteredSinceMs: 0,
  nowMs: 0,
};

it("goes on by the rate between postings and never steps back when one arrives", () => {
  expect(runningCost({ ...facts, nowMs: 30_000 })).toBe(30_000);
  const before = runningCost({ ...facts, nowMs: 60_000 });
  const posted = runningCost({
    ...facts,
    nowMs: 60_000,
    chargedMicros: 60_000,
    bookingChargedMicros: 60_000,
  });
  expect(before).toBe(60_000);
  expect(posted).toBe(60_000);
});

it("keeps what earlier placements cost, less what was given back", () => {
  expect(
    runningCost({
      ...facts,
      chargedMicros: 100_000,
      refundedMicros: 10_000,
      bookingChargedMicros: 0,
      nowMs: 5_000,
    }),
  ).toBe(95_000);
});

it("stands still while nothing is metered, and for a clock that runs behind", () => {
  expect(runningCost({ ...facts, chargedMicros: 7, meteredSinceMs: null, nowMs: 9_999_999 })).toBe(7);
  expect(runningCost({ ...facts, meteredSinceMs: 10_000, nowMs: 0 })).toBe(0);
});
