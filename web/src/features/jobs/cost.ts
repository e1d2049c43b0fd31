/** The running cost between two postings. Pure. */

interface CostFacts {
  readonly chargedMicros: number;
  readonly refundedMicros: number;
  /** Of the booking that runs now, as far as posted. */
  readonly bookingChargedMicros: number;
  readonly ratePerHourMicros: number;
  /** Since when the newest placement is metered; null while it is not. */
  readonly meteredSinceMs: number | null;
  readonly nowMs: number;
}

/**
 * Charges are posted each minute; between two postings the cost goes on by the rate. Never below what is posted, so
 * the figure does not step back when a posting arrives.
 */
export function runningCost(facts: CostFacts): number {
  const posted = facts.chargedMicros - facts.refundedMicros;
  if (facts.meteredSinceMs === null) return posted;
  const seconds = Math.max(0, facts.nowMs - facts.meteredSinceMs) / 1000;
  const accrued = Math.floor((facts.ratePerHourMicros * seconds) / 3600);
  return posted + Math.max(0, accrued - facts.bookingChargedMicros);
}
