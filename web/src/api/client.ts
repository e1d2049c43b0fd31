/**
 * The one way to the API: typed by the generated schema, cookies for identity, the CSRF token echoed on unsafe
 * requests, and one silent refresh when the short access token has run out.
 */
import createClient, { type Middleware } from "openapi-fetch";
import { noteServerDate } from "@/lib/clock";
import { ApiProblem, problemFrom, unreachable } from "./problem";
import type { components, paths } from "./schema";

export type Schemas = components["schemas"];

const SAFE = new Set(["GET", "HEAD", "OPTIONS"]);
/** Not a secret and not a session: remembers only that a refresh is worth trying. */
const HINT = "gp4u.signed-in";

let csrfToken: string | null = null;
let refreshing: Promise<boolean> | null = null;
const signedOutListeners = new Set<() => void>();

export function rememberSession(session: Schemas["SessionOut"] | null): void {
  csrfToken = session?.csrf_token ?? null;
  try {
    if (session) localStorage.setItem(HINT, "1");
    else localStorage.removeItem(HINT);
  } catch {
    // Storage may be blocked; then one more 401 is asked for than needed.
  }
}

/** Calls `listener` when a request found the session ended and could not renew it. */
export function onSignedOut(listener: () => void): () => void {
  signedOutListeners.add(listener);
  return () => signedOutListeners.delete(listener);
}

function hinted(): boolean {
  try {
    return localStorage.getItem(HINT) !== null;
  } catch {
    return true;
  }
}

async function refresh(): Promise<boolean> {
  const headers: Record<string, string> = csrfToken ? { "X-CSRF-Token": csrfToken } : {};
  const response = await fetch("/api/v1/auth/refresh", {
    method: "POST",
    credentials: "same-origin",
    headers,
  });
  if (!response.ok) return false;
  rememberSession((await response.json()) as Schemas["SessionOut"]);
  return true;
}

/** Single flight: ten requests that fail together cause one rotation, so none of them looks like token reuse. */
export function refreshOnce(): Promise<boolean> {
  refreshing ??= refresh()
    .catch(() => false)
    .finally(() => {
      refreshing = null;
    });
  return refreshing;
}

async function ensureCsrf(): Promise<void> {
  if (csrfToken !== null || !hinted()) return;
  const response = await fetch("/api/v1/auth/session", { credentials: "same-origin" });
  if (response.ok) rememberSession((await response.json()) as Schemas["SessionOut"]);
}

const NEVER_RETRIED = ["/auth/sign-in", "/auth/register", "/auth/refresh"];

async function send(request: Request): Promise<Response> {
  const exempt = NEVER_RETRIED.some((path) => request.url.endsWith(path));
  const unsafe = !SAFE.has(request.method);
  if (unsafe && !exempt) await ensureCsrf();

  const attempt = () => {
    const copy = request.clone();
    if (unsafe && csrfToken) copy.headers.set("X-CSRF-Token", csrfToken);
    return fetch(copy);
  };

  let response: Response;
  try {
    response = await attempt();
    if (response.status === 401 && !exempt && hinted()) {
      if (await refreshOnce()) {
        response = await attempt();
      } else if (navigator.onLine) {
        rememberSession(null);
        for (const listener of signedOutListeners) listener();
      }
    }
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw unreachable();
  }
  noteServerDate(response.headers.get("Date"));
  return response;
}

const problems: Middleware = {
  async onResponse({ response }) {
    if (response.ok) return undefined;
    let body: unknown = null;
    try {
      body = await response.json();
    } catch {
      // Not a problem document (a proxy's page, say): the status says enough.
    }
    throw problemFrom(response.status, body);
  },
};

export const api = createClient<paths>({
  baseUrl: window.location.origin,
  credentials: "same-origin",
  fetch: send,
  querySerializer: { array: { style: "form", explode: true } },
});
api.use(problems);

/** The data of an answer. Failures were thrown as ApiProblem before this point. */
export async function answered<T>(call: Promise<{ data?: T }>): Promise<T> {
  const { data } = await call;
  if (data === undefined) {
    throw new ApiProblem({ status: 0, code: "empty_answer", detail: "The platform answered nothing." });
  }
  return data;
}

/** For calls that answer 204. */
export async function done(call: Promise<unknown>): Promise<void> {
  await call;
}
