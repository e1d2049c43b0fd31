/**
 * A stand-in for the API while the web app is being worked on without a platform: `node dev/fixture-server.ts`.
 * The product never imports this. Shapes come from the generated schema; stories are invented and end here.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { components } from "../src/api/schema.d.ts";
import { Story } from "./fixture-job.ts";
import { earnings, gpuModels, nodes, offers, user, wallet, walletEntries } from "./fixtures.ts";

type Schemas = components["schemas"];
type Json = Record<string, unknown> | readonly unknown[] | null;

const PORT = Number(process.env.PORT ?? 8411);
let role: Schemas["Role"] | null = null;
const stories = new Map<string, Story>();
const cut = new Set<string>();

const session = (): Schemas["SessionOut"] | null =>
  role ? { user: user(role), csrf_token: "fixture" } : null;

function send(response: ServerResponse, status: number, body: Json): void {
  response.writeHead(status, {
    "content-type": status >= 400 ? "application/problem+json" : "application/json",
  });
  response.end(body === null ? undefined : JSON.stringify(body));
}

const problem = (response: ServerResponse, status: number, code: string, detail: string, extra = {}) =>
  send(response, status, { type: "about:blank", title: code, status, code, detail, ...extra });

async function bodyOf(request: IncomingMessage): Promise<Record<string, unknown>> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return chunks.length ? (JSON.parse(Buffer.concat(chunks).toString()) as Record<string, unknown>) : {};
}

function search(params: URLSearchParams): Schemas["OfferPageOut"] | string {
  const q = params.get("q") ?? "";
  if (/(^|\s)pirce/.test(q)) return "pirce";
  const models = params.getAll("gpu_model");
  const regions = params.getAll("region");
  const vram = Number(params.get("vram_gb_min") ?? 0);
  const price = Number(params.get("price_micros_max") ?? Number.POSITIVE_INFINITY);
  const items = offers.filter(
    (offer) =>
      offer.gpus_free > 0 &&
      (models.length === 0 || models.includes(offer.gpu_model)) &&
      (regions.length === 0 || regions.includes(offer.region)) &&
      offer.vram_gb >= vram &&
      offer.price_per_gpu_hour_micros <= price,
  );
  const count = (key: (offer: Schemas["OfferOut"]) => string) =>
    [...Map.groupBy(offers, key)].map(([value, group]) => ({ value, count: group.length }));
  return {
    items,
    next_cursor: null,
    total: items.length,
    facets: {
      gpu_model: count((offer) => offer.gpu_model),
      region: count((offer) => offer.region),
      vram_gb: count((offer) => String(offer.vram_gb)),
    },
  };
}

function story(id: string): Story | undefined {
  if (!stories.has(id) && id.startsWith("job_seed")) stories.set(id, new Story(id, offers[0], true));
  return stories.get(id);
}

async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? "/", "http://fixture");
  const path = url.pathname.replace("/api/v1", "");
  const route = `${request.method} ${path}`;
  const [, noun = "", id = "", verb = ""] = path.split("/");

  if (route === "GET /platform") {
    return send(response, 200, {
      name: "GP4U",
      version: "0.1.0",
      demo: true,
      currency: "USD",
      owner_share_percent: 80,
      operator_share_percent: 85,
      heartbeat_ttl_s: 5,
    });
  }
  if (route === "GET /auth/session") {
    const current = session();
    return current
      ? send(response, 200, current)
      : problem(response, 401, "unauthenticated", "Nobody is signed in.");
  }
  if (route === "POST /auth/sign-in" || route === "POST /auth/register") {
    const body = await bodyOf(request);
    if (body.password === "wrong-password") {
      return problem(response, 401, "wrong_credentials", "The address or the password is wrong.");
    }
    role = (String(body.email).split("@")[0] as Schemas["Role"]) ?? "renter";
    return send(response, 200, session());
  }
  if (route === "POST /auth/refresh")
    return problem(response, 401, "unauthenticated", "Nobody is signed in.");
  if (route === "POST /auth/sign-out") {
    role = null;
    return send(response, 204, null);
  }
  if (route === "GET /offers") {
    const page = search(url.searchParams);
    if (typeof page === "string") {
      return problem(response, 422, "unknown_field", `There is no field “${page}”. Did you mean “price”?`, {
        field: page,
        suggestion: "price",
      });
    }
    return send(response, 200, page);
  }
  if (route === "GET /offers/mine")
    return send(response, 200, { items: offers.slice(0, 3), next_cursor: null });
  if (noun === "offers" && request.method === "GET") {
    const offer = offers.find((candidate) => candidate.id === id);
    return offer
      ? send(response, 200, offer)
      : problem(response, 404, "not_found", "There is no such offer.");
  }
  if (noun === "offers" && request.method === "PATCH") {
    const offer = offers.find((candidate) => candidate.id === id);
    if (!offer) return problem(response, 404, "not_found", "There is no such offer.");
    Object.assign(offer, await bodyOf(request));
    return send(response, 200, offer);
  }
  if (route === "GET /gpu-models") return send(response, 200, gpuModels);
  if (route === "POST /bookings") {
    const body = (await bodyOf(request)) as unknown as Schemas["BookingIn"];
    const offer = offers.find((candidate) => candidate.id === body.offer_id);
    if (!offer) return problem(response, 409, "offer_taken", "Somebody was faster.");
    const made = new Story(`job_${Date.now()}`, offer, false, body.job);
    stories.set(made.job.id, made);
    return send(response, 201, made.booking());
  }
  if (route === "GET /bookings") {
    return send(response, 200, {
      items: [...stories.values()].map((item) => item.booking()),
      next_cursor: null,
    });
  }
  if (noun === "bookings" && verb === "receipt") {
    const found = [...stories.values()].find((item) => item.booking().id === id);
    return found
      ? send(response, 200, found.receipt())
      : problem(response, 404, "not_found", "There is no such booking.");
  }
  if (noun === "bookings") return problem(response, 404, "not_found", "There is no such booking.");
  if (route === "GET /jobs") {
    story("job_seed_1");
    return send(response, 200, {
      items: [...stories.values()].map((item) => item.job).reverse(),
      next_cursor: null,
    });
  }
  if (noun === "jobs") {
    const found = story(id);
    if (!found) return problem(response, 404, "not_found", "There is no such job.");
    if (verb === "") return send(response, 200, found.job);
    if (verb === "stop") return send(response, 200, found.stop());
    if (verb === "events") return send(response, 200, found.events);
    if (verb === "log")
      return send(response, 200, found.logPage(Number(url.searchParams.get("offset") ?? 0)));
    if (verb === "decisions") return send(response, 200, found.decisions());
    if (verb === "checkpoints") return send(response, 200, { items: found.checkpoints(), next_cursor: null });
    if (verb === "stream") return found.stream(response, Number(url.searchParams.get("log_offset") ?? 0));
  }
  if (route === "GET /wallet") return send(response, 200, wallet);
  if (route === "GET /wallet/entries")
    return send(response, 200, { items: walletEntries, next_cursor: null });
  if (route === "POST /wallet/top-ups") {
    const body = await bodyOf(request);
    wallet.available_micros += Number(body.amount_micros);
    return send(response, 201, wallet);
  }
  if (route === "GET /nodes") return send(response, 200, { items: nodes, next_cursor: null });
  if (route === "POST /enrolment-tokens") {
    return send(response, 201, {
      token: "gp4u_enrol_fixture",
      expires_at: new Date(Date.now() + 600_000).toISOString(),
      command: "gp4u agent join http://127.0.0.1:8000 --token gp4u_enrol_fixture",
    });
  }
  if (route === "GET /earnings") return send(response, 200, earnings);
  if (route === "GET /api-keys") return send(response, 200, { items: [], next_cursor: null });
  if (route === "POST /api-keys") {
    return send(response, 201, {
      id: "key_1",
      name: "nightly",
      prefix: "gp4u_aB3x",
      scopes: ["read"],
      created_at: new Date().toISOString(),
      expires_at: null,
      last_used_at: null,
      revoked_at: null,
      key: "gp4u_aB3xFixtureKeyOfNoUse0000000000",
    });
  }
  if (noun === "demo") {
    const fleet = nodes.map((node) => ({
      name: node.name,
      node_id: node.id,
      owner: "Ada",
      region: node.region,
      gpu_model: node.devices[0]?.model ?? "",
      gpus: node.devices.length,
      agent_running: true,
      link: cut.has(node.name) ? "cut" : "up",
      job_ids: [],
    }));
    const [, , , name = "", action = ""] = path.split("/");
    if (name === "") return send(response, 200, fleet);
    if (action === "kill")
      for (const item of stories.values()) if (item.job.placement?.node_name === name) item.kill();
    if (action === "link") {
      const { mode } = await bodyOf(request);
      if (mode === "cut") cut.add(name);
      else cut.delete(name);
    }
    return send(response, 200, fleet.find((node) => node.name === name) ?? null);
  }
  return problem(response, 404, "not_found", `No fixture for ${route}.`);
}

createServer((request, response) => {
  handle(request, response).catch((error: unknown) => problem(response, 500, "fixture_broke", String(error)));
}).listen(PORT, "127.0.0.1", () => process.stdout.write(`fixtures on http://127.0.0.1:${PORT}\n`));
