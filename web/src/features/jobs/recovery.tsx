import { HeartPulse, Timer } from "lucide-react";
import { Explain } from "@/components/ui/tooltip";
import { cn } from "@/lib/class-names";
import { formatMs } from "@/lib/time";
import { useNow } from "@/lib/use-now";
import type { Placement } from "./types";

const PARTS = [
  { key: "detect_ms", label: "Detect", colour: "bg-(--series-4)" },
  { key: "decide_ms", label: "Decide", colour: "bg-(--series-1)" },
  { key: "restore_ms", label: "Restore", colour: "bg-(--series-2)" },
  { key: "start_ms", label: "Start", colour: "bg-(--series-3)" },
] as const;

/** A stopwatch from the node's first missing beat until the job computes again. */
export function Disturbed({ since, stage }: { since: string; stage: "suspect" | "lost" }) {
  const now = useNow(100);
  const seconds = Math.max(0, now - Date.parse(since)) / 1000;
  return (
    <div
      role="status"
      className="flex animate-in flex-wrap items-center gap-x-4 gap-y-1 rounded-lg border border-warn/40 bg-warn-soft px-4 py-3"
    >
      <Timer className="size-5 text-warn" aria-hidden />
      <p className="min-w-0 flex-1 basis-56">
        <span className="font-medium">
          {stage === "suspect" ? "The node's heartbeat stopped." : "The node is lost."}
        </span>{" "}
        <span className="text-ink-2">
          {stage === "suspect"
            ? "Its job freezes before anyone may take over, so it never runs twice."
            : "The job is going on elsewhere from its last checkpoint. This time is not billed."}
        </span>
      </p>
      <span aria-hidden className="figures font-mono text-lg font-semibold text-warn">
        {seconds.toFixed(1)} s
      </span>
    </div>
  );
}

/** The measured parts of the newest failover, as the platform recorded them. */
export function Recovery({ placement }: { placement: Placement }) {
  const measured = placement.recovery_ms;
  if (!measured) return null;
  const total = measured.recovery_ms ?? PARTS.reduce((sum, { key }) => sum + (measured[key] ?? 0), 0);
  return (
    <div
      data-recovery-ms={total}
      className="animate-in rounded-lg border border-good/30 bg-good-soft px-4 py-3"
    >
      <div className="flex flex-wrap items-baseline gap-x-3 gap-y-1">
        <HeartPulse className="size-4 shrink-0 self-center text-good" aria-hidden />
        <p className="min-w-0 flex-1">
          <span className="font-medium">Recovered on {placement.node_name}</span>{" "}
          <span className="text-ink-2">in</span>{" "}
          <span className="figures font-semibold whitespace-nowrap text-good">{formatMs(total)}</span>
          <Explain about="recovery time">
            Measured by the platform, from the node's death to the first new step on the next node. Detecting
            takes as long as the lease lasts: the dead node's job must be provably frozen before another may
            run.
          </Explain>
        </p>
      </div>
      <div aria-hidden className="mt-2.5 flex h-2 gap-0.5 overflow-hidden rounded-full">
        {PARTS.map(({ key, colour }) =>
          measured[key] ? (
            <span key={key} className={cn("min-w-1", colour)} style={{ flexGrow: measured[key] }} />
          ) : null,
        )}
      </div>
      <dl className="mt-2 flex flex-wrap gap-x-5 gap-y-1 text-xs">
        {PARTS.map(({ key, label, colour }) =>
          measured[key] === undefined ? null : (
            <div key={key} className="flex items-center gap-1.5">
              <span aria-hidden className={cn("size-2 rounded-full", colour)} />
              <dt className="text-ink-2">{label}</dt>
              <dd className="figures font-medium">{formatMs(measured[key])}</dd>
            </div>
          ),
        )}
      </dl>
    </div>
  );
}
