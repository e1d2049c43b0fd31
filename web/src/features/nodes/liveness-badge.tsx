import { Badge, type Tone } from "@/components/ui/badge";
import type { Node } from "./api";

const LOOKS: Record<Node["liveness"], { tone: Tone; label: string; dot: boolean | "live"; title: string }> = {
  online: { tone: "good", label: "Online", dot: "live", title: "Heartbeats arrive; its lease is alive" },
  suspect: { tone: "warn", label: "Suspect", dot: "live", title: "Heartbeats are missing; its jobs freeze" },
  lost: { tone: "bad", label: "Lost", dot: true, title: "Its lease is over; its jobs moved on" },
  offline: { tone: "neutral", label: "Offline", dot: true, title: "Not connected" },
};

export function LivenessBadge({ liveness }: { liveness: Node["liveness"] }) {
  const { tone, label, dot, title } = LOOKS[liveness];
  return (
    <Badge tone={tone} dot={dot} title={title} data-liveness={liveness}>
      {label}
    </Badge>
  );
}
