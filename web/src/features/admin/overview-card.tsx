import { useQuery } from "@tanstack/react-query";
import type { Tone } from "@/components/ui/badge";
import { Breakdown, type Part } from "@/components/ui/breakdown";
import { Card } from "@/components/ui/card";
import { Failed, Skeleton, Stale } from "@/components/ui/states";
import { overviewQuery } from "./api";

const NODE_TONES: Record<string, Tone> = {
  online: "good",
  suspect: "warn",
  lost: "bad",
  quarantined: "bad",
  draining: "warn",
  pending: "accent",
  maintenance: "outline",
  offline: "neutral",
};
const JOB_TONES: Record<string, Tone> = {
  running: "good",
  starting: "accent",
  queued: "neutral",
  recovering: "warn",
  stopping: "outline",
  done: "good",
  failed: "bad",
  stopped: "neutral",
};

/** In the order of the tones, so that a bar never reshuffles; a state unknown here comes last, in grey. */
function parts(counts: Record<string, number>, tones: Record<string, Tone>): Part[] {
  const known = Object.keys(tones).filter((state) => state in counts);
  const others = Object.keys(counts)
    .filter((state) => !(state in tones))
    .sort();
  return [...known, ...others].map((state) => ({
    label: state,
    count: counts[state] ?? 0,
    tone: tones[state] ?? "outline",
  }));
}

export function OverviewCard() {
  const { data, isPending, isError, error, refetch } = useQuery(overviewQuery);
  if (isPending) {
    return (
      <Card className="grid gap-x-8 gap-y-6 p-4 sm:grid-cols-2 sm:p-5">
        {[0, 1, 2, 3].map((part) => (
          <div key={part} role="status" aria-label="Loading" className="grid gap-2.5">
            <Skeleton className="h-6" />
            <Skeleton className="h-2" />
            <Skeleton className="w-2/3" />
          </div>
        ))}
      </Card>
    );
  }
  if (!data) {
    return (
      <Card>
        <Failed error={error} onRetry={() => void refetch()} />
      </Card>
    );
  }
  const free = data.gpus_total - data.gpus_in_use;
  return (
    <div className="grid gap-4">
      {isError ? <Stale error={error} onRetry={() => void refetch()} /> : null}
      <Card className="grid gap-x-8 gap-y-6 p-4 sm:grid-cols-2 sm:p-5">
        <Breakdown label="Nodes" parts={parts(data.nodes, NODE_TONES)} none="No node is enrolled." />
        <Breakdown
          label="GPUs"
          parts={[
            { label: "in use", count: data.gpus_in_use, tone: "accent" },
            { label: "free", count: free, tone: "outline" },
          ]}
          none="No GPU is enrolled."
        />
        <Breakdown label="Open jobs" parts={parts(data.jobs_open, JOB_TONES)} none="Nothing runs or waits." />
        <Breakdown
          label="Submitted and ended in 24 hours"
          parts={parts(data.jobs_ended_24h, JOB_TONES)}
          none="No job has ended."
        />
      </Card>
    </div>
  );
}
