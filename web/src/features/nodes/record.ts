/** A node's record: what its incidents mean for its owner. Pure. */
import type { Schemas } from "@/api/client";

export type Score = Schemas["ScoreOut"];
export type Incident = Schemas["IncidentOut"];

const KINDS: Record<Incident["kind"], string> = {
  node_lost: "The node was lost",
  run_lost: "A run was lost, the node went on",
  job_failed: "A job failed",
  start_failed: "A start failed",
};

/** What happened, in a line. */
export const happened = (incident: Incident) => KINDS[incident.kind];

/** Who answers for it: the owner's side, somebody else, or nobody yet. */
export function sideOf(incident: Incident): "host" | "others" | "open" {
  if (incident.cause === null) return "open";
  return ["host_hardware", "host_software", "network"].includes(incident.cause) ? "host" : "others";
}

/** What it did to the score: from before its first change to after its last, so that a ruling taken back shows none. */
export function scoreEffect(incident: Incident): { before: number; after: number } | null {
  const first = incident.score_changes[0];
  const last = incident.score_changes.at(-1);
  if (!first || !last) return null;
  return Math.abs(last.after - first.before) < 5e-7 ? null : { before: first.before, after: last.after };
}
