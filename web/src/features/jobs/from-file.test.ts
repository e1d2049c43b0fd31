import { expect, it } from "vitest";
import { type BookValues, specOf } from "./book-spec";
import { extrasInWords, filledFrom } from "./from-file";
import { readJobFile } from "./job-file";

const terms = {
  gpusFree: 2,
  durationSMin: 60,
  durationSMax: 86_400,
  gpuModel: "RTX_4090",
  vramGb: 24,
  region: "eu-north",
};
const form: BookValues = {
  kind: "digits",
  name: "x",
  command: "x",
  gpus: 1,
  durationS: 3600,
  checkpointPath: "ckpt",
  checkpointEveryS: 60,
  checkpointAuto: false,
  checkpointVerify: false,
  keepLast: "",
  keepHourly: "",
  checkpointSource: "application",
  checkpointLazy: "",
  budget: "",
  protection: "catalyst",
  environment: [],
};

it("fills the form, and sends along what the form has no field for", async () => {
  const file = await readJobFile(`
name: mine
command: sh run.sh
env: {A: b}
resources: {gpus: 2, memory_gb: 4, network: yes, gpu_model: RTX_4090}
checkpoint: {path: out, every: 30s, keep: {last: 2}, verify: yes, lazy: [old/*, "!old/best"]}
budget: {total: 5, per_hour: 1.5}
failover: {max_moves: 1}
max_duration: 2h
`);
  const { values, extras, misfits } = filledFrom(file, terms);
  expect(misfits).toEqual([]);
  expect(extrasInWords(extras)).toEqual([
    "memory_gb: 4",
    "network: true",
    "gpu_model: RTX_4090",
    "per_hour: 1.50",
    "max_moves: 1",
  ]);
  const sent = specOf({ ...form, ...values }, { extras, uploadId: "upl_1", folderBytes: 3 * 2 ** 30 });
  expect(sent).toMatchObject({
    name: "mine",
    command: "sh run.sh",
    environment: { A: "b" },
    upload_id: "upl_1",
    resources: { gpus: 2, memory_gb: 4, disk_gb: 4, network: true, gpu_models: ["RTX_4090"] },
    checkpoint: { path: "out", every_s: 30, keep: { last: 2 }, verify: true, lazy: ["old/*", "!old/best"] },
    budget: { total_micros_max: 5_000_000, per_hour_micros_max: 1_500_000 },
    failover: { moves_max: 1 },
    duration_s_max: 7_200,
  });
});

it("says what this offer does not have", async () => {
  const file = await readJobFile(
    "command: x\nresources: {gpus: 8, gpu_model: H100_SXM, vram_gb: 80, region: moon}\nmax_duration: 30d",
  );
  const { values, misfits } = filledFrom(file, terms);
  expect(misfits.map(({ field }) => field)).toEqual([
    "resources.gpus",
    "max_duration",
    "resources.gpu_model",
    "resources.vram_gb",
    "resources.region",
  ]);
  expect(values.durationS).toBe(86_400);
});
