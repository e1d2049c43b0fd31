import { useEffect, useRef } from "react";
import UPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { formatMetric } from "@/lib/units";
import { columns, labelOf, last, unitOf } from "./readings";
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

const token = (name: string): string =>
  getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const INK: Record<string, string> = { critical: "--bad", warning: "--warn" };

function clock(seconds: number, spanS: number): string {
  const at = new Date(seconds * 1000);
  return spanS > 2 * 86_400
    ? at.toLocaleDateString("en-GB", { day: "numeric", month: "short" })
    : at.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
}

/** Mean as a line, low to high as a band, device events as upright lines. Rebuilt when the theme changes, as canvas
    knows no CSS. */
export function TelemetryChart({ series, metric, stepS, from, to, events }: TelemetryChartProps) {
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<UPlot | null>(null);
  const reading = series.metrics[metric];
  const data = reading ? columns(series.at, reading, stepS) : ([[], [], [], []] as UPlot.AlignedData);
  const unit = reading ? unitOf(reading) : "";
  const bounds = { min: Date.parse(from) / 1000, max: Date.parse(to) / 1000 };
  const shown = useRef({ data, bounds, events });
  shown.current = { data, bounds, events };

  useEffect(() => {
    const element = host.current;
    if (!element) return;
    const build = () => {
      plot.current?.destroy();
      const axis: UPlot.Axis = {
        stroke: token("--ink-3"),
        font: `11px ${token("--type-sans")}`,
        grid: { stroke: token("--line"), width: 1 },
        ticks: { show: false },
      };
      const stroke = token("--series-1");
      const band = { label: "", stroke: "transparent", points: { show: false } };
      plot.current = new UPlot(
        {
          width: element.clientWidth,
          height: HEIGHT_PX,
          legend: { show: false },
          cursor: { y: false, points: { size: 7 } },
          padding: [8, 12, 0, 0],
          scales: {
            x: { range: () => [shown.current.bounds.min, shown.current.bounds.max] },
            // A reading that never changes still needs a height.
            y: {
              range: (_, low, high) =>
                low === high ? [low - 1, high + 1] : UPlot.rangeNum(low, high, 0.1, true),
            },
          },
          axes: [
            {
              ...axis,
              space: 80,
              size: 28,
              values: (_, splits) => {
                const { min, max } = shown.current.bounds;
                return splits.map((split) => clock(split, max - min));
              },
            },
            { ...axis, size: 64, values: (_, splits) => splits.map((split) => formatMetric(split)) },
          ],
          series: [{}, { label: metric, stroke, width: 1.75, points: { show: false } }, band, band],
          bands: [{ series: [3, 2], fill: `color-mix(in srgb, ${stroke} 18%, transparent)` }],
          hooks: {
            draw: [
              (drawn) => {
                const { ctx, bbox } = drawn;
                ctx.save();
                ctx.lineWidth = 1.5 * devicePixelRatio;
                ctx.setLineDash([4 * devicePixelRatio, 3 * devicePixelRatio]);
                for (const event of shown.current.events) {
                  const x = drawn.valToPos(Date.parse(event.occurred_at) / 1000, "x", true);
                  if (x < bbox.left || x > bbox.left + bbox.width) continue;
                  ctx.strokeStyle = token(INK[event.severity] ?? "--ink-3");
                  ctx.beginPath();
                  ctx.moveTo(x, bbox.top);
                  ctx.lineTo(x, bbox.top + bbox.height);
                  ctx.stroke();
                }
                ctx.restore();
              },
            ],
          },
        },
        shown.current.data,
        element,
      );
    };
    build();
    const resized = new ResizeObserver(() =>
      plot.current?.setSize({ width: element.clientWidth, height: HEIGHT_PX }),
    );
    resized.observe(element);
    const themed = new MutationObserver(build);
    themed.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    return () => {
      resized.disconnect();
      themed.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [metric]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: new readings and events are the reason to draw
  useEffect(() => {
    plot.current?.setData(shown.current.data);
  }, [series, metric, events, from, to]);

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
