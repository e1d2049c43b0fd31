/**
 * What a job page has heard so far. Pure: messages in, state out, in any order and any number of times; a reconnect
 * repeats messages, and a repeated message changes nothing.
 */
import type { Job, JobEvent, LogPage, MetricsPoint } from "./types";

/** "live": pushed. "waiting": the connection is being made or made again; the page polls meanwhile. */
export type Connection = "waiting" | "live" | "ended";

export interface StreamState {
  readonly connection: Connection;
  readonly job: Job | null;
  readonly events: readonly JobEvent[];
  readonly log: string;
  /** Byte offset behind the last byte of `log`. */
  readonly logOffset: number;
  /** Characters dropped at the front, because a browser should not hold gigabytes. */
  readonly logDropped: number;
  readonly logEnded: boolean;
  readonly metrics: readonly MetricsPoint[];
}

export const EMPTY_STREAM: StreamState = {
  connection: "waiting",
  job: null,
  events: [],
  log: "",
  logOffset: 0,
  logDropped: 0,
  logEnded: false,
  metrics: [],
};

export type StreamMessage =
  | { type: "connected" }
  | { type: "disconnected" }
  | { type: "job"; job: Job }
  | { type: "timeline"; events: readonly JobEvent[] }
  | { type: "log"; page: LogPage; from: number }
  | { type: "metrics"; point: MetricsPoint }
  | { type: "end" };

export const LOG_CHARACTERS_MAX = 2_000_000;
export const METRICS_POINTS_MAX = 3_600;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export function streamReducer(state: StreamState, message: StreamMessage): StreamState {
  switch (message.type) {
    case "connected":
      return state.connection === "ended" ? state : { ...state, connection: "live" };
    case "disconnected":
      return state.connection === "ended" ? state : { ...state, connection: "waiting" };
    case "job":
      return { ...state, job: message.job };
    case "timeline":
      return withEvents(state, message.events);
    case "log":
      return withLog(state, message.page, message.from);
    case "metrics":
      return withPoint(state, message.point);
    case "end":
      return { ...state, connection: "ended" };
  }
}

function withEvents(state: StreamState, incoming: readonly JobEvent[]): StreamState {
  const known = new Set(state.events.map(({ id }) => id));
  const fresh = incoming.filter(({ id }) => !known.has(id));
  if (fresh.length === 0) return state;
  const last = state.events.at(-1)?.id ?? -1;
  const events = [...state.events, ...fresh];
  if (fresh.some(({ id }) => id < last) || fresh.length > 1) events.sort((a, b) => a.id - b.id);
  return { ...state, events };
}

/**
 * Appends a page that was read from byte offset `from`. Pages overlap when polling and the stream cross; then only
 * the new bytes are appended. (Not computed from the page's length: the server names dropped output in the text.)
 */
function withLog(state: StreamState, page: LogPage, from: number): StreamState {
  const logEnded = state.logEnded || page.ended;
  if (page.next_offset <= state.logOffset || page.text === "") {
    return logEnded === state.logEnded ? state : { ...state, logEnded };
  }
  const overlap = Math.max(0, state.logOffset - from);
  const text = overlap > 0 ? decoder.decode(encoder.encode(page.text).subarray(overlap)) : page.text;
  let log = state.log + text;
  let logDropped = state.logDropped;
  if (log.length > LOG_CHARACTERS_MAX) {
    const cut = log.indexOf("\n", log.length - LOG_CHARACTERS_MAX * 0.8) + 1;
    logDropped += cut;
    log = log.slice(cut);
  }
  return { ...state, log, logOffset: page.next_offset, logDropped, logEnded };
}

function withPoint(state: StreamState, point: MetricsPoint): StreamState {
  const last = state.metrics.at(-1);
  if (last && Date.parse(point.at) <= Date.parse(last.at)) return state;
  const metrics = [...state.metrics, point];
  return {
    ...state,
    metrics: metrics.length > METRICS_POINTS_MAX ? metrics.slice(-METRICS_POINTS_MAX) : metrics,
  };
}

/**
 * Text and JSON of a server-sent event become a message; anything else is null and changes nothing. `logFrom` is the
 * offset up to which this connection has sent the log.
 */
export function parseMessage(event: string, data: string, logFrom: number): StreamMessage | null {
  if (event === "end") return { type: "end" };
  let body: unknown;
  try {
    body = JSON.parse(data);
  } catch {
    return null;
  }
  if (typeof body !== "object" || body === null) return null;
  switch (event) {
    case "job":
      return { type: "job", job: body as Job };
    case "timeline":
      return { type: "timeline", events: [body as JobEvent] };
    case "log":
      return { type: "log", page: body as LogPage, from: logFrom };
    case "metrics":
      return { type: "metrics", point: body as MetricsPoint };
    default:
      return null;
  }
}
