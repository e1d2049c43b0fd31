/** One invented job that runs, saves, loses its node and goes on: enough to build the job page against. */
import type { ServerResponse } from "node:http";
import type { components } from "../src/api/schema.d.ts";

type Schemas = components["schemas"];
type Job = Schemas["JobOut"];
type Event = Schemas["JobEventOut"];

const now = (): string => new Date().toISOString();
const TOTAL_STEPS = 3_360;

export class Story {
  job: Job;
  events: Event[] = [];
  #log = "";
  #offer: Schemas["OfferOut"];
  #listeners = new Set<(event: string, data: unknown, id?: number) => void>();
  #timer: ReturnType<typeof setInterval> | undefined;
  #down = false;
  #step = 0;
  #metered = 0;

  constructor(id: string, offer: Schemas["OfferOut"] | undefined, grown: boolean, spec?: Schemas["JobSpec"]) {
    if (!offer) throw new Error("no offer");
    this.#offer = offer;
    this.job = {
      id,
      name: spec?.name ?? "digits",
      state: "queued",
      reason: null,
      detail: null,
      exit_code: null,
      spec:
        spec ??
        ({ name: "digits", command: "python train.py --epochs 120", protection: "catalyst" } as Job["spec"]),
      created_at: now(),
      started_at: null,
      ended_at: null,
      placement: null,
      placements_count: 0,
      last_checkpoint_at: null,
      checkpoints_count: 0,
      progress: null,
      promise: {
        saved: "folder",
        says: "If its node dies, it begins again on another one with its folder `ckpt` as last saved.",
        why_not_more: "`checkpoint.source: auto` saves the whole job on nodes that can.",
      },
      charged_micros: 0,
      refunded_micros: 0,
      running_s: 0,
    };
    this.#tell("queued", "Queued");
    setTimeout(() => this.#place(offer.node_name, 1), grown ? 0 : 700);
  }

  #emit(event: string, data: unknown, id?: number): void {
    for (const listener of this.#listeners) listener(event, data, id);
  }

  #tell(kind: Event["kind"], title: string, ms: number | null = null): void {
    const event: Event = {
      id: this.events.length + 1,
      at: now(),
      kind,
      epoch: this.job.placement?.epoch ?? null,
      title,
      detail: {},
      ms,
      cost_micros: this.job.charged_micros,
    };
    this.events.push(event);
    this.#emit("timeline", event, event.id);
    this.#emit("job", this.job);
  }

