/** Which incidents an admin looks for, and how the address spells it. Pure. */
import type { Schemas } from "@/api/client";
import { CAUSES, KINDS } from "./record";

export interface CaseFilter {
  cause: Schemas["Cause"] | "open" | null;
  kind: Schemas["IncidentKind"] | null;
  ruled: boolean | null;
  nodeId: string | null;
}

/** The filter that an address names; what it misspells is no filter. */
export function filterFrom(params: URLSearchParams): CaseFilter {
  const [cause, kind, ruled] = [params.get("cause"), params.get("kind"), params.get("ruled")];
  return {
    cause: cause && (cause === "open" || cause in CAUSES) ? (cause as CaseFilter["cause"]) : null,
    kind: kind && kind in KINDS ? (kind as CaseFilter["kind"]) : null,
    ruled: ruled === "yes" ? true : ruled === "no" ? false : null,
    nodeId: params.get("node"),
  };
}

export function addressOf({ cause, kind, ruled, nodeId }: CaseFilter): URLSearchParams {
  return new URLSearchParams({
    ...(cause ? { cause } : {}),
    ...(kind ? { kind } : {}),
    ...(ruled === null ? {} : { ruled: ruled ? "yes" : "no" }),
    ...(nodeId ? { node: nodeId } : {}),
  });
}
