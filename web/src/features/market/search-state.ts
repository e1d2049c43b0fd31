/** The state of the search, as the URL carries it. The URL is the only place where it lives. */

export const SORTS = [
  { value: "price", label: "Cheapest first" },
  { value: "-price", label: "Dearest first" },
  { value: "-perf_per_dollar", label: "Best value" },
  { value: "-reliability", label: "Most reliable" },
  { value: "-vram_gb", label: "Most memory" },
  { value: "-fp16_tflops", label: "Fastest (fp16)" },
  { value: "-listed_at", label: "Newest first" },
] as const;

export type Sort = (typeof SORTS)[number]["value"];

export interface SearchState {
  q: string;
  models: readonly string[];
  regions: readonly string[];
  vramGbMin: number | null;
  gpusMin: number | null;
  priceMicrosMax: number | null;
  reliabilityMin: number | null;
  sort: Sort;
}

export const EMPTY_SEARCH: SearchState = {
  q: "",
  models: [],
  regions: [],
  vramGbMin: null,
  gpusMin: null,
  priceMicrosMax: null,
  reliabilityMin: null,
  sort: "price",
};

function positive(value: string | null): number | null {
  if (value === null || value.trim() === "") return null;
  const number = Number(value);
  return Number.isFinite(number) && number > 0 ? number : null;
}

const wholeNumber = (value: string | null): number | null => {
  const number = positive(value);
  return number === null ? null : Math.round(number);
};

export function parseSearch(params: URLSearchParams): SearchState {
  const sort = SORTS.find(({ value }) => value === params.get("sort"))?.value ?? "price";
  const reliability = positive(params.get("reliability_min"));
  return {
    q: params.get("q") ?? "",
    models: [...new Set(params.getAll("gpu_model"))],
    regions: [...new Set(params.getAll("region"))],
    vramGbMin: wholeNumber(params.get("vram_gb_min")),
    gpusMin: wholeNumber(params.get("gpus_min")),
    priceMicrosMax: wholeNumber(params.get("price_micros_max")),
    reliabilityMin: reliability !== null && reliability <= 1 ? reliability : null,
    sort,
  };
}

/** The shortest URL of a state: what is default is left out, so equal searches have equal addresses. */
export function serializeSearch(state: SearchState): URLSearchParams {
  const params = new URLSearchParams();
  if (state.q.trim() !== "") params.set("q", state.q.trim());
  for (const model of [...state.models].sort()) params.append("gpu_model", model);
  for (const region of [...state.regions].sort()) params.append("region", region);
  if (state.vramGbMin !== null) params.set("vram_gb_min", String(state.vramGbMin));
  if (state.gpusMin !== null && state.gpusMin > 1) params.set("gpus_min", String(state.gpusMin));
  if (state.priceMicrosMax !== null) params.set("price_micros_max", String(state.priceMicrosMax));
  if (state.reliabilityMin !== null) params.set("reliability_min", String(state.reliabilityMin));
  if (state.sort !== "price") params.set("sort", state.sort);
  return params;
}

export const filterCount = (state: SearchState): number =>
  state.models.length +
  state.regions.length +
  [state.vramGbMin, state.gpusMin, state.priceMicrosMax, state.reliabilityMin].filter(
    (value) => value !== null,
  ).length;

export function toggled(values: readonly string[], value: string): string[] {
  return values.includes(value) ? values.filter((other) => other !== value) : [...values, value];
}
