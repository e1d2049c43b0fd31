import { useMoney } from "@/components/money";
import type { Earnings } from "./api";

const DAYS = 30;
const DAY_MS = 86_400_000;
const HEIGHT = 120;

/** The last 30 days with the empty ones in, so that a gap looks like a gap. */
function lastDays(byDay: Earnings["by_day"], todayMs: number): { day: string; micros: number }[] {
  const known = new Map(byDay.map(({ day, earned_micros }) => [day, earned_micros]));
  return Array.from({ length: DAYS }, (_, index) => {
    const day = new Date(todayMs - (DAYS - 1 - index) * DAY_MS).toISOString().slice(0, 10);
    return { day, micros: known.get(day) ?? 0 };
  });
}

const dayLabel = (day: string): string =>
  new Date(`${day}T00:00:00Z`).toLocaleDateString("en-GB", {
    day: "numeric",
    month: "short",
    timeZone: "UTC",
  });

export function DayChart({ byDay, nowMs }: { byDay: Earnings["by_day"]; nowMs: number }) {
  const money = useMoney();
  const days = lastDays(byDay, nowMs);
  const top = Math.max(1, ...days.map(({ micros }) => micros));
  const total = days.reduce((sum, { micros }) => sum + micros, 0);
  return (
    <figure className="px-4 py-4 sm:px-5">
      <div className="flex items-end gap-[3px]" style={{ height: HEIGHT }} aria-hidden>
        {days.map(({ day, micros }) => (
          <div
            key={day}
            className="group relative flex h-full flex-1 items-end"
            title={`${dayLabel(day)}: ${money(micros, "exact")}`}
          >
            <div
              className={`w-full rounded-t-[2px] transition-colors ${micros > 0 ? "bg-accent-ink/80 group-hover:bg-accent-ink" : "bg-line"}`}
              style={{ height: micros > 0 ? `${Math.max(3, (micros / top) * 100)}%` : "2px" }}
            />
          </div>
        ))}
      </div>
      <div aria-hidden className="figures mt-2 flex justify-between text-xs text-ink-3">
        <span>{dayLabel(days[0]?.day ?? "1970-01-01")}</span>
        <span>today (UTC)</span>
      </div>
      <figcaption className="sr-only">
        Earnings of the last {DAYS} days: {money(total, "exact")} in all, {money(top, "exact")} on the best
        day.
      </figcaption>
    </figure>
  );
}
