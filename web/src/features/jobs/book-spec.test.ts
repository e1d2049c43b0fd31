import { expect, it } from "vitest";
import { type BookValues, bookSchema, specOf } from "./book-spec";

const values: BookValues = {
  kind: "own",
  name: "my-job",
  command: "echo hello",
  gpus: 2,
  durationS: 3600,
  checkpointPath: "ckpt",
  checkpointEveryS: 5,
  checkpointSource: "application",
  budget: "5.00",
  protection: "catalyst",
  environment: [{ name: "SEED", value: "7" }],
};

it("becomes an exact specification: seconds and micro-units", () => {
  expect(specOf(values)).toMatchObject({
    name: "my-job",
    command: "echo hello",
    environment: { SEED: "7" },
    resources: { gpus: 2 },
    checkpoint: { path: "ckpt", every_s: 5 },
    budget: { total_micros_max: 5_000_000, per_hour_micros_max: null },
    protection: "catalyst",
    duration_s_max: 3600,
  });
  expect(specOf({ ...values, budget: "" }).budget?.total_micros_max).toBeNull();
});

it("sends the digits training as one command that fits the API's limit", () => {
  const { command } = specOf({ ...values, kind: "digits" });
  expect(command).toContain("def train_step");
  expect(command.length).toBeLessThan(32_768);
  expect(command.split("PYTHON\n")).toHaveLength(2);
});

it.each([
  [{ name: "My Job" }, "name"],
  [{ command: "  " }, "command"],
  [{ checkpointPath: "../elsewhere" }, "checkpointPath"],
  [{ checkpointPath: "/etc" }, "checkpointPath"],
  [{ checkpointEveryS: Number.NaN }, "checkpointEveryS"],
  [{ budget: "five" }, "budget"],
  [{ environment: [{ name: "1BAD", value: "" }] }, "environment"],
])("refuses %o at the field", (patch, field) => {
  const result = bookSchema.safeParse({ ...values, ...patch });
  expect(result.success).toBe(false);
  expect(result.error?.issues[0]?.path[0]).toBe(field);
});
