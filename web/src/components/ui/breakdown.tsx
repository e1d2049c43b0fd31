import { cn } from "@/lib/class-names";
import { formatCount } from "@/lib/units";
import type { Tone } from "./badge";

const fills: Record<Tone, string> = {
  good: "bg-good",
  warn: "bg-warn",
  bad: "bg-bad",
  accent: "bg-accent-ink",
  neutral: "bg-ink-3",
  outline: "bg-line-strong",
};

export interface Part {
  label: string;
  count: number;
  tone: Tone;
}

interface BreakdownProps {
  label: string;
  parts: readonly Part[];
  /** Said instead of a bar when there is nothing to count. */
  none: string;
}

/** How a whole is made up: a bar, and each part with its number, which is what counts. */
export function Breakdown({ label, parts, none }: BreakdownProps) {
  const total = parts.reduce((sum, { count }) => sum + count, 0);
  return (
    <section aria-label={label} className="min-w-0">
      <div className="flex items-baseline justify-between gap-3">
        <h2 className="text-sm font-medium text-ink-2">{label}</h2>
        <span className="figures text-lg font-semibold">{formatCount(total)}</span>
      </div>
      <div aria-hidden className="mt-2 flex h-2 gap-0.5 overflow-hidden rounded-full bg-hover">
        {parts.map(({ label: name, count, tone }) =>
          count > 0 ? (
            <span key={name} className={cn("min-w-1", fills[tone])} style={{ flexGrow: count }} />
          ) : null,
        )}
      </div>
      {total === 0 ? (
        <p className="mt-2.5 text-xs text-ink-3">{none}</p>
      ) : (
        <dl className="mt-2.5 flex flex-wrap gap-x-5 gap-y-1 text-xs">
          {parts
            .filter(({ count }) => count > 0)
            .map(({ label: name, count, tone }) => (
              <div key={name} className="flex items-center gap-1.5">
                <span aria-hidden className={cn("size-2 rounded-full", fills[tone])} />
                <dt className="text-ink-2">{name}</dt>
                <dd className="figures font-medium">{formatCount(count)}</dd>
              </div>
            ))}
        </dl>
      )}
    </section>
  );
}
