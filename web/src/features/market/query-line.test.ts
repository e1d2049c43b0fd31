import { describe, expect, it } from "vitest";
import { accept, mend, suggest, tokenAt } from "./query-line";

const known = { gpu_model: ["RTX_4090", "RTX_3090", "A100_80GB"], region: ["eu-west", "us-central"] };
const inserts = (line: string, caret = line.length) =>
  suggest(line, caret, known).map(({ insert }) => insert);

describe("suggest", () => {
  it("completes fields, then operators, then values", () => {
    expect(inserts("vr")).toEqual(["vram_gb>="]);
    expect(inserts("price")).toContain("price<=");
    expect(inserts("price<=0.60 gpu_model=rtx")).toEqual(["gpu_model=RTX_4090", "gpu_model=RTX_3090"]);
    expect(inserts("region=")).toEqual(["region=eu-west", "region=us-central"]);
    expect(inserts("simulated=f")).toEqual(["simulated=false"]);
  });

  it("completes the order in both directions", () => {
    expect(inserts("so")).toContain("sort:");
    expect(inserts("sort:pri")).toEqual(["sort:price", "sort:-price"]);
    expect(inserts("sort:-perf")).toEqual(["sort:-perf_per_dollar"]);
  });

  it("says nothing where it knows nothing", () => {
    expect(inserts("price<=0.6")).toEqual([]);
    expect(inserts("nonsense")).toEqual([]);
    expect(inserts("gpu_model=RTX_4090")).toEqual([]);
  });

  it("works on the token under the caret, not on the last one", () => {
    expect(inserts("reg price<=0.60", 3)).toEqual(["region="]);
  });
});

describe("accept", () => {
  it("replaces the token and leaves the rest", () => {
    const [suggestion] = suggest("reg price<=0.60", 3, known);
    expect(suggestion && accept("reg price<=0.60", 3, suggestion)).toEqual({
      line: "region= price<=0.60",
      caret: 7,
    });
  });

  it("puts a space behind a finished token", () => {
    const [suggestion] = suggest("region=eu", 9, known);
    expect(suggestion && accept("region=eu", 9, suggestion)).toEqual({ line: "region=eu-west ", caret: 15 });
  });
});

it("finds tokens at every caret", () => {
  expect(tokenAt("a bc d", 3)).toEqual({ text: "bc", start: 2, end: 4 });
  expect(tokenAt("", 0)).toEqual({ text: "", start: 0, end: 0 });
});

describe("mend", () => {
  it("puts a field name where it was mistyped, value kept", () => {
    const fault = { code: "unknown_field", field: "pirce", suggestion: "price", position: 12 };
    expect(mend("vram_gb>=24 pirce<=0.60", fault)).toBe("vram_gb>=24 price<=0.60");
  });

  it("puts a whole example for a term that lacks its comparison or has a bad value", () => {
    const fault = { code: "bad_operator", field: "price", suggestion: "price<=0.60", position: 0 };
    expect(mend("price region=eu-west", fault)).toBe("price<=0.60 region=eu-west");
    expect(
      mend("vram_gb>=abc", { code: "bad_value", field: "vram_gb", suggestion: "vram_gb>=24", position: 0 }),
    ).toBe("vram_gb>=24");
  });

  it("puts a model where a mistyped one stood", () => {
    const fault = { code: "bad_value", field: "gpu_model", suggestion: "RTX_4090", position: 0 };
    expect(mend("gpu_model=RTX4900", fault)).toBe("gpu_model=RTX_4090");
  });

  it("mends a colon and an unknown order", () => {
    expect(mend("region:eu-west", { code: "query_invalid", suggestion: "region=", position: 0 })).toBe(
      "region=eu-west",
    );
    expect(
      mend("sort:pric", { code: "unknown_field", field: "pric", suggestion: "price", position: 5 }),
    ).toBe("sort:price");
  });

  it("leaves the line alone when the place is not clear", () => {
    expect(mend("price<=x", { code: "query_invalid" })).toBe("price<=x");
    expect(mend("a", { code: "query_invalid", suggestion: "b", position: 0 })).toBe("a");
  });
});
