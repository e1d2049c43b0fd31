import { describe, expect, it } from "vitest";
import {
  EMPTY_STREAM,
  LOG_CHARACTERS_MAX,
  METRICS_POINTS_MAX,
  parseMessage,
  type StreamMessage,
  type StreamState,
  streamReducer,
} from "./stream-state";
import type { JobEvent, MetricsPoint } from "./types";

const event = (id: number, kind: JobEvent["kind"] = "checkpoint"): JobEvent => ({
  id,
  at: new Date(id * 1000).toISOString(),
  kind,
  epoch: 1,
  title: `event ${id}`,
  detail: {},
  ms: null,
  cost_micros: null,
});

const point = (second: number): MetricsPoint => ({
  at: new Date(second * 1000).toISOString(),
  cpu_percent: 1,
  memory_mb: 1,
  gpu_utilisation_percent: null,
  step: second,
  total_steps: null,
  metrics: {},
});

const log = (text: string, from: number, ended = false): StreamMessage => ({
  type: "log",
  from,
  page: { text, next_offset: from + new TextEncoder().encode(text).length, ended },
});

const played = (...messages: StreamMessage[]): StreamState => messages.reduce(streamReducer, EMPTY_STREAM);

describe("timeline", () => {
  it("takes each event once and keeps them in order, whatever order they come in", () => {
    const state = played(
      { type: "timeline", events: [event(2)] },
      { type: "timeline", events: [event(1), event(2), event(3)] },
      { type: "timeline", events: [event(3)] },
    );
    expect(state.events.map(({ id }) => id)).toEqual([1, 2, 3]);
  });

  it("is the same object when nothing is new, so nothing is drawn again", () => {
    const state = played({ type: "timeline", events: [event(1)] });
    expect(streamReducer(state, { type: "timeline", events: [event(1)] })).toBe(state);
  });
});

describe("log", () => {
  it("appends pages and drops what it has", () => {
    const state = played(log("one\n", 0), log("one\n", 0), log("two\n", 4));
    expect(state.log).toBe("one\ntwo\n");
    expect(state.logOffset).toBe(8);
  });

  it("appends only the new bytes of a page that overlaps, also inside multi-byte text", () => {
    expect(played(log("größe ", 0), log("größe 12\n", 0)).log).toBe("größe 12\n");
  });

  it("follows the server over output that was dropped and is named in the text", () => {
    const state = played(log("start\n", 0), {
      type: "log",
      from: 6,
      page: { text: "[… 1 MiB left out …]\nend\n", next_offset: 1_048_582, ended: true },
    });
    expect(state.log).toBe("start\n[… 1 MiB left out …]\nend\n");
    expect(state.logOffset).toBe(1_048_582);
    expect(state.logEnded).toBe(true);
  });

  it("keeps a browser's share of an endless log, cut at a line", () => {
    const line = `${"x".repeat(99)}\n`;
    let state = EMPTY_STREAM;
    for (let offset = 0; offset < LOG_CHARACTERS_MAX * 1.2; offset += 100_000) {
      state = streamReducer(state, log(line.repeat(1_000), offset));
    }
    expect(state.log.length).toBeLessThanOrEqual(LOG_CHARACTERS_MAX);
    expect(state.log.startsWith("x".repeat(99))).toBe(true);
    expect(state.logDropped + state.log.length).toBe(state.logOffset);
  });
});

describe("metrics", () => {
  it("ignores what is not newer and forgets the oldest", () => {
    const state = played({ type: "metrics", point: point(2) }, { type: "metrics", point: point(1) });
    expect(state.metrics).toHaveLength(1);
    let long = EMPTY_STREAM;
    for (let second = 0; second < METRICS_POINTS_MAX + 10; second += 1) {
      long = streamReducer(long, { type: "metrics", point: point(second) });
    }
    expect(long.metrics).toHaveLength(METRICS_POINTS_MAX);
    expect(long.metrics.at(-1)?.step).toBe(METRICS_POINTS_MAX + 9);
  });
});

describe("connection", () => {
  it("stays ended: a socket that closes after the end is no outage", () => {
    expect(played({ type: "connected" }).connection).toBe("live");
    expect(played({ type: "connected" }, { type: "disconnected" }).connection).toBe("waiting");
    expect(played({ type: "end" }, { type: "disconnected" }, { type: "connected" }).connection).toBe("ended");
  });
});

describe("parseMessage", () => {
  it("reads each kind and ignores the rest", () => {
    expect(parseMessage("timeline", JSON.stringify(event(1)), 0)).toEqual({
      type: "timeline",
      events: [event(1)],
    });
    expect(parseMessage("log", '{"text":"a","next_offset":8,"ended":false}', 7)).toMatchObject({
      type: "log",
      from: 7,
    });
    expect(parseMessage("end", "", 0)).toEqual({ type: "end" });
    expect(parseMessage("job", "{broken", 0)).toBeNull();
    expect(parseMessage("job", "null", 0)).toBeNull();
    expect(parseMessage("unheard-of", "{}", 0)).toBeNull();
  });
});
