import { expect, it } from "vitest";
import {
  EMPTY_SEARCH,
  filterCount,
  parseSearch,
  type SearchState,
  serializeSearch,
  toggled,
} from "./search-state";

const full: SearchState = {
  q: "cpus>=8 sort:-price",
  models: ["A100_80GB", "RTX_4090"],
  regions: ["eu-west"],
  vramGbMin: 24,
  gpusMin: 2,
  priceMicrosMax: 600_000,
  reliabilityMin: 0.99,
  sort: "-perf_per_dollar",
};

it("reads back what it wrote", () => {
  expect(parseSearch(serializeSearch(full))).toEqual(full);
  expect(parseSearch(serializeSearch(EMPTY_SEARCH))).toEqual(EMPTY_SEARCH);
});

it("gives equal searches equal addresses", () => {
  const turned = { ...full, models: [...full.models].reverse() };
  expect(serializeSearch(turned).toString()).toBe(serializeSearch(full).toString());
  expect(serializeSearch(EMPTY_SEARCH).toString()).toBe("");
});

it("survives addresses that somebody typed", () => {
  const state = parseSearch(
    new URLSearchParams(
      "vram_gb_min=abc&gpus_min=-2&price_micros_max=&reliability_min=7&sort=nonsense&gpu_model=A&gpu_model=A",
    ),
  );
  expect(state).toEqual({ ...EMPTY_SEARCH, models: ["A"] });
});

it("counts and toggles filters", () => {
  expect(filterCount(full)).toBe(7);
  expect(filterCount(EMPTY_SEARCH)).toBe(0);
  expect(toggled(["a", "b"], "a")).toEqual(["b"]);
  expect(toggled(["b"], "a")).toEqual(["b", "a"]);
});
