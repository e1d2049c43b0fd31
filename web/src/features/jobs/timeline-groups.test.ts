import { expect, it } from "vitest";
import { disturbedSince, groupTimeline } from "./timeline-groups";
import type { JobEvent } from "./types";

let id = 0;
const event = (kind: JobEvent["kind"], epoch = 1): JobEvent => {
  id += 1;
  return {
    id,
    at: new Date(id * 1000).toISOString(),
    kind,
    epoch,
    title: kind,
    detail: {},
    ms: null,
    cost_micros: null,
  };
};

const shape = (events: JobEvent[]) =>
  groupTimeline(events).map((entry) =>
    entry.type === "event" ? entry.event.kind : `${entry.events.length} checkpoints`,
  );

it("gathers runs of checkpoints and nothing else", () => {
  expect(
    shape([
      event("queued"),
      event("running"),
      event("checkpoint"),
      event("checkpoint"),
      event("checkpoint"),
      event("node_lost"),
      event("resumed", 2),
      event("checkpoint", 2),
    ]),
  ).toEqual(["queued", "running", "3 checkpoints", "node_lost", "resumed", "checkpoint"]);
});

it("begins a new run with a new epoch", () => {
  expect(
    shape([event("checkpoint", 1), event("checkpoint", 1), event("checkpoint", 2), event("checkpoint", 2)]),
  ).toEqual(["2 checkpoints", "2 checkpoints"]);
});

it("loses no event", () => {
  const events = [event("queued"), event("checkpoint"), event("checkpoint"), event("done")];
  const kept = groupTimeline(events).flatMap((entry) =>
    entry.type === "event" ? [entry.event] : entry.events,
  );
  expect(kept).toEqual(events);
});

it("knows since when a node is in trouble, and when it is over", () => {
  const suspect = event("node_suspect");
  expect(disturbedSince([event("running"), suspect])).toBe(suspect.at);
  expect(disturbedSince([suspect, event("node_lost"), event("failed_over")])).toBe(suspect.at);
  expect(disturbedSince([suspect, event("node_lost"), event("failed_over"), event("resumed")])).toBeNull();
  expect(disturbedSince([suspect, event("node_back")])).toBeNull();
  expect(disturbedSince([])).toBeNull();
});
