/**
 * Time as the server sees it. A visitor's clock may be minutes off, and then "12 s ago" and the running cost would
 * be wrong; the Date header of every answer corrects it.
 */

/** The header has whole seconds, so a smaller difference says nothing. */
const IGNORED_SKEW_MS = 2_000;
let skewMs = 0;

export function noteServerDate(header: string | null, localNow = Date.now()): void {
  const server = header === null ? Number.NaN : Date.parse(header);
  if (Number.isNaN(server)) return;
  const difference = server - localNow;
  skewMs = Math.abs(difference) < IGNORED_SKEW_MS ? 0 : difference;
}

export const serverNow = (): number => Date.now() + skewMs;
