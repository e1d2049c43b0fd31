/** Quantities as text. */

const number = new Intl.NumberFormat("en-US", { maximumFractionDigits: 1 });
const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

export const formatNumber = (value: number): string => number.format(value);
export const formatCount = (value: number): string => whole.format(value);

/** Binary units, as disks and memory are counted: "64 MiB". */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(value < 10 ? 1 : 0)} ${units[unit]}`;
}

/** A probability that lies close to 1 needs its decimals: 0.9987 → "99.87 %". */
export function formatPercent(share: number): string {
  const percent = share * 100;
  const digits = percent >= 99 && percent < 100 ? 2 : percent % 1 === 0 ? 0 : 1;
  return `${percent.toFixed(digits)} %`;
}

/** A metric of any size with four significant digits. */
export function formatMetric(value: number): string {
  if (Number.isInteger(value)) return formatCount(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 1e6)) return value.toExponential(2);
  return Number(value.toPrecision(4)).toString();
}

export const plural = (count: number, one: string, many = `${one}s`): string =>
  `${formatCount(count)} ${count === 1 ? one : many}`;
