/** The booking form's values, their rules, and the exact job specification they become. */
import { z } from "zod";
import type { Schemas } from "@/api/client";
import { parseMoney } from "@/lib/money";
import { DIGITS_COMMAND } from "./examples";
import { type Extras, NO_EXTRAS } from "./from-file";

const money = z
  .string()
  .refine((text) => text.trim() === "" || (parseMoney(text) ?? 0) > 0, "An amount such as 5.00.");

const CHECKPOINTS_KEPT_MAX = 1_000;
/** How many are kept; left empty, the platform's own rule counts. */
const kept = z.string().refine((text) => {
  const count = Number(text);
  return text.trim() === "" || (Number.isInteger(count) && count >= 1 && count <= CHECKPOINTS_KEPT_MAX);
}, "A number from 1 to 1000, or nothing.");

const LAZY_MAX = 32;
const LAZY_LENGTH_MAX = 256;
/** One pattern a line, none of them empty. Nothing else is taken off: a blank may be part of a name. */
export const lazyPatterns = (text: string): string[] =>
  text.split(/\r?\n/).filter((line) => line.trim() !== "");

function lazyFault(text: string): string | null {
  const patterns = lazyPatterns(text);
  if (patterns.length > LAZY_MAX) return `At most ${LAZY_MAX} patterns.`;
  if (patterns.some((pattern) => pattern.length > LAZY_LENGTH_MAX))
    return `At most ${LAZY_LENGTH_MAX} characters each.`;
  if (patterns.some((pattern) => pattern.startsWith("#"))) return "A line that begins with # names no file.";
  if (patterns.length > 0 && patterns.every((pattern) => pattern.startsWith("!")))
    return "Patterns that begin with ! only take away from others.";
  return null;
}

export const bookSchema = z
  .object({
    kind: z.enum(["digits", "own"]),
    name: z
      .string()
      .max(63, "At most 63 characters.")
      .regex(/^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$/, "Lower case letters, digits and . _ - inside."),
    command: z.string().max(32_768, "At most 32,768 characters."),
    gpus: z.number().int().min(1),
    durationS: z.number().int().min(60),
    checkpointPath: z
      .string()
      .min(1, "A folder, relative to the job's own.")
      .refine(
        (path) => !path.startsWith("/") && !path.split("/").includes(".."),
        "It must stay inside the job's folder.",
      ),
    checkpointEveryS: z
      .number({ error: "A number of seconds." })
      .int()
      .min(1, "At least 1 s.")
      .max(86_400, "At most a day."),
    /** Follow the node's hazard and the measured cost; the seconds above count until a cost is known. */
    checkpointAuto: z.boolean(),
    checkpointVerify: z.boolean(),
    keepLast: kept,
    keepHourly: kept,
    checkpointSource: z.enum(["application", "auto", "transparent"]),
    /** Patterns of files that may arrive after the start, one a line. */
    checkpointLazy: z.string().superRefine((text, context) => {
      const message = lazyFault(text);
      if (message) context.addIssue({ code: "custom", message });
    }),
    budget: money,
    protection: z.enum(["catalyst", "hot", "none"]),
    environment: z.array(
      z.object({
        name: z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,127}$/, "Letters, digits and _; not a digit first."),
        value: z.string().max(32_768),
      }),
    ),
  })
  .refine((values) => values.kind !== "own" || values.command.trim() !== "", {
    path: ["command"],
    message: "What should run?",
  })
  .refine(
    (values) => values.checkpointSource !== "transparent" || lazyPatterns(values.checkpointLazy).length === 0,
    { path: ["checkpointLazy"], message: "A whole job is restored whole: nothing of it can arrive later." },
  );

export type BookValues = z.infer<typeof bookSchema>;

interface Beside {
  /** What a job file says and the form has no field for. */
  extras?: Extras;
  uploadId?: string | null;
  /** Unpacked; the job's disk must hold it. */
  folderBytes?: number;
}

