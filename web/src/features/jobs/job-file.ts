/**
 * A job.yaml read in the browser, so that it can fill the form. It says what gp4u_protocol/job_file.py says of the same
 * file, field by field; ranges are the platform's to judge, and the form's.
 */
import type { Schemas } from "@/api/client";

type Spec = Schemas["JobSpec"];

export interface Mistake {
  /** Dotted; empty for the file itself. */
  field: string;
  message: string;
  suggestion?: string;
}

export interface JobFile {
  /** Only what the file says. */
  spec: Partial<Omit<Spec, "resources" | "checkpoint" | "budget" | "failover">> & {
    resources: Partial<Schemas["Resources"]>;
    checkpoint: Partial<Schemas["CheckpointRule"]>;
    budget: Partial<Schemas["Budget"]>;
    failover: Partial<Schemas["FailoverRule"]>;
  };
  /** The folder that it wants to be sent; the browser has to be given it. */
  files: string | null;
  mistakes: Mistake[];
}

export const JOB_FILE_BYTES_MAX = 256 * 1024;
/** A few names for the same value are fine; a file that unfolds to gigabytes is not. */
const ALIASES_MAX = 50;

const FIELDS = {
  "": [
    "name",
    "command",
    "image",
    "files",
    "env",
    "resources",
    "checkpoint",
    "budget",
    "protection",
    "failover",
    "kind",
    "max_duration",
  ],
  resources: ["gpus", "vram_gb", "gpu_model", "cpus", "memory_gb", "disk_gb", "region", "network"],
  checkpoint: ["path", "every", "keep", "source", "verify", "lazy"],
  "checkpoint.keep": ["last", "hourly"],
  budget: ["per_hour", "total"],
  failover: ["on_node_loss", "max_moves", "per_hour", "same_region_only", "deadline", "notice_signal"],
} as const satisfies Record<string, readonly string[]>;

type Section = keyof typeof FIELDS;
type Mapping = Record<string, unknown>;

const isMapping = (value: unknown): value is Mapping =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const dotted = (section: string, name: string) => (section ? `${section}.${name}` : name);

/** How many letters differ, at least: enough to find what was meant by a slip of the finger. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      next.push(
        Math.min(
          (next[j - 1] ?? 0) + 1,
          (row[j] ?? 0) + 1,
          (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1),
        ),
      );
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

function closest(name: string, known: readonly string[]): string | undefined {
  const [best] = known
    .map((field) => ({ field, far: distance(name, field) }))
    .filter(({ field, far }) => far <= Math.max(name.length, field.length) / 2)
    .toSorted((a, b) => a.far - b.far);
  return best?.field;
}

const SECONDS: Record<string, number> = { s: 1, m: 60, h: 3_600, d: 86_400 };

class Reader {
  readonly mistakes: Mistake[] = [];

  wrong(field: string, message: string): undefined {
    this.mistakes.push({ field, message });
  }

  names(section: Section, mapping: Mapping): void {
    const known: readonly string[] = FIELDS[section];
    for (const name of Object.keys(mapping)) {
      if (known.includes(name)) continue;
      const suggestion = closest(name, known);
      this.mistakes.push({
        field: dotted(section, name),
        message: "there is no such field",
        ...(suggestion ? { suggestion } : {}),
      });
    }
  }

  section(document: Mapping, name: Exclude<Section, "" | "checkpoint.keep">): Mapping {
    const value = document[name] ?? {};
    if (!isMapping(value)) {
      this.wrong(name, `must be a mapping of ${FIELDS[name].toSorted().join(", ")}`);
      return {};
    }
    this.names(name, value);
    return value;
  }

  text(field: string, value: unknown): string | undefined {
    if (typeof value === "string") return value;
    return this.wrong(field, "must be text; put it in quotes where it could be read as something else");
  }

  whole(field: string, value: unknown): number | undefined {
    const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
    if (typeof number === "number" && Number.isInteger(number)) return number;
    return this.wrong(field, "must be a whole number");
  }

  flag(field: string, value: unknown): boolean | undefined {
    if (typeof value === "boolean") return value;
    // The command reads YAML 1.1, in which these are booleans as well.
    if (/^(yes|on)$/i.test(String(value))) return true;
    if (/^(no|off)$/i.test(String(value))) return false;
    return this.wrong(field, "must be true or false");
  }

  texts(field: string, value: unknown): string[] | undefined {
    const list = typeof value === "string" ? [value] : value;
    if (Array.isArray(list) && list.every((item) => typeof item === "string")) return list;
    return this.wrong(field, "must be a list such as [a, b]");
  }

  duration(field: string, value: unknown): number | undefined {
    const match = /^\s*(\d+(?:\.\d+)?)\s*(s|m|h|d)?\s*$/.exec(String(value));
    if (!match || typeof value === "boolean") {
      return this.wrong(field, "must be a duration such as 30s, 5m, 2h or 1d");
    }
    return Math.round(Number(match[1]) * (SECONDS[match[2] ?? "s"] ?? 1));
  }

  money(field: string, value: unknown): number | undefined {
    const match = /^\$?(\d+)(?:\.(\d{0,6})0*)?$/.exec(String(value).trim());
    const micros = match ? Number(match[1]) * 1_000_000 + Number((match[2] ?? "").padEnd(6, "0")) : 0;
    if (micros > 0 && typeof value !== "boolean") return micros;
    return this.wrong(field, "must be a positive amount such as 0.80, with at most six decimals");
  }

  choice<T extends string>(field: string, value: unknown, choices: readonly T[]): T | undefined {
    const found = choices.find((choice) => choice === value);
    if (found) return found;
    const suggestion = closest(String(value), choices);
    this.mistakes.push({
      field,
      message: `must be one of ${choices.join(", ")}`,
      ...(suggestion ? { suggestion } : {}),
    });
    return undefined;
  }

  environment(value: unknown): Record<string, string> | undefined {
    if (!isMapping(value)) return this.wrong("env", "must be a mapping of NAME: value");
    return Object.fromEntries(
      Object.entries(value).map(([name, item]) => [name, item === null ? "" : String(item)]),
    );
  }
}

/** Without what the file does not say, or says wrongly. */
function defined<T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}

