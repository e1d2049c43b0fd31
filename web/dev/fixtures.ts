/** Invented data in the API's shapes, for development only. */
import type { components } from "../src/api/schema.d.ts";

type Schemas = components["schemas"];

const hoursAgo = (hours: number): string => new Date(Date.now() - hours * 3_600_000).toISOString();

export const user = (role: Schemas["Role"]): Schemas["UserOut"] => ({
  id: `usr_${role}`,
  email: `${role}@gp4u.demo`,
  name: role === "owner" ? "Ada Owner" : "Demo renter",
  roles: role === "operator" ? ["owner", "operator"] : [role],
  created_at: hoursAgo(48),
});

interface ModelFacts {
  name: string;
  vram: number;
  fp16: number;
  fp32: number;
  bandwidth: number;
}

const MODELS: Record<string, ModelFacts> = {
  RTX_4090: { name: "NVIDIA GeForce RTX 4090", vram: 24, fp16: 165.2, fp32: 82.6, bandwidth: 1008 },
  RTX_3090: { name: "NVIDIA GeForce RTX 3090", vram: 24, fp16: 71, fp32: 35.6, bandwidth: 936 },
  A100_80GB: { name: "NVIDIA A100 80GB", vram: 80, fp16: 312, fp32: 19.5, bandwidth: 2039 },
  H100_80GB: { name: "NVIDIA H100 80GB", vram: 80, fp16: 989, fp32: 67, bandwidth: 3350 },
  L40S: { name: "NVIDIA L40S", vram: 48, fp16: 362, fp32: 91.6, bandwidth: 864 },
};

const FLEET: readonly [string, string, string, number, number, number, number][] = [
  ["lyon-1", "RTX_4090", "eu-west", 2, 2, 420_000, 0.9987],
  ["oslo-3", "RTX_3090", "eu-north", 1, 1, 240_000, 0.9712],
  ["austin-7", "A100_80GB", "us-central", 1, 1, 1_150_000, 0.9991],
  ["tokyo-2", "H100_80GB", "ap-east", 8, 6, 2_390_000, 0.9964],
  ["lyon-2", "L40S", "eu-west", 1, 1, 790_000, 0.9902],
  ["oslo-4", "RTX_4090", "eu-north", 1, 1, 445_000, 0.9523],
];

export const gpuModels: Schemas["GpuModelOut"][] = Object.entries(MODELS).map(([model, facts]) => ({
  model,
  name: facts.name,
  vram_gb: facts.vram,
  fp16_tflops: facts.fp16,
  fp32_tflops: facts.fp32,
  memory_bandwidth_gb_s: facts.bandwidth,
  tdp_w: null,
}));

const factsOf = (model: string): ModelFacts => {
  const facts = MODELS[model];
  if (!facts) throw new Error(`no facts of ${model}`);
  return facts;
};

export const offers: Schemas["OfferOut"][] = FLEET.map(
  ([node, model, region, total, free, price, reliability], index) => {
    const facts = factsOf(model);
    return {
      id: `off_${index + 1}`,
      node_id: `nod_${index + 1}`,
      node_name: node,
      owner_name: index % 2 ? "Björn" : "Ada Owner",
      gpu_model: model,
      gpu_name: facts.name,
      vram_gb: facts.vram,
      gpus_total: total,
      gpus_free: free,
      price_per_gpu_hour_micros: price,
      interruptible_floor_micros: index === 0 ? 210_000 : null,
      duration_s_min: 60,
      duration_s_max: 604_800,
      region,
      cpus: 16,
      memory_gb: 128,
      reliability,
      reliability_low: reliability - 0.02,
      reliability_high: Math.min(1, reliability + 0.005),
      record: "99.1 %, 1 day seen",
      seen_s: 93_000,
      fp16_tflops: facts.fp16,
      fp32_tflops: facts.fp32,
      memory_bandwidth_gb_s: facts.bandwidth,
      perf_per_dollar: facts.fp16 / (price / 1e6),
      simulated: true,
      state: "listed" as const,
      in_pool: false,
      listed_at: hoursAgo(3),
    };
  },
).sort((a, b) => a.price_per_gpu_hour_micros - b.price_per_gpu_hour_micros);

export const nodes: Schemas["NodeOut"][] = FLEET.slice(0, 4).map(
  ([name, model, region, total, free, , reliability], index) => ({
    id: `nod_${index + 1}`,
    name,
    owner_id: "usr_owner",
    region,
    status: "verified",
    duty: "in_service",
    state: (["online", "suspect", "online", "lost"] as const)[index] ?? "online",
    record: "99.1 %, 1 day seen",
    reliability_low: reliability - 0.02,
    reliability_high: Math.min(1, reliability + 0.005),
    seen_s: 93_000,
    uptime: 0.991,
    liveness: (["online", "suspect", "online", "lost"] as const)[index] ?? "online",
    simulated: true,
    cpus: 16,
    memory_gb: 128,
    cpu_model: "fixture",
    findings: [],
    runtimes: { sandbox: "bubblewrap 0.11" },
    devices: Array.from({ length: total }, (_, device) => ({
      id: `dev_${index}_${device}`,
      uuid: `GPU-${index}-${device}`,
      model,
      vram_gb: factsOf(model).vram,
      simulated: true,
      in_use: device >= free || (index === 0 && device === 0),
    })),
    reliability,
    losses: index,
    host_losses: Math.max(0, index - 1),
    network_losses: index > 0 ? 1 : 0,
    online_s: 93_000 - index * 7_000,
    last_seen_at: hoursAgo(index === 3 ? 2 : 0),
    enrolled_at: hoursAgo(30),
    in_pool: false,
    windows: [],
    running_jobs: index === 0 ? 1 : 0,
  }),
);

export const wallet: Schemas["WalletOut"] = {
  currency: "USD",
  available_micros: 47_312_850,
  held_micros: 420_000,
  spent_30d_micros: 2_267_150,
};

export const walletEntries: Schemas["WalletEntryOut"][] = (
  [
    ["charge", -7_000, "Running time on lyon-1"],
    ["refund", 1_283, "Work lost with oslo-3"],
    ["hold", -420_000, "Set aside for one hour on lyon-1"],
    ["release", 233_333, "Unused part of a hold"],
    ["top_up", 50_000_000, "Sandbox payment"],
  ] as const
).map(([kind, amount, description], index) => ({
  id: `ent_${index}`,
  at: hoursAgo(index * 0.7),
  kind,
  amount_micros: amount,
  balance_after_micros: 47_312_850 + index * 120_000,
  booking_id: kind === "top_up" ? null : "bok_1",
  job_id: kind === "top_up" ? null : "job_seed_1",
  description,
}));

export const earnings: Schemas["EarningsOut"] = {
  currency: "USD",
  earned_total_micros: 18_443_207,
  earned_24h_micros: 1_204_113,
  earned_30d_micros: 18_443_207,
  owner_share_percent: 80,
  by_node: [
    {
      node_id: "nod_1",
      node_name: "lyon-1",
      gross_micros: 20_104_009,
      platform_fee_micros: 4_020_802,
      earned_micros: 16_083_207,
      billed_s: 171_204,
    },
    {
      node_id: "nod_2",
      node_name: "oslo-3",
      gross_micros: 2_950_000,
      platform_fee_micros: 590_000,
      earned_micros: 2_360_000,
      billed_s: 44_250,
    },
  ],
  by_day: Array.from({ length: 12 }, (_, index) => ({
    day: hoursAgo(index * 48).slice(0, 10),
    earned_micros: Math.round(1_500_000 * Math.abs(Math.sin(index + 1))),
  })),
};
