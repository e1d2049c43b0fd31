/** The booking form's values, their rules, and the exact job specification they become. */
import { z } from "zod";
import type { Schemas } from "@/api/client";
import { parseMoney } from "@/lib/money";
import { DIGITS_COMMAND } from "./examples";
import { type Extras, NO_EXTRAS } from "./from-file";

const money = z
  .string()
  .refine((text) => text.trim() === "" || (parseMoney(text) ?? 0) > 0, "An amount such as 5.00.");

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
    checkpointSource: z.enum(["application", "auto", "transparent"]),
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
  });

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

export function specOf(values: BookValues, beside: Beside = {}): Schemas["JobSpec"] {
  const digits = values.kind === "digits";
  const { extras = NO_EXTRAS, uploadId = null, folderBytes = 0 } = digits ? {} : beside;
  const budget = values.budget.trim() === "" ? null : parseMoney(values.budget);
  return {
    name: values.name,
    command: digits ? DIGITS_COMMAND : values.command,
    environment: Object.fromEntries(values.environment.map(({ name, value }) => [name, value])),
    upload_id: uploadId,
    ...(extras.image ? { image: extras.image } : {}),
    kind: extras.kind ?? "on_demand",
    resources: {
      gpus: values.gpus,
      vram_gb_min: 0,
      gpu_models: [],
      cpus: 1,
      memory_gb: 1,
      disk_gb: DISK_GB + Math.ceil(folderBytes / GIB),
      regions: [],
      network: false,
      ...extras.resources,
    },
    checkpoint: {
      path: values.checkpointPath,
      every_s: values.checkpointEveryS,
      auto: extras.auto ?? false,
      source: values.checkpointSource,
      verify: false,
      ...(extras.keep ? { keep: extras.keep } : {}),
    },
    ...(Object.keys(extras.failover).length > 0
      ? { failover: { on_node_loss: "move", same_region_only: false, ...extras.failover } }
      : {}),
    budget: { per_hour_micros_max: extras.per_hour_micros_max ?? null, total_micros_max: budget },
    protection: values.protection,
    duration_s_max: values.durationS,
  };
}
