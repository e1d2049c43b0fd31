/** The booking form's values, their rules, and the exact job specification they become. */
import { z } from "zod";
import type { Schemas } from "@/api/client";
import { parseMoney } from "@/lib/money";
import { DIGITS_COMMAND } from "./examples";

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
    budget: money,
    protection: z.enum(["catalyst", "none"]),
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

export function specOf(values: BookValues): Schemas["JobSpec"] {
  const digits = values.kind === "digits";
  const budget = values.budget.trim() === "" ? null : parseMoney(values.budget);
  return {
    name: values.name,
    command: digits ? DIGITS_COMMAND : values.command,
    environment: Object.fromEntries(values.environment.map(({ name, value }) => [name, value])),
    upload_id: null,
    resources: {
      gpus: values.gpus,
      vram_gb_min: 0,
      gpu_models: [],
      cpus: 1,
      memory_gb: 1,
      disk_gb: 1,
      regions: [],
      network: false,
    },
    checkpoint: { path: values.checkpointPath, every_s: values.checkpointEveryS },
    budget: { per_hour_micros_max: null, total_micros_max: budget },
    protection: values.protection,
    duration_s_max: values.durationS,
  };
}
