import type UPlot from "uplot";
import { axisLook, token, useUPlot } from "@/components/use-uplot";
import { formatMetric } from "@/lib/units";
import type { MetricsPoint } from "./types";

const HEIGHT_PX = 220;

interface ChartProps {
  points: readonly MetricsPoint[];
  read: (point: MetricsPoint) => number | null;
  label: string;
  unit: string;
}

/** A silence longer than this is drawn as a gap: a line over an outage would show readings that nobody took. */
const GAP_S = 4;

function drawable(points: readonly MetricsPoint[], read: ChartProps["read"]): UPlot.AlignedData {
  const times: number[] = [];
  const values: (number | null)[] = [];
  for (const point of points) {
    const value = read(point);
    if (value === null) continue;
    const time = Date.parse(point.at) / 1000;
    const last = times.at(-1);
    if (last !== undefined && time - last > GAP_S) {
      times.push(last + GAP_S / 2);
      values.push(null);
    }
    times.push(time);
    values.push(value);
  }
  return [times, values];
}

/** A line over time. */
export function Chart({ points, read, label, unit }: ChartProps) {
  const host = useUPlot({
    kind: `${label} ${unit}`,
    heightPx: HEIGHT_PX,
    data: drawable(points, read),
    options: () => ({
      legend: { show: false },
      cursor: { y: false, points: { size: 7 } },
      padding: [8, 12, 0, 0],
      axes: [
        {
          ...axisLook(),
          space: 80,
          size: 28,
          values: (_, splits) =>
            splits.map((split) =>
              new Date(split * 1000).toLocaleTimeString("en-GB", {
                minute: "2-digit",
                second: "2-digit",
                hour: "2-digit",
              }),
            ),
        },
        { ...axisLook(), size: 56, values: (_, splits) => splits.map((split) => formatMetric(split)) },
      ],
      series: [
        {},
        {
          label,
          stroke: token("--series-1"),
          width: 1.75,
          points: { show: false },
          value: (_, value) => (value === null ? "–" : `${formatMetric(value)}${unit}`),
        },
      ],
    }),
  });

  const values = points.map(read).filter((value) => value !== null);
  const first = values[0];
  const last = values.at(-1);
  return (
    <div
      ref={host}
      role="img"
      style={{ height: HEIGHT_PX }}
      className="w-full overflow-hidden"
      aria-label={
        first !== undefined && last !== undefined
          ? `${label} over time: from ${formatMetric(first)}${unit} to ${formatMetric(last)}${unit} in ${values.length} readings`
          : `${label} over time: no readings yet`
      }
    />
  );
}
