import { Clock, DoorOpen } from "lucide-react";
import { Notice } from "@/components/ui/states";
import { formatClock, formatInstant } from "@/lib/time";
import { useNow } from "@/lib/use-now";
import type { Job } from "./types";

const REASONS: Record<string, string> = {
  drain: "Its node is taken out of service",
  maintenance: "Its node has planned maintenance",
  preemption: "An on-demand job needs the GPUs",
  device: "One of its GPUs failed",
};

/** Why a job is not placed, and what would free it. The first hint is in the summary already when it is the only one. */
export function Waiting({ waiting }: { waiting: NonNullable<Job["waiting"]> }) {
  return (
    <Notice icon={Clock} tone="info">
      <p>{waiting.summary}</p>
      {waiting.hints.length > 1 ? (
        <ul className="mt-1.5 list-disc pl-4 text-sm text-ink-2" aria-label="What would free it">
          {waiting.hints.map((hint) => (
            <li key={`${hint.kind} ${hint.sentence}`}>
              {hint.sentence}
              {hint.at ? <span className="text-ink-3"> ({formatInstant(hint.at)} your time)</span> : null}
            </li>
          ))}
        </ul>
      ) : null}
      <p className="mt-1 text-xs text-ink-3">
        {waiting.held_back_until
          ? `It keeps a pause until ${formatClock(waiting.held_back_until)}, because it had to leave several times in a row. `
          : null}
        Waiting is not billed. It is tried again as soon as something comes free.
      </p>
    </Notice>
  );
}

/** A job that has to leave its node: why, and how long it still runs there. */
export function LeavingNotice({ placement }: { placement: NonNullable<Job["placement"]> }) {
  const { notice } = placement;
  const now = useNow(1_000, Boolean(notice));
  if (!notice) return null;
  const seconds = Math.max(0, Math.round((Date.parse(notice.deadline_at) - now) / 1000));
  return (
    <Notice icon={DoorOpen} tone="warn">
      <p>
        <span className="font-medium">
          {REASONS[notice.reason] ?? "It has to leave its node"}: it leaves {placement.node_name}
        </span>{" "}
        {notice.stops_at === null ? "now" : `in ${seconds} s at the latest`}.
      </p>
      <p className="mt-0.5 text-sm text-ink-2">
        {notice.sentence} A final checkpoint is taken, and it goes on elsewhere from there.
      </p>
    </Notice>
  );
}
