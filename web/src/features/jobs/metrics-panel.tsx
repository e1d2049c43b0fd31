import { ChartSpline } from "lucide-react";
import { useMemo, useState } from "react";
import { Empty } from "@/components/ui/states";
import { cn } from "@/lib/class-names";
import { formatMetric } from "@/lib/units";
import { Chart } from "./chart";
import type { MetricsPoint } from "./types";

interface Series {
  readonly key: string;
  readonly label: string;
  readonly unit: string;
  readonly read: (point: MetricsPoint) => number | null;
}

const BASE: readonly Series[] = [
  { key: "step", label: "Step", unit: "", read: (point) => point.step },
  { key: "cpu", label: "CPU", unit: " %", read: (point) => point.cpu_percent },
  { key: "memory", label: "Memory", unit: " MB", read: (point) => point.memory_mb },
  { key: "gpu", label: "GPU", unit: " %", read: (point) => point.gpu_utilisation_percent },
];

const lossFirst = (a: string, b: string): number =>
  Number(b.includes("loss")) - Number(a.includes("loss")) || a.localeCompare(b);

/** Whatever the job reports comes first (loss, usually), then what the node measures. */
function seriesOf(points: readonly MetricsPoint[]): Series[] {
  const names = new Set<string>();
  for (const point of points) for (const name of Object.keys(point.metrics)) names.add(name);
  const own = [...names].sort(lossFirst).map((name) => ({
    key: `m:${name}`,
    label: name.charAt(0).toUpperCase() + name.slice(1).replaceAll("_", " "),
    unit: "",
    read: (point: MetricsPoint) => point.metrics[name] ?? null,
  }));
  return [...own, ...BASE].filter(({ read }) => points.some((point) => read(point) !== null));
}

export function MetricsPanel({ points, live }: { points: readonly MetricsPoint[]; live: boolean }) {
  const [chosen, setChosen] = useState<string | null>(null);
  const series = useMemo(() => seriesOf(points), [points]);
  const shown = series.find(({ key }) => key === chosen) ?? series[0];
  const latest = points.at(-1);

  if (!shown || !latest) {
    return (
      <Empty icon={ChartSpline} title={live ? "Waiting for the first reading" : "No readings in this view"}>
        {live
          ? "The node sends its measurements while the job runs."
          : "Readings are pushed while a job runs and are drawn from the moment this page is open."}
      </Empty>
    );
  }

  return (
    <div>
      <div className="flex flex-wrap gap-1.5 px-4 pt-4 sm:px-5" role="group" aria-label="Series">
        {series.map(({ key, label, unit, read }) => {
          const value = read(latest);
          const active = key === shown.key;
          return (
            <button
              key={key}
              type="button"
              aria-pressed={active}
              onClick={() => setChosen(key)}
              className={cn(
                "rounded-md border px-3 py-1.5 text-left transition-colors",
                active ? "border-accent-ink bg-accent-soft" : "border-line hover:bg-hover",
              )}
            >
              <span className="block text-2xs text-ink-2">{label}</span>
              <span className="figures block text-sm font-semibold">
                {value === null ? "–" : `${formatMetric(value)}${unit}`}
              </span>
            </button>
          );
        })}
      </div>
      <div className="px-2 pt-3 pb-3 sm:px-3">
        <Chart points={points} read={shown.read} label={shown.label} unit={shown.unit} />
      </div>
    </div>
  );
}
