import type { ReactNode } from "react";
import { cn } from "@/lib/class-names";

interface StatProps {
  label: ReactNode;
  value: ReactNode;
  note?: ReactNode;
  className?: string;
}

export function Stat({ label, value, note, className }: StatProps) {
  return (
    <div className={cn("min-w-0", className)}>
      <dt className="flex items-center gap-1 text-xs text-ink-3">{label}</dt>
      <dd className="figures mt-0.5 truncate text-base font-semibold text-ink">{value}</dd>
      {note ? <dd className="mt-0.5 text-xs text-ink-3">{note}</dd> : null}
    </div>
  );
}

/** A fact in a list of facts: name left, value right. */
export function Fact({ label, children }: { label: ReactNode; children: ReactNode }) {
  return (
    <div className="flex items-baseline justify-between gap-4 py-2">
      <dt className="flex items-center gap-1 text-sm text-ink-2">{label}</dt>
      <dd className="min-w-0 text-right text-sm font-medium text-ink">{children}</dd>
    </div>
  );
}

interface MeterProps {
  value: number;
  max: number;
  label: string;
  className?: string;
}

export function Meter({ value, max, label, className }: MeterProps) {
  const share = max > 0 ? Math.min(1, Math.max(0, value / max)) : 0;
  return (
    <div
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={max}
      aria-valuenow={value}
      className={cn("h-1.5 overflow-hidden rounded-full bg-hover", className)}
    >
      <div
        className="h-full origin-left rounded-full bg-accent-ink transition-transform duration-500 ease-calm"
        style={{ transform: `scaleX(${share})` }}
      />
    </div>
  );
}
