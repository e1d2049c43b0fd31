/** Completion for the query line: `gpu_model=RTX_4090 vram_gb>=24 price<=0.60 sort:perf_per_dollar`. Pure. */

interface FieldInfo {
  readonly name: string;
  readonly operators: readonly string[];
  readonly hint: string;
}

export const QUERY_FIELDS: readonly FieldInfo[] = [
  { name: "gpu_model", operators: ["=", "!="], hint: "model, for example RTX_4090" },
  { name: "price", operators: ["<=", "<", ">=", ">", "="], hint: "per GPU and hour" },
  { name: "vram_gb", operators: [">=", ">", "<=", "<", "="], hint: "memory of each GPU" },
  { name: "gpus", operators: [">=", ">", "<=", "<", "="], hint: "free GPUs in the node" },
  { name: "region", operators: ["=", "!="], hint: "where the node stands" },
  { name: "reliability", operators: [">=", ">", "<=", "<"], hint: "chance to survive 24 h, 0 to 1" },
  { name: "fp16_tflops", operators: [">=", ">", "<=", "<"], hint: "published fp16 speed" },
  { name: "perf_per_dollar", operators: [">=", ">"], hint: "fp16 TFLOPS per dollar and hour" },
  { name: "cpus", operators: [">=", ">", "<=", "<", "="], hint: "CPU cores" },
  { name: "memory_gb", operators: [">=", ">", "<=", "<", "="], hint: "main memory" },
  { name: "simulated", operators: ["="], hint: "true or false" },
];

export const QUERY_SORTS = [
  "price",
  "perf_per_dollar",
  "reliability",
  "vram_gb",
  "fp16_tflops",
  "listed_at",
] as const;

export interface Suggestion {
  /** What the token under the caret becomes. */
  readonly insert: string;
  readonly hint: string;
  /** A finished token gets a space behind it; an unfinished one keeps the caret. */
  readonly complete: boolean;
}

interface Token {
  readonly text: string;
  readonly start: number;
  readonly end: number;
}

export function tokenAt(line: string, caret: number): Token {
  let start = caret;
  while (start > 0 && line[start - 1] !== " ") start -= 1;
  let end = caret;
  while (end < line.length && line[end] !== " ") end += 1;
  return { text: line.slice(start, end), start, end };
}

interface KnownValues {
  readonly gpu_model?: readonly string[];
  readonly region?: readonly string[];
}

const LIMIT = 8;

export function suggest(line: string, caret: number, known: KnownValues): Suggestion[] {
  const { text, start } = tokenAt(line, caret);
  const typed = text.slice(0, caret - start);

  if (typed.toLowerCase().startsWith("sort:")) {
    const wanted = typed.slice(5).toLowerCase();
    return QUERY_SORTS.filter((name) => name.startsWith(wanted) && name !== wanted)
      .map((name) => ({ insert: `sort:${name}`, hint: "order of the results", complete: true }))
      .slice(0, LIMIT);
  }

  const match = /^([a-z0-9_]+)(!=|>=|<=|=|<|>)(.*)$/i.exec(typed);
  if (match) {
    const [, name = "", operator = "", value = ""] = match;
    const field = name.toLowerCase();
    const values = field === "gpu_model" ? known.gpu_model : field === "region" ? known.region : undefined;
    const fixed = field === "simulated" ? ["true", "false"] : (values ?? []);
    const wanted = value.toLowerCase();
    return fixed
      .filter((candidate) => candidate.toLowerCase().includes(wanted) && candidate.toLowerCase() !== wanted)
      .map((candidate) => ({ insert: `${field}${operator}${candidate}`, hint: "", complete: true }))
      .slice(0, LIMIT);
  }

  const wanted = typed.toLowerCase();
  const exact = QUERY_FIELDS.find(({ name }) => name === wanted);
  if (exact) {
    return exact.operators.map((operator) => ({
      insert: `${exact.name}${operator}`,
      hint: exact.hint,
      complete: false,
    }));
  }
  const fields = QUERY_FIELDS.filter(({ name }) => name.startsWith(wanted)).map(
    ({ name, operators, hint }) => ({
      insert: `${name}${operators[0] ?? "="}`,
      hint,
      complete: false,
    }),
  );
  const sort =
    "sort:".startsWith(wanted) && wanted !== ""
      ? [{ insert: "sort:", hint: "order of the results", complete: false }]
      : [];
  return [...fields, ...sort].slice(0, LIMIT);
}

export function accept(line: string, caret: number, suggestion: Suggestion): { line: string; caret: number } {
  const { start, end } = tokenAt(line, caret);
  const after = line.slice(end);
  const space = suggestion.complete && !after.startsWith(" ") ? " " : "";
  const head = line.slice(0, start) + suggestion.insert + space;
  return { line: head + after, caret: head.length };
}

/** Puts the server's "did you mean" into the line: the mistyped field gives way, its value stays. */
export function applySuggestion(line: string, mistyped: string | undefined, suggestion: string): string {
  if (!mistyped || !line.includes(mistyped)) return line;
  return line.replace(mistyped, suggestion);
}
