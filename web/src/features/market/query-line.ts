/** Completion for the query line: `gpu_model=RTX_4090 vram_gb>=24 price<=0.60 sort:perf_per_dollar`. Pure. */

interface FieldInfo {
  readonly name: string;
  readonly operators: readonly string[];
  readonly hint: string;
}

const NUMERIC = [">=", "<=", "=", ">", "<"] as const;
const CEILING = ["<=", ">=", "=", "<", ">"] as const;
const WORD = ["=", "!="] as const;

/** The fields of the market's query grammar. The server has the last word; this only completes. */
export const QUERY_FIELDS: readonly FieldInfo[] = [
  { name: "gpu_model", operators: WORD, hint: "model, for example RTX_4090" },
  { name: "price", operators: CEILING, hint: "per GPU and hour" },
  { name: "vram_gb", operators: NUMERIC, hint: "memory of each GPU" },
  { name: "region", operators: WORD, hint: "where the node stands" },
  { name: "gpus", operators: NUMERIC, hint: "free GPUs in the node" },
  { name: "reliability", operators: NUMERIC, hint: "chance to survive 24 h, 0 to 1" },
  { name: "perf_per_dollar", operators: NUMERIC, hint: "fp16 TFLOPS per dollar and hour" },
  { name: "fp16_tflops", operators: NUMERIC, hint: "published fp16 speed" },
  { name: "fp32_tflops", operators: NUMERIC, hint: "published fp32 speed" },
  { name: "memory_bandwidth_gb_s", operators: NUMERIC, hint: "published memory bandwidth" },
  { name: "cpus", operators: NUMERIC, hint: "CPU cores" },
  { name: "memory_gb", operators: NUMERIC, hint: "main memory" },
  { name: "disk_gb", operators: NUMERIC, hint: "disk" },
  { name: "interruptible_floor", operators: CEILING, hint: "lowest interruptible price" },
  { name: "node", operators: WORD, hint: "name of the node" },
  { name: "owner", operators: WORD, hint: "name of the owner" },
  { name: "simulated", operators: ["="], hint: "true or false" },
];

export const QUERY_SORTS = [
  "price",
  "-price",
  "-perf_per_dollar",
  "-reliability",
  "-vram_gb",
  "-fp16_tflops",
  "-listed_at",
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
    return QUERY_SORTS.filter(
      (name) => name !== wanted && name.replace("-", "").startsWith(wanted.replace("-", "")),
    )
      .map((name) => ({
        insert: `sort:${name}`,
        hint: name.startsWith("-") ? "highest first" : "lowest first",
        complete: true,
      }))
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

interface LineFault {
  readonly code: string;
  readonly suggestion?: string | undefined;
  readonly field?: string | undefined;
  readonly position?: number | undefined;
}

/**
 * The line with the server's suggestion in it, or the line as it is when the suggestion has no clear place. A whole
 * term replaces the term at fault; a name replaces the mistyped name; a value replaces the value.
 */
export function mend(line: string, fault: LineFault): string {
  const { suggestion, field, position = 0 } = fault;
  if (!suggestion) return line;
  const start = line.length - line.slice(position).trimStart().length;
  const { end } = tokenAt(line, start);
  const token = line.slice(start, end);
  const put = (text: string) => line.slice(0, start) + text + line.slice(end);
  if (/[=<>]./.test(suggestion)) return put(suggestion);
  if (suggestion.endsWith("=")) return put(suggestion + token.slice(token.indexOf(":") + 1));
  if (fault.code === "unknown_field" && field && token.includes(field))
    return put(token.replace(field, suggestion));
  const [head] = /^[^=<>!]*[=<>!]+/.exec(token) ?? [];
  return fault.code === "bad_value" && head ? put(head + suggestion) : line;
}
