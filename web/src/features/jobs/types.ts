import type { Schemas } from "@/api/client";

export type Job = Schemas["JobOut"];
export type JobState = Schemas["JobState"];
export type JobEvent = Schemas["JobEventOut"];
export type EventKind = Schemas["EventKind"];
export type Placement = Schemas["PlacementOut"];
export type LogPage = Schemas["LogPageOut"];
export type Decision = Schemas["DecisionOut"];
export type Checkpoint = Schemas["CheckpointOut"];

/** Pushed as event `metrics`. Streams are outside the OpenAPI document, so this mirrors the server's MetricsPointOut. */
export interface MetricsPoint {
  readonly at: string;
  readonly cpu_percent: number;
  readonly memory_mb: number;
  readonly gpu_utilisation_percent: number | null;
  readonly step: number | null;
  readonly total_steps: number | null;
  readonly metrics: Readonly<Record<string, number>>;
}

export const FINAL_STATES: ReadonlySet<JobState> = new Set(["done", "failed", "stopped"]);
export const isFinal = (state: JobState): boolean => FINAL_STATES.has(state);
