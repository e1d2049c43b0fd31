import { describe, expect, it } from "vitest";
import { addressOf, filterFrom } from "./case-filter";
import { consequence, happened, type Incident, scoreEffect, sideOf, witnessesOf } from "./record";

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

  it("counts kinds of evidence, not findings", () => {
    const finding = { code: "", sentence: "", fits: [], points_at: null };
    const kinds = witnessesOf([
      { ...finding, witness: "gateway" },
      { ...finding, witness: "agent" },
      { ...finding, witness: "gateway" },
    ]);
    expect(kinds.map(({ witness, findings }) => [witness, findings.length])).toEqual([
      ["gateway", 2],
      ["agent", 1],
    ]);
  });

  it("says what a ruling would do, before it is made", () => {
    expect(consequence("host_software", "node_lost")).toContain("one loss");
    expect(consequence("platform", "node_lost")).toContain("Takes nothing");
    expect(consequence("host_hardware", "start_failed")).toContain("no score");
  });
});

describe("the admins' filter", () => {
  it("lives in the address, and a misspelt one is none", () => {
    const filter = { cause: "open", kind: "node_lost", ruled: false, nodeId: "node_1" } as const;
    expect(filterFrom(addressOf(filter))).toEqual(filter);
    expect(filterFrom(new URLSearchParams("cause=weather&ruled=maybe"))).toEqual({
      cause: null,
      kind: null,
      ruled: null,
      nodeId: null,
    });
  });
});
