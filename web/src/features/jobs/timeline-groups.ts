/** From the raw timeline to what a reader follows: runs of checkpoints become one entry. Pure. */
import type { JobEvent } from "./types";

export type TimelineEntry =
  | { readonly type: "event"; readonly key: string; readonly event: JobEvent }
  | { readonly type: "checkpoints"; readonly key: string; readonly events: readonly JobEvent[] };

export function groupTimeline(events: readonly JobEvent[]): TimelineEntry[] {
  const entries: TimelineEntry[] = [];
  let run: JobEvent[] = [];
  const flush = () => {
    const first = run[0];
    if (first && run.length === 1) entries.push({ type: "event", key: String(first.id), event: first });
    else if (first) entries.push({ type: "checkpoints", key: `c${first.id}`, events: run });
    run = [];
  };
  for (const event of events) {
    // A new epoch begins a new run: a checkpoint of another node is another story.
    if (event.kind === "checkpoint" && (run.length === 0 || run[0]?.epoch === event.epoch)) {
      run.push(event);
      continue;
    }
    flush();
    if (event.kind === "checkpoint") run.push(event);
    else entries.push({ type: "event", key: String(event.id), event });
  }
  flush();
  return entries;
}

const RECOVERY_START = new Set<JobEvent["kind"]>(["node_suspect", "node_lost"]);
const RECOVERY_END = new Set<JobEvent["kind"]>([
  "resumed",
  "node_back",
  "running",
  "done",
  "failed",
  "stopped",
]);

/** The instant since which the job is not running because of its node, or null while nothing is wrong. */
export function disturbedSince(events: readonly JobEvent[]): string | null {
  let since: string | null = null;
  for (const event of events) {
    if (RECOVERY_START.has(event.kind)) since ??= event.at;
    else if (RECOVERY_END.has(event.kind)) since = null;
  }
  return since;
}
