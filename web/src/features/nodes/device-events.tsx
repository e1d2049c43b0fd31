import { ShieldCheck } from "lucide-react";
import { Ago } from "@/components/ago";
import { Badge, type Tone } from "@/components/ui/badge";
import { Card, CardHeader } from "@/components/ui/card";
import { Empty, Failed, SkeletonRows } from "@/components/ui/states";
import type { DeviceEvent } from "./telemetry";

const TONES: Record<string, Tone> = { critical: "bad", warning: "warn", info: "neutral" };

interface DeviceEventsProps {
  events: readonly DeviceEvent[] | undefined;
  error: unknown;
  onRetry: () => void;
}

/** What happened to a node's GPUs, the newest first. */
export function DeviceEvents({ events, error, onRetry }: DeviceEventsProps) {
  return (
    <Card>
      <CardHeader
        title="Device events"
        description="Errors of the driver, memory errors, heat, the link. A critical one drains the node before the GPU dies."
      />
      {events === undefined ? (
        error ? (
          <Failed error={error} onRetry={onRetry} />
        ) : (
          <SkeletonRows rows={3} />
        )
      ) : events.length === 0 ? (
        <Empty icon={ShieldCheck} title="Nothing happened to its GPUs" />
      ) : (
        <ul>
          {events.map((event) => (
            <li
              key={event.id}
              className="flex flex-wrap items-center gap-x-3 gap-y-1 border-b border-line px-4 py-3 text-sm last:border-0 sm:px-5"
              data-severity={event.severity}
            >
              <Badge tone={TONES[event.severity] ?? "neutral"}>{event.severity}</Badge>
              <span className="min-w-0 flex-1 basis-60">{event.sentence}</span>
              <span className="text-xs text-ink-3">
                <Ago at={event.occurred_at} />
              </span>
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}
