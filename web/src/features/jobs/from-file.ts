/** What a job file becomes in the booking form: its fields, and the rest that the form has no field for. */
import { moneyInput } from "@/lib/money";
import { formatDuration } from "@/lib/time";
import type { BookValues } from "./book-spec";
import type { JobFile, Mistake } from "./job-file";

/** Of the file's specification what has no field of its own; sent along, and shown. */
export type Extras = Pick<JobFile["spec"], "resources" | "failover"> & {
  per_hour_micros_max?: number | null;
  image?: string | null;
  kind?: JobFile["spec"]["kind"];
};

export const NO_EXTRAS: Extras = { resources: {}, failover: {} };

interface Terms {
  gpusFree: number;
  durationSMin: number;
  durationSMax: number;
  gpuModel: string;
  vramGb: number;
  region: string;
}

export interface Filled {
  values: Partial<BookValues>;
  extras: Extras;
  /** What the file asks for and this offer does not have. */
  misfits: Mistake[];
}

export function filledFrom({ spec }: JobFile, terms: Terms): Filled {
  const { gpus, ...resources } = spec.resources;
  const { path, every_s, keep, auto, source, verify, lazy } = spec.checkpoint;
  const misfits: Mistake[] = [];
  const check = (bad: boolean, field: string, message: string) => {
    if (bad) misfits.push({ field, message });
  };
  check((gpus ?? 1) > terms.gpusFree, "resources.gpus", `only ${terms.gpusFree} are free here`);
  const longest = spec.duration_s_max;
  check(
    longest !== undefined && longest < terms.durationSMin,
    "max_duration",
    `this offer is for at least ${formatDuration(terms.durationSMin)}`,
  );
  check(
    longest !== undefined && longest > terms.durationSMax,
    "max_duration",
    `this offer is for at most ${formatDuration(terms.durationSMax)}`,
  );
  const models = resources.gpu_models ?? [];
  check(
    models.length > 0 && !models.includes(terms.gpuModel),
    "resources.gpu_model",
    `this offer is a ${terms.gpuModel.replaceAll("_", " ")}`,
  );
  check(
    (resources.vram_gb_min ?? 0) > terms.vramGb,
    "resources.vram_gb",
    `each GPU has ${terms.vramGb} GB here`,
  );
  const regions = resources.regions ?? [];
  check(
    regions.length > 0 && !regions.includes(terms.region),
    "resources.region",
    `this offer is in ${terms.region}`,
  );
  const total = spec.budget.total_micros_max;
  const values: Partial<BookValues> = { kind: "own" };
  if (spec.name !== undefined) values.name = spec.name;
  if (spec.command !== undefined) values.command = spec.command;
  if (gpus !== undefined && gpus <= terms.gpusFree) values.gpus = gpus;
  if (longest !== undefined) {
    values.durationS = Math.min(terms.durationSMax, Math.max(terms.durationSMin, longest));
  }
  if (path !== undefined) values.checkpointPath = path;
  if (every_s !== undefined) values.checkpointEveryS = every_s;
  if (auto !== undefined) values.checkpointAuto = auto;
  if (verify !== undefined) values.checkpointVerify = verify;
  if (keep?.last != null) values.keepLast = String(keep.last);
  if (keep?.hourly != null) values.keepHourly = String(keep.hourly);
  if (source !== undefined) values.checkpointSource = source;
  if (lazy !== undefined) values.checkpointLazy = lazy.join("\n");
  if (total !== undefined && total !== null) values.budget = moneyInput(total);
  if (spec.protection !== undefined) values.protection = spec.protection;
  if (spec.environment !== undefined) {
    values.environment = Object.entries(spec.environment).map(([name, value]) => ({ name, value }));
  }
  return {
    values,
    misfits,
    extras: {
      resources,
      failover: spec.failover,
      ...(spec.image === undefined ? {} : { image: spec.image }),
      ...(spec.kind === undefined ? {} : { kind: spec.kind }),
      ...(spec.budget.per_hour_micros_max === undefined
        ? {}
        : { per_hour_micros_max: spec.budget.per_hour_micros_max }),
    },
  };
}

/** The extras in words, one each, as the file spells them. */
export function extrasInWords(extras: Extras): string[] {
  const { resources, failover } = extras;
  const words: [string, unknown][] = [
    ["cpus", resources.cpus],
    ["memory_gb", resources.memory_gb],
    ["disk_gb", resources.disk_gb],
    ["network", resources.network],
    ["vram_gb", resources.vram_gb_min === undefined ? undefined : `>=${resources.vram_gb_min}`],
    ["gpu_model", resources.gpu_models?.join(", ")],
    ["region", resources.regions?.join(", ")],
    ["image", extras.image],
    ["kind", extras.kind],
    ["per_hour", extras.per_hour_micros_max ? moneyInput(extras.per_hour_micros_max) : undefined],
    ["on_node_loss", failover.on_node_loss],
    ["max_moves", failover.moves_max],
    [
      "replacement per_hour",
      failover.per_hour_micros_max ? moneyInput(failover.per_hour_micros_max) : undefined,
    ],
    ["same_region_only", failover.same_region_only],
    ["deadline", failover.deadline_s ? formatDuration(failover.deadline_s) : undefined],
    ["notice_signal", failover.notice_signal],
  ];
  return words
    .filter(([, value]) => value !== undefined && value !== null && value !== "")
    .map(([name, value]) => `${name}: ${String(value)}`);
}
