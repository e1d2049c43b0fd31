import { describe, expect, it } from "vitest";
import { happened, type Incident, scoreEffect, sideOf } from "./record";

const incident = (changes: Partial<Incident>): Incident =>
  ({ kind: "node_lost", cause: null, score_changes: [], ...changes }) as Incident;
const change = (before: number, after: number) => ({ before, after, at: "2026-03-01T12:00:00Z" });

describe("a node's record", () => {
  it("says whose side an incident is on", () => {
    expect(sideOf(incident({}))).toBe("open");
    expect(sideOf(incident({ cause: "network" }))).toBe("host");
    expect(sideOf(incident({ cause: "platform" }))).toBe("others");
    expect(sideOf(incident({ cause: "unknown" }))).toBe("others");
  });

  it("shows the effect from before the first change to after the last", () => {
    expect(scoreEffect(incident({}))).toBeNull();
    expect(scoreEffect(incident({ score_changes: [change(0.99, 0.97)] }))).toEqual({
      before: 0.99,
      after: 0.97,
    });
    expect(scoreEffect(incident({ score_changes: [change(0.99, 0.97), change(0.97, 0.99)] }))).toBeNull();
  });

  it("names what happened", () => {
    expect(happened(incident({ kind: "start_failed" }))).toBe("A start failed");
  });
});
