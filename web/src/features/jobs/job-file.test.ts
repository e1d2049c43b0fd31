import { expect, it } from "vitest";
import { readJobFile } from "./job-file";
import cases from "./job-file.cases.json";

it("reads a whole file, in people's spellings", async () => {
  const { spec, files, mistakes } = await readJobFile(`
name: digits
command: python train.py --epochs 300
files: .
env: {SEED: 7, EMPTY: }
resources: {gpus: 1, vram_gb: ">=24", gpu_model: [RTX_4090, A100_80GB], region: eu-north, network: yes}
checkpoint: {path: ckpt, every: 5s, keep: {last: 3}}
budget: {per_hour: 0.80, total: $5.00}
protection: catalyst
failover: {on_node_loss: wait, max_moves: 3, deadline: 2h}
max_duration: 1d
`);
  expect(mistakes).toEqual([]);
  expect(files).toBe(".");
  expect(spec).toEqual({
    name: "digits",
    command: "python train.py --epochs 300",
    environment: { SEED: "7", EMPTY: "" },
    resources: {
      gpus: 1,
      vram_gb_min: 24,
      gpu_models: ["RTX_4090", "A100_80GB"],
      regions: ["eu-north"],
      network: true,
    },
    checkpoint: { path: "ckpt", every_s: 5, keep: { last: 3 } },
    budget: { per_hour_micros_max: 800_000, total_micros_max: 5_000_000 },
    failover: { on_node_loss: "wait", moves_max: 3, deadline_s: 7_200 },
    protection: "catalyst",
    duration_s_max: 86_400,
  });
});

it.each([
  ["comand: x", "comand", "there is no such field", "command"],
  ["command: x\nresources: {gpu: 1}", "resources.gpu", "there is no such field", "gpus"],
  ["command: x\nresources: {gpus: 1.5}", "resources.gpus", "whole number", undefined],
  ["command: x\nresources: {vram_gb: lots}", "resources.vram_gb", ">=24", undefined],
  ["command: x\nresources: nothing", "resources", "must be a mapping", undefined],
  ["command: x\ncheckpoint: {every: soon}", "checkpoint.every", "30s, 5m", undefined],
  ["command: x\nbudget: {total: -1}", "budget.total", "positive amount", undefined],
  ["command: x\nbudget: {total: 0.1234567}", "budget.total", "six decimals", undefined],
  ["command: x\nprotection: catalist", "protection", "must be one of", "catalyst"],
  ["command: 7", "command", "must be text", undefined],
  ["name: x", "command", "is missing", undefined],
  ["- a\n- b", "", "is a mapping", undefined],
  ["command: [", "", "not valid YAML at line 1", undefined],
])("says what is wrong with %j", async (text, field, message, suggestion) => {
  const { mistakes } = await readJobFile(text);
  const found = mistakes.find((mistake) => mistake.field === field);
  expect(found?.message).toContain(message);
  expect(found?.suggestion).toBe(suggestion);
});

it("refuses a file that unfolds without end, and one that is too long", async () => {
  const bomb = `a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nenv: [*c,*c,*c,*c,*c,*c]\n`;
  expect((await readJobFile(bomb)).mistakes[0]?.message).toContain("refers to itself");
  expect((await readJobFile("x".repeat(300_000))).mistakes[0]?.message).toContain("256 KiB");
});

const sections = { resources: {}, checkpoint: {}, budget: {}, failover: {} };

it.each(cases.good)("reads $text as the command does", async ({ text, spec }) => {
  expect(await readJobFile(text)).toMatchObject({ mistakes: [], spec: { ...sections, ...spec } });
});

it.each(cases.bad)("finds the mistakes of $text that the command finds", async ({ text, fields }) => {
  const { mistakes } = await readJobFile(text);
  expect([...new Set(mistakes.map(({ field }) => field))].sort()).toEqual(fields);
});
