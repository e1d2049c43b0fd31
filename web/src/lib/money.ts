/** Money is integer micro-units everywhere; this is the one place where it becomes text, and text becomes money. */

const MICROS = 1_000_000;

interface MoneyStyle {
  /** Fraction digits; "rate" shows 2 to 4 (a price per hour), "exact" 2 for whole cents and else 6: columns align. */
  precision?: 2 | 4 | "rate" | "exact";
  sign?: boolean;
}

const DIGITS = {
  2: [2, 2],
  4: [4, 4],
  rate: [2, 4],
  exact: [6, 6],
} as const;

const cache = new Map<string, Intl.NumberFormat>();

function formatter(currency: string, minimum: number, maximum: number, sign: boolean): Intl.NumberFormat {
  const key = `${currency}/${minimum}/${maximum}/${sign}`;
  let found = cache.get(key);
  if (!found) {
    found = new Intl.NumberFormat("en-US", {
      style: "currency",
      currency,
      currencyDisplay: "narrowSymbol",
      minimumFractionDigits: minimum,
      maximumFractionDigits: maximum,
      signDisplay: sign ? "exceptZero" : "auto",
    });
    cache.set(key, found);
  }
  return found;
}

export function formatMoney(micros: number, currency = "USD", style: MoneyStyle = {}): string {
  const cents = micros % (MICROS / 100) === 0;
  const [minimum, maximum] = style.precision === "exact" && cents ? DIGITS[2] : DIGITS[style.precision ?? 2];
  const text = formatter(currency, minimum, maximum, style.sign ?? false).format(micros / MICROS);
  return text.replace("-", "−");
}

/** Reads "1.25" exactly, without a detour over floats. Null when it is not an amount with at most six decimals. */
export function parseMoney(input: string): number | null {
  const match = /^\s*\$?\s*(\d{1,9})(?:\.(\d{0,6}))?\s*$/.exec(input);
  if (!match) return null;
  const [, whole = "0", fraction = ""] = match;
  return Number(whole) * MICROS + Number(fraction.padEnd(6, "0"));
}

/** The plain decimal form for an input field: 600000 → "0.60". */
export function moneyInput(micros: number): string {
  const whole = Math.trunc(micros / MICROS);
  const fraction = String(Math.abs(micros % MICROS))
    .padStart(6, "0")
    .replace(/0{1,4}$/, "");
  return `${whole}.${fraction}`;
}

/** What `rate` costs for `seconds`, as a preview: rounded to whole micro-units. */
export const costOf = (ratePerHourMicros: number, seconds: number): number =>
  Math.round((ratePerHourMicros * seconds) / 3600);
