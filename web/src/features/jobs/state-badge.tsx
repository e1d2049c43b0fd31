import { Badge, type Tone } from "@/components/ui/badge";
import type { JobState } from "./types";

const LOOKS: Record<JobState, { tone: Tone; label: string; dot: boolean | "live" }> = {
  queued: { tone: "neutral", label: "Queued", dot: true },
  starting: { tone: "accent", label: "Starting", dot: "live" },
  running: { tone: "good", label: "Running", dot: "live" },
  recovering: { tone: "warn", label: "Recovering", dot: "live" },
  stopping: { tone: "neutral", label: "Stopping", dot: "live" },
  done: { tone: "good", label: "Done", dot: false },
  failed: { tone: "bad", label: "Failed", dot: false },
  stopped: { tone: "neutral", label: "Stopped", dot: false },
};

export function StateBadge({ state }: { state: JobState }) {
  const { tone, label, dot } = LOOKS[state];
  return (
    <Badge tone={tone} dot={dot} data-job-state={state}>
      {label}
    </Badge>
  );
}
