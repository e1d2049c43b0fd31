/** A node's record: what its incidents mean for people. Pure. */
import type { Schemas } from "@/api/client";

export type Score = Schemas["ScoreOut"];
export type Incident = Schemas["IncidentOut"];
type Cause = Schemas["Cause"];
type Finding = Incident["evidence"][number];

export const KINDS: Record<Incident["kind"], string> = {
  node_lost: "The node was lost",
  run_lost: "A run was lost, the node went on",
  job_failed: "A job failed",
  start_failed: "A start failed",
};

/** Whose doing, in the order in which an admin thinks of them. */
export const CAUSES: Record<Cause, string> = {
  host_hardware: "the host's hardware",
  host_software: "the host's software",
  network: "the network",
  renter_job: "the job itself",
  platform: "the platform",
  unknown: "nobody known",
};

const WITNESSES: Record<Finding["witness"], string> = {
  platform: "Our own records",
  gateway: "Gateways",
  telemetry: "Devices",
  agent: "The agent, when it was back",
  run_report: "How the run ended",
  comparison: "Other nodes, other jobs",
};

/** What happened, in a line. */
export const happened = (incident: Pick<Incident, "kind">) => KINDS[incident.kind];

/** Who answers for it: the owner's side, somebody else, or nobody yet. */
export function sideOf(incident: Pick<Incident, "cause">): "host" | "others" | "open" {
  if (incident.cause === null) return "open";
  return ["host_hardware", "host_software", "network"].includes(incident.cause) ? "host" : "others";
}

/** What it did to the score: from before its first change to after its last, so that a ruling taken back shows none. */
export function scoreEffect(incident: Pick<Incident, "score_changes">) {
  const first = incident.score_changes[0];
  const last = incident.score_changes.at(-1);
  if (!first || !last) return null;
  return Math.abs(last.after - first.before) < 5e-7 ? null : { before: first.before, after: last.after };
}

/** The findings by kind of evidence: kinds are what is counted. */
export function witnessesOf(evidence: readonly Finding[]) {
  const kinds = new Map<Finding["witness"], Finding[]>();
  for (const finding of evidence)
    kinds.set(finding.witness, [...(kinds.get(finding.witness) ?? []), finding]);
  return [...kinds].map(([witness, findings]) => ({ witness, name: WITNESSES[witness], findings }));
}

/** What a ruling would change, said before it is made. */
export function consequence(cause: Cause, kind: Incident["kind"]): string {
  if (kind === "start_failed") return "A failed start touches no score, whoever caused it.";
  if (cause === "network") return "Counts against the node's uptime, and in what the router expects of it.";
  if (cause === "host_hardware" || cause === "host_software") {
    return "Counts as one loss of the node: its reliability falls, and its uptime by the time it was away.";
  }
  return "Takes nothing from the node: its score is as if this had not happened.";
}