const GIB = 2 ** 30;
/** Beside the folder that was sent: what the job itself writes. */
const DISK_GB = 1;
/** Less than the platform's own choice, so that small machines serve, too; a job file says more. */
const MEMORY_GB = 1;

type Some<T> = T extends readonly unknown[] ? T : T extends object ? { [K in keyof T]?: Some<T[K]> } : T;

/**
 * The job as it is sent: what the visitor chose, and nothing else. What is left out is the platform's choice, also one
 * that it makes differently tomorrow.
 */
export function specOf(values: BookValues, beside: Beside = {}): Schemas["JobSpec"] {
  const digits = values.kind === "digits";
  const { extras = NO_EXTRAS, uploadId = null, folderBytes = 0 } = digits ? {} : beside;
  const budget = values.budget.trim() === "" ? null : parseMoney(values.budget);
  const keep = {
    ...(values.keepLast.trim() === "" ? {} : { last: Number(values.keepLast) }),
    ...(values.keepHourly.trim() === "" ? {} : { hourly: Number(values.keepHourly) }),
  };
  const lazy = lazyPatterns(values.checkpointLazy);
  const ceilings = {
    ...(extras.per_hour_micros_max == null ? {} : { per_hour_micros_max: extras.per_hour_micros_max }),
    ...(budget === null ? {} : { total_micros_max: budget }),
  };
  const spec: Some<Schemas["JobSpec"]> = {
    name: values.name,
    command: digits ? DIGITS_COMMAND : values.command,
    ...(values.environment.length > 0
      ? { environment: Object.fromEntries(values.environment.map(({ name, value }) => [name, value])) }
      : {}),
    ...(uploadId ? { upload_id: uploadId } : {}),
    ...(extras.image ? { image: extras.image } : {}),
    ...(extras.kind ? { kind: extras.kind } : {}),
    resources: {
      gpus: values.gpus,
      memory_gb: MEMORY_GB,
      disk_gb: DISK_GB + Math.ceil(folderBytes / GIB),
      ...extras.resources,
    },
    checkpoint: {
      path: values.checkpointPath,
      every_s: values.checkpointEveryS,
      ...(values.checkpointAuto ? { auto: true } : {}),
      ...(values.checkpointSource === "application" ? {} : { source: values.checkpointSource }),
      ...(values.checkpointVerify ? { verify: true } : {}),
      ...(lazy.length > 0 ? { lazy } : {}),
      ...(Object.keys(keep).length > 0 ? { keep } : {}),
    },
    ...(Object.keys(extras.failover).length > 0 ? { failover: extras.failover } : {}),
    ...(Object.keys(ceilings).length > 0 ? { budget: ceilings } : {}),
    ...(values.protection === "catalyst" ? {} : { protection: values.protection }),
    duration_s_max: values.durationS,
  };
  // The generated type calls every field with a default required; the API does not.
  return spec as Schemas["JobSpec"];
}

type Deciding = Pick<
  BookValues,
  "checkpointPath" | "checkpointEveryS" | "checkpointAuto" | "checkpointSource" | "protection"
>;

/** Of a job what decides its promise, also while the rest of the form is not filled in yet. */
export function promisedSpec(values: Partial<Deciding>, { image, resources, failover }: Extras) {
  const spec: Some<Schemas["JobSpec"]> = {
    command: "true",
    ...(image ? { image } : {}),
    ...(resources.network === undefined ? {} : { resources: { network: resources.network } }),
    ...(Object.keys(failover).length > 0 ? { failover } : {}),
    checkpoint: {
      path: values.checkpointPath || "ckpt",
      every_s: values.checkpointEveryS || 60,
      auto: values.checkpointAuto ?? false,
      source: values.checkpointSource ?? "application",
    },
    protection: values.protection ?? "catalyst",
  };
  return spec as Schemas["JobSpec"];
}