/** Every mistake of the file at once. The YAML library is loaded when the first file is read. */
export async function readJobFile(text: string): Promise<JobFile> {
  const nothing = (message: string): JobFile => ({
    spec: { resources: {}, checkpoint: {}, budget: {}, failover: {} },
    files: null,
    mistakes: [{ field: "", message }],
  });
  if (text.length > JOB_FILE_BYTES_MAX) return nothing("the file is larger than 256 KiB");
  const { parseDocument } = await import("yaml");
  const parsed = parseDocument(text, { prettyErrors: false });
  const [error] = parsed.errors;
  if (error) {
    const before = text.slice(0, error.pos[0]).split("\n");
    return nothing(
      `not valid YAML at line ${before.length}, column ${(before.at(-1)?.length ?? 0) + 1}: ${error.message}`,
    );
  }
  let document: unknown;
  try {
    document = parsed.toJS({ maxAliasCount: ALIASES_MAX });
  } catch {
    return nothing("the file refers to itself too often");
  }
  if (!isMapping(document)) return nothing("a job file is a mapping; it needs at least `command: …`");
  return interpret(document);
}

function interpret(document: Mapping): JobFile {
  const read = new Reader();
  read.names("", document);
  /** `to` of the field when the mapping has it. */
  const take = <T>(
    mapping: Mapping,
    section: string,
    name: string,
    to: (field: string, value: unknown) => T,
  ) => (name in mapping ? to(dotted(section, name), mapping[name]) : undefined);
  const text = read.text.bind(read);
  const whole = read.whole.bind(read);
  const texts = read.texts.bind(read);
  const duration = read.duration.bind(read);
  const money = read.money.bind(read);
  const flag = read.flag.bind(read);

  if (!("command" in document)) read.wrong("command", "is missing");
  const top = defined({
    name: take(document, "", "name", text),
    command: take(document, "", "command", text),
    image: take(document, "", "image", text),
    environment: "env" in document ? read.environment(document.env) : undefined,
    protection: take(document, "", "protection", (field, value) =>
      read.choice(field, value, ["none", "catalyst", "hot"] as const),
    ),
    kind: take(document, "", "kind", (field, value) =>
      read.choice(field, value, ["on_demand", "interruptible"] as const),
    ),
    duration_s_max: take(document, "", "max_duration", duration),
  });
  const resources = read.section(document, "resources");
  const checkpoint = read.section(document, "checkpoint");
  const budget = read.section(document, "budget");
  const failover = read.section(document, "failover");
  const files = document.files ?? null;
  if (files !== null && typeof files !== "string") read.wrong("files", "must be the path of a folder");
  return {
    spec: {
      ...top,
      resources: defined({
        gpus: take(resources, "resources", "gpus", whole),
        cpus: take(resources, "resources", "cpus", whole),
        memory_gb: take(resources, "resources", "memory_gb", whole),
        disk_gb: take(resources, "resources", "disk_gb", whole),
        network: take(resources, "resources", "network", flag),
        vram_gb_min: take(resources, "resources", "vram_gb", (field, value) => {
          const match = /^\s*(?:>=)?\s*(\d+)\s*$/.exec(String(value));
          return match ? Number(match[1]) : read.wrong(field, 'must be a number of GiB such as 24 or ">=24"');
        }),
        gpu_models: take(resources, "resources", "gpu_model", texts),
        regions: take(resources, "resources", "region", texts),
      }),
      checkpoint: defined({
        path: take(checkpoint, "checkpoint", "path", text),
        ...(checkpoint.every === "auto"
          ? { auto: true }
          : { every_s: take(checkpoint, "checkpoint", "every", duration) }),
        source: take(checkpoint, "checkpoint", "source", (field, value) =>
          read.choice(field, value, ["application", "transparent", "auto"] as const),
        ),
        verify: take(checkpoint, "checkpoint", "verify", flag),
        lazy: take(checkpoint, "checkpoint", "lazy", texts),
        keep: take(checkpoint, "checkpoint", "keep", (field, value) => {
          if (!isMapping(value)) {
            return read.wrong(field, "must be a mapping such as {last: 5, hourly: 24}");
          }
          read.names("checkpoint.keep", value);
          return defined({
            last: take(value, field, "last", whole),
            hourly: take(value, field, "hourly", whole),
          });
        }),
      }),
      budget: defined({
        per_hour_micros_max: take(budget, "budget", "per_hour", money),
        total_micros_max: take(budget, "budget", "total", money),
      }),
      failover: defined({
        on_node_loss: take(failover, "failover", "on_node_loss", (field, value) =>
          read.choice(field, value, ["move", "wait", "stop"] as const),
        ),
        moves_max: take(failover, "failover", "max_moves", whole),
        per_hour_micros_max: take(failover, "failover", "per_hour", money),
        same_region_only: take(failover, "failover", "same_region_only", flag),
        deadline_s: take(failover, "failover", "deadline", duration),
        notice_signal: take(failover, "failover", "notice_signal", (field, value) =>
          read.choice(field, value, ["SIGUSR1", "SIGUSR2", "SIGHUP", "SIGINT", "SIGTERM"] as const),
        ),
      }),
    } as JobFile["spec"],
    files: typeof files === "string" ? files : null,
    mistakes: read.mistakes,
  };
}
