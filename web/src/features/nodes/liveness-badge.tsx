import { Badge, type Tone } from "@/components/ui/badge";

interface Look {
  tone: Tone;
  label: string;
  dot: boolean | "live";
  title: string;
}

const LOOKS: Record<string, Look> = {
  online: { tone: "good", label: "Online", dot: "live", title: "Heartbeats arrive; its lease is alive" },
  suspect: { tone: "warn", label: "Suspect", dot: "live", title: "Heartbeats are missing; its jobs freeze" },
  lost: { tone: "bad", label: "Lost", dot: true, title: "Its lease is over; its jobs moved on" },
  offline: { tone: "neutral", label: "Offline", dot: true, title: "Not connected" },
  draining: {
    tone: "warn",
    label: "Draining",
    dot: "live",
    title: "Takes no new jobs; those it has are moved",
  },
  maintenance: { tone: "neutral", label: "Maintenance", dot: true, title: "Drained: it may be switched off" },
  quarantined: {
    tone: "bad",
    label: "Quarantined",
    dot: true,
    title: "Lost too often; no new jobs for a while",
  },
  pending: { tone: "accent", label: "Pending", dot: true, title: "Waits for its verification" },
};

/** A state that this version of the page does not know is shown by its name. */
const lookOf = (liveness: string): Look =>
  LOOKS[liveness] ?? {
    tone: "neutral",
    label: liveness,
    dot: true,
    title: liveness,
  };

export function LivenessBadge({ liveness }: { liveness: string }) {
  const { tone, label, dot, title } = lookOf(liveness);
  return (
    <Badge tone={tone} dot={dot} title={title} data-liveness={liveness}>
      {label}
    </Badge>
  );
}
