import type { Schemas } from "@/api/client";

export type Reading = Schemas["ReadingOut"];

export const SPANS = [
  { key: "1h", label: "1 h", seconds: 3_600 },
  { key: "6h", label: "6 h", seconds: 21_600 },
  { key: "1d", label: "1 d", seconds: 86_400 },
  { key: "7d", label: "7 d", seconds: 604_800 },
  { key: "30d", label: "30 d", seconds: 2_592_000 },
] as const;
export type SpanKey = (typeof SPANS)[number]["key"];

export const spanOf = (key: string | null) => SPANS.find((span) => span.key === key) ?? SPANS[0];

/** Read anew about as often as there is a new point, and never more often than a sample is taken. */
export const refreshMs = (seconds: number): number => Math.max(10_000, (seconds / 600) * 1000);

const LABELS: Record<string, string> = {
  load_1m: "Load",
  utilisation_percent: "Utilisation",
  memory_used_mb: "Memory",
  disk_free_mb: "Disk free",
  disk_read_mb_s: "Disk read",
  disk_write_mb_s: "Disk write",
  disk_latency_ms: "Disk latency",
  rtt_ms: "Round trip",
  jitter_ms: "Jitter",
  loss_percent: "Late answers",
  clock_offset_ms: "Clock offset",
  temperature_c: "Temperature",
  power_w: "Power",
  sm_clock_mhz: "SM clock",
  memory_clock_mhz: "Memory clock",
  throttle_thermal: "Throttled: heat",
  throttle_power: "Throttled: power",
  throttle_hardware: "Throttled: hardware",
  ecc_corrected: "ECC corrected",
  ecc_uncorrected: "ECC uncorrected",
  retired_pages: "Retired pages",
  row_remaps: "Row remaps",
  row_remap_failure: "Remap failure",
  pcie_gen: "PCIe generation",
  pcie_width: "PCIe lanes",
  pcie_replays: "PCIe replays",
  xids: "XIDs",
};

/** A metric that this version of the page does not know is shown by its name. */
export const labelOf = (metric: string): string => LABELS[metric] ?? metric.replaceAll("_", " ");

/** In the order of `LABELS`, what is unknown at the end. */
export function inOrder(metrics: readonly string[]): string[] {
  const known = Object.keys(LABELS);
  const place = (metric: string) => (known.includes(metric) ? known.indexOf(metric) : known.length);
  return [...metrics].sort((a, b) => place(a) - place(b) || a.localeCompare(b));
}

const BARE_UNITS = new Set([
  "processes",
  "flag",
  "generation",
  "lanes",
  "events",
  "errors",
  "pages",
  "rows",
  "replays",
]);

/** What stands behind a number; counts need nothing. */
export const unitOf = (reading: Reading): string => (BARE_UNITS.has(reading.unit) ? "" : ` ${reading.unit}`);

export function last(values: readonly (number | null)[]): number | null {
  for (let index = values.length - 1; index >= 0; index -= 1) {
    const value = values[index];
    if (value !== null && value !== undefined) return value;
  }
  return null;
}

/** uPlot's columns: instants, mean, low, high. Where steps are missing the line is broken: nobody read anything there. */
export function columns(
  at: readonly string[],
  reading: Reading,
  stepS: number,
): [number[], (number | null)[], (number | null)[], (number | null)[]] {
  const times: number[] = [];
  const mean: (number | null)[] = [];
  const low: (number | null)[] = [];
  const high: (number | null)[] = [];
  at.forEach((instant, index) => {
    const time = Date.parse(instant) / 1000;
    const before = times.at(-1);
    if (before !== undefined && time - before > stepS * 2.5) {
      times.push(before + stepS);
      mean.push(null);
      low.push(null);
      high.push(null);
    }
    times.push(time);
    mean.push(reading.mean[index] ?? null);
    low.push(reading.low[index] ?? null);
    high.push(reading.high[index] ?? null);
  });
  return [times, mean, low, high];
}

/** The axis of a reading that never changed, which still needs a height; null when it did change. What is never below zero
    is drawn from zero, with the line in the middle, or on the floor when it is zero. */
export function flatRange(low: number, high: number): [number, number] | null {
  if (low !== high) return null;
  if (low === 0) return [0, 1];
  return low > 0 ? [0, 2 * low] : [2 * low, 0];
}
