import { useQuery } from "@tanstack/react-query";
import { ChartSpline } from "lucide-react";
import { SimulatedBadge } from "@/components/simulated-badge";
import { Card, CardHeader } from "@/components/ui/card";
import { Empty, Failed, Skeleton, Stale } from "@/components/ui/states";
import { cn } from "@/lib/class-names";
import { formatSpan } from "@/lib/time";
import { formatMetric } from "@/lib/units";
import type { Node } from "./api";
import { inOrder, labelOf, last, SPANS, type SpanKey, spanOf, unitOf } from "./readings";
import { type DeviceEvent, telemetryQuery } from "./telemetry";
import { TelemetryChart } from "./telemetry-chart";

export interface View {
  span: SpanKey;
  /** A GPU's UUID; null: the machine itself. */
  device: string | null;
  metric: string | null;
}

interface TelemetryPanelProps {
  node: Node;
  events: readonly DeviceEvent[];
  view: View;
  onView: (view: View) => void;
}

function Choice({ active, onClick, children }: { active: boolean; onClick: () => void; children: string }) {
  return (
    <button
      type="button"
      aria-pressed={active}
      onClick={onClick}
      className={cn(
        "h-7 rounded-md border px-2.5 text-xs font-medium whitespace-nowrap transition-colors",
        active ? "border-accent-ink bg-accent-soft text-accent-ink" : "border-line text-ink-2 hover:bg-hover",
      )}
    >
      {children}
    </button>
  );
}

/** How a machine and each of its GPUs felt: one reading at a time, with what happened marked in it. */
export function TelemetryPanel({ node, events, view, onView }: TelemetryPanelProps) {
  const span = spanOf(view.span);
  const told = useQuery(telemetryQuery(node.id, span.seconds));
  const series = told.data?.series.find(({ device_uuid }) => device_uuid === view.device);
  const metrics = series ? inOrder(Object.keys(series.metrics)) : [];
  const metric = metrics.find((name) => name === view.metric) ?? metrics[0];
  const marked = events.filter(({ device_uuid }) => view.device === null || device_uuid === view.device);
  return (
    <Card>
      <CardHeader
        title={
          <span className="inline-flex flex-wrap items-center gap-2">
            Readings {node.simulated ? <SimulatedBadge /> : null}
          </span>
        }
        description={
          told.data
            ? `A point each ${told.data.step_s < 60 ? `${told.data.step_s} s` : formatSpan(told.data.step_s)}; the band spans low to high.`
            : "How the machine and its GPUs feel."
        }
        actions={
          <fieldset className="flex flex-wrap gap-1.5">
            <legend className="sr-only">Time</legend>
            {SPANS.map(({ key, label }) => (
              <Choice key={key} active={key === span.key} onClick={() => onView({ ...view, span: key })}>
                {label}
              </Choice>
            ))}
          </fieldset>
        }
      />
      <fieldset className="flex gap-1.5 overflow-x-auto px-4 pt-4 [scrollbar-width:none] sm:px-5">
        <legend className="sr-only">Device</legend>
        {node.devices.map((device, index) => (
          <Choice
            key={device.uuid}
            active={view.device === device.uuid}
            onClick={() => onView({ ...view, device: device.uuid, metric: null })}
          >
            {`GPU ${index} · ${device.model.replaceAll("_", " ")}`}
          </Choice>
        ))}
        <Choice active={view.device === null} onClick={() => onView({ ...view, device: null, metric: null })}>
          Machine
        </Choice>
      </fieldset>
      {told.isError && told.data ? (
        <div className="px-4 pt-4 sm:px-5">
          <Stale error={told.error} onRetry={() => void told.refetch()} />
        </div>
      ) : null}
      {told.isPending ? (
        <div role="status" aria-label="Loading" className="grid gap-4 px-4 py-5 sm:px-5">
          <Skeleton className="h-12 w-2/3" />
          <Skeleton className="h-56" />
        </div>
      ) : !told.data ? (
        <Failed error={told.error} onRetry={() => void told.refetch()} />
      ) : !series || !metric ? (
        <Empty icon={ChartSpline} title="No readings in this time">
          {node.liveness === "online"
            ? "The agent sends its readings every few seconds; the first will be here soon. Older agents send none."
            : "A machine that is not connected tells nothing."}
        </Empty>
      ) : (
        <>
          <fieldset className="flex flex-wrap gap-1.5 px-4 pt-3 sm:px-5">
            <legend className="sr-only">Reading</legend>
            {metrics.map((name) => {
              const reading = series.metrics[name];
              const value = reading ? last(reading.mean) : null;
              const active = name === metric;
              return (
                <button
                  key={name}
                  type="button"
                  aria-pressed={active}
                  onClick={() => onView({ ...view, metric: name })}
                  className={cn(
                    "rounded-md border px-3 py-1.5 text-left transition-colors",
                    active ? "border-accent-ink bg-accent-soft" : "border-line hover:bg-hover",
                  )}
                >
                  <span className="block text-2xs text-ink-2">{labelOf(name)}</span>
                  <span className="figures block text-sm font-semibold">
                    {value === null || !reading ? "–" : `${formatMetric(value)}${unitOf(reading)}`}
                  </span>
                </button>
              );
            })}
          </fieldset>
          <div className="px-2 pt-3 pb-3 sm:px-3">
            <TelemetryChart
              series={series}
              metric={metric}
              stepS={told.data.step_s}
              from={told.data.since}
              to={told.data.until}
              events={marked}
            />
          </div>
        </>
      )}
    </Card>
  );
}
