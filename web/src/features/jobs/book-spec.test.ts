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
  checkpointAuto: false,
  checkpointVerify: false,
  keepLast: "",
  keepHourly: "",
  checkpointSource: "application",
  checkpointLazy: "",
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
    budget: { total_micros_max: 5_000_000 },
    duration_s_max: 3600,
  });
});

it("sends nothing that was not chosen", () => {
  const plain = specOf({ ...values, budget: "", environment: [] });
  expect(plain.checkpoint).toEqual({ path: "ckpt", every_s: 5 });
  for (const field of ["budget", "environment", "protection", "failover", "kind", "upload_id", "image"]) {
    expect(plain).not.toHaveProperty(field);
  }
});

it("sends each choice about checkpoints and protection", () => {
  const chosen = specOf({
    ...values,
    checkpointAuto: true,
    checkpointVerify: true,
    checkpointSource: "auto",
    keepLast: "3",
    keepHourly: "24",
    checkpointLazy: "datasets/**\n\n!datasets/index\r\n  ",
    protection: "hot",
  });
  expect(chosen.checkpoint).toEqual({
    path: "ckpt",
    every_s: 5,
    auto: true,
    verify: true,
    source: "auto",
    lazy: ["datasets/**", "!datasets/index"],
    keep: { last: 3, hourly: 24 },
  });
  expect(chosen.protection).toBe("hot");
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
  [{ keepLast: "0" }, "keepLast"],
  [{ keepHourly: "many" }, "keepHourly"],
  [{ checkpointLazy: "# a remark" }, "checkpointLazy"],
  [{ checkpointLazy: "!only/taken/away" }, "checkpointLazy"],
  [{ checkpointLazy: "x".repeat(257) }, "checkpointLazy"],
  [{ checkpointLazy: "a\n".repeat(33) }, "checkpointLazy"],
  [{ checkpointLazy: "a", checkpointSource: "transparent" as const }, "checkpointLazy"],
  [{ environment: [{ name: "1BAD", value: "" }] }, "environment"],
])("refuses %o at the field", (patch, field) => {
  const result = bookSchema.safeParse({ ...values, ...patch });
  expect(result.success).toBe(false);
  expect(result.error?.issues[0]?.path[0]).toBe(field);
});
