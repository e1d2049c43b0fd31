import { useRef } from "react";
import UPlot from "uplot";
import { axisLook, token, useUPlot } from "@/components/use-uplot";
import { formatMetric } from "@/lib/units";
import { columns, flatRange, labelOf, last, unitOf } from "./readings";
import type { DeviceEvent, Series } from "./telemetry";

const HEIGHT_PX = 240;

interface TelemetryChartProps {
  series: Series;
  metric: string;
  stepS: number;
  from: string;
  to: string;
  events: readonly DeviceEvent[];
}

const INK: Record<string, string> = { critical: "--bad", warning: "--warn" };

function clock(seconds: number, spanS: number): string {
  const at = new Date(seconds * 1000);
  return spanS > 2 * 86_400
    ? at.toLocaleDateString("en-GB", { day: "numeric", month: "short" })
    : at.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
}

/** Mean as a line, low to high as a band, device events as upright lines. */
export function TelemetryChart({ series, metric, stepS, from, to, events }: TelemetryChartProps) {
  const reading = series.metrics[metric];
  const data = reading ? columns(series.at, reading, stepS) : ([[], [], [], []] as UPlot.AlignedData);
  const unit = reading ? unitOf(reading) : "";
  const bounds = { min: Date.parse(from) / 1000, max: Date.parse(to) / 1000 };
  const shown = useRef({ bounds, events });
  shown.current = { bounds, events };
  const host = useUPlot({
    kind: metric,
    heightPx: HEIGHT_PX,
    data,
    options: () => {
      const stroke = token("--series-1");
      const band = { label: "", stroke: "transparent", points: { show: false } };
      return {
        legend: { show: false },
        cursor: { y: false, points: { size: 7 } },
        padding: [8, 12, 0, 0],
        scales: {
          x: { range: () => [shown.current.bounds.min, shown.current.bounds.max] },
          y: {
            range: (_, low, high) => flatRange(low, high) ?? UPlot.rangeNum(low, high, 0.1, true),
          },
        },
        axes: [
          {
            ...axisLook(),
            space: 80,
            size: 28,
            values: (_, splits) => {
              const { min, max } = shown.current.bounds;
              return splits.map((split) => clock(split, max - min));
            },
          },
          { ...axisLook(), size: 64, values: (_, splits) => splits.map((split) => formatMetric(split)) },
        ],
        series: [{}, { label: metric, stroke, width: 1.75, points: { show: false } }, band, band],
        bands: [{ series: [3, 2], fill: `color-mix(in srgb, ${stroke} 18%, transparent)` }],
        hooks: { draw: [(drawn) => drawEvents(drawn, shown.current.events)] },
      };
    },
  });

  const latest = reading ? last(reading.mean) : null;
  return (
    <div
      ref={host}
      role="img"
      style={{ height: HEIGHT_PX }}
      className="w-full overflow-hidden"
      aria-label={
        latest === null
          ? `${labelOf(metric)} over time: no readings`
          : `${labelOf(metric)} over time: ${series.at.length} readings, the last ${formatMetric(latest)}${unit}; ${events.length} device events`
      }
    />
  );
}

function drawEvents({ ctx, bbox, valToPos }: UPlot, events: readonly DeviceEvent[]) {
  ctx.save();
  ctx.lineWidth = 1.5 * devicePixelRatio;
  ctx.setLineDash([4 * devicePixelRatio, 3 * devicePixelRatio]);
  for (const event of events) {
    const x = valToPos(Date.parse(event.occurred_at) / 1000, "x", true);
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.strokeStyle = token(INK[event.severity] ?? "--ink-3");
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
  }
  ctx.restore();
}