  #place(node: string, epoch: number): void {
    this.job = {
      ...this.job,
      state: "starting",
      placements_count: epoch,
      placement: {
        id: `plc_${epoch}`,
        epoch,
        state: "starting",
        outcome: null,
        node_id: this.#offer.node_id,
        node_name: node,
        gpu_model: this.#offer.gpu_model,
        gpus: 1,
        region: this.#offer.region,
        simulated: true,
        booking_id: `bok_${this.job.id}`,
        rate_per_hour_micros: this.#offer.price_per_gpu_hour_micros,
        created_at: now(),
        running_at: null,
        ended_at: null,
        recovery_ms:
          epoch > 1
            ? { detect_ms: 5_130, decide_ms: 41, restore_ms: 212, start_ms: 388, recovery_ms: 5_771 }
            : null,
      },
    };
    if (epoch === 1) this.#tell("matched", `Matched with ${node}`, 36);
    else this.#tell("failed_over", `Failed over to ${node}`, 41);
    this.#tell(
      epoch > 1 ? "restoring" : "starting",
      epoch > 1 ? "Restoring the last checkpoint" : "Starting",
      212,
    );
    setTimeout(() => {
      this.#down = false;
      const placement = this.job.placement;
      if (!placement) return;
      this.job = {
        ...this.job,
        state: "running",
        started_at: this.job.started_at ?? now(),
        placement: { ...placement, state: "running", running_at: now() },
      };
      this.#tell(
        epoch > 1 ? "resumed" : "running",
        epoch > 1 ? `Resumed at step ${this.#step}` : "Running",
        388,
      );
      this.#timer ??= setInterval(() => this.#tick(), 500);
    }, 900);
  }

  #tick(): void {
    if (this.#down || this.job.state !== "running") return;
    this.#step += 12;
    this.#metered += 0.5;
    const loss = 2.3 * Math.exp(-this.#step / 700) + 0.12 + Math.random() * 0.04;
    this.job = {
      ...this.job,
      running_s: this.#metered,
      progress: { step: this.#step, total_steps: TOTAL_STEPS, metrics: { loss } },
    };
    this.#emit("metrics", {
      at: now(),
      cpu_percent: 91 + Math.random() * 8,
      memory_mb: 143 + Math.random() * 3,
      gpu_utilisation_percent: null,
      step: this.#step,
      total_steps: TOTAL_STEPS,
      metrics: { loss, accuracy: 1 - loss / 3 },
    });
    const text = `step ${this.#step}/${TOTAL_STEPS}  loss ${loss.toFixed(4)}\n`;
    this.#log += text;
    this.#emit("log", { text, next_offset: this.#log.length, ended: false });
    if (this.#step % 60 === 0) {
      this.job = {
        ...this.job,
        checkpoints_count: this.job.checkpoints_count + 1,
        last_checkpoint_at: now(),
      };
      this.#tell("checkpoint", `Checkpoint ${this.job.checkpoints_count} at step ${this.#step}`, 84);
    } else this.#emit("job", this.job);
  }

  kill(): void {
    this.#down = true;
    setTimeout(() => this.#tell("node_suspect", `${this.#offer.node_name}: heartbeats are missing`), 1_200);
    setTimeout(() => {
      this.job = { ...this.job, state: "recovering" };
      this.#tell("node_lost", `${this.#offer.node_name} is lost`, 5_130);
      this.#tell("refunded", "Work since the last checkpoint is not charged");
    }, 4_500);
    setTimeout(() => this.#place("oslo-4", this.job.placements_count + 1), 5_000);
  }

  stop(): Job {
    clearInterval(this.#timer);
    this.job = {
      ...this.job,
      state: "stopped",
      reason: "by_renter",
      detail: "You stopped it.",
      ended_at: now(),
    };
    this.#tell("stopped", "Stopped by you");
    this.#emit("end", {});
    return this.job;
  }

  logPage(offset: number): Schemas["LogPageOut"] {
    return {
      text: this.#log.slice(offset),
      next_offset: this.#log.length,
      ended: this.job.ended_at !== null,
    };
  }

  stream(response: ServerResponse, logOffset: number): void {
    response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
    const write = (event: string, data: unknown, id?: number) =>
      response.write(`${id ? `id: ${id}\n` : ""}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
    write("job", this.job);
    for (const event of this.events) write("timeline", event, event.id);
    write("log", this.logPage(logOffset));
    if (this.job.ended_at) {
      write("end", {});
      response.end();
      return;
    }
    this.#listeners.add(write);
    response.on("close", () => this.#listeners.delete(write));
  }

  booking(): Schemas["BookingOut"] {
    return {
      id: `bok_${this.job.id}`,
      job_id: this.job.id,
      offer_id: this.#offer.id,
      node_id: this.#offer.node_id,
      node_name: this.job.placement?.node_name ?? this.#offer.node_name,
      gpu_model: this.#offer.gpu_model,
      kind: "on_demand",
      device_ids: ["dev_0_0"],
      state: "active",
      rate_per_hour_micros: this.#offer.price_per_gpu_hour_micros,
      starts_at: this.job.created_at,
      ends_at: this.job.created_at,
      ended_at: null,
      held_micros: 420_000,
      charged_micros: this.job.charged_micros,
      refunded_micros: 0,
    };
  }

  receipt(): Schemas["ReceiptOut"] {
    return {
      booking_id: `bok_${this.job.id}`,
      job_id: this.job.id,
      currency: "USD",
      owner_share_percent: 80,
      unpaid_micros: 0,
      rate_per_hour_micros: this.#offer.price_per_gpu_hour_micros,
      lines: [
        {
          started_at: this.job.created_at,
          ended_at: now(),
          seconds: this.#metered,
          billed: true,
          why: "ran",
        },
        { started_at: now(), ended_at: now(), seconds: 3.2, billed: false, why: "lost_work" },
      ],
      billed_us: this.#metered * 1e6,
      charged_micros: Math.round((this.#offer.price_per_gpu_hour_micros * this.#metered) / 3600),
      refunded_micros: 373,
      owner_micros: Math.round((this.#offer.price_per_gpu_hour_micros * this.#metered * 0.8) / 3600),
      platform_micros: Math.round((this.#offer.price_per_gpu_hour_micros * this.#metered * 0.2) / 3600),
      standbys: [],
      final: false,
    };
  }

  checkpoints(): Schemas["CheckpointOut"][] {
    return this.events
      .filter(({ kind }) => kind === "checkpoint")
      .map((event, index) => ({
        id: `ckp_${index}`,
        job_id: this.job.id,
        epoch: event.epoch ?? 1,
        seq: index + 1,
        committed_at: event.at,
        files: 1,
        size_bytes: 84_212,
        stored_bytes: 81_005,
        step: (index + 1) * 60,
        trigger: "job",
        node_name: this.#offer.node_name,
        transparent: false,
      }))
      .reverse();
  }

  decisions(): Schemas["DecisionOut"][] {
    const candidate = (
      name: string,
      model: string,
      rate: number,
      excluded: string | null,
      chosen = false,
    ): Schemas["CandidateOut"] => ({
      offer_id: `off_${name}`,
      node_id: `nod_${name}`,
      node_name: name,
      gpu_model: model,
      region: "eu-west",
      chosen,
      excluded_because: excluded,
      rate_per_hour_micros: rate,
      expected_run_s: excluded ? null : 151.4,
      hazard_per_hour: excluded ? null : 0.00042,
      expected_loss_micros: excluded ? null : 12,
      data_movement_micros: excluded ? null : 0,
      expected_cost_micros: excluded ? null : Math.round((rate * 151.4) / 3600),
    });
    return [
      {
        id: "dec_1",
        epoch: 1,
        at: this.job.created_at,
        took_ms: 3.4,
        candidates_count: 3,
        failed_counts: { offer: 1 },
        summary: "lyon-1 has the lowest expected cost of the 2 nodes that fit.",
        candidates: [
          candidate("oslo-3", "RTX_3090", 240_000, "not the chosen offer"),
          candidate("lyon-1", "RTX_4090", 420_000, null, true),
          candidate("oslo-4", "RTX_4090", 445_000, null),
        ],
      },
    ];
  }
}
