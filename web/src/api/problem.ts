/** Errors of the API (RFC 9457 problem documents). Code branches on `code`; people read `detail`. */

export interface FieldError {
  readonly path: string;
  readonly message: string;
}

interface ProblemInit {
  status: number;
  code: string;
  detail: string;
  suggestion?: string | undefined;
  field?: string | undefined;
  position?: number | undefined;
  errors?: readonly FieldError[] | undefined;
}

export class ApiProblem extends Error {
  /** HTTP status; 0 when no answer came at all. */
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  readonly suggestion: string | undefined;
  readonly field: string | undefined;
  /** Where in a text the fault is, counted from 0. */
  readonly position: number | undefined;
  readonly errors: readonly FieldError[];

  constructor(init: ProblemInit) {
    super(init.detail);
    this.name = "ApiProblem";
    this.status = init.status;
    this.code = init.code;
    this.detail = init.detail;
    this.suggestion = init.suggestion;
    this.field = init.field;
    this.position = init.position;
    this.errors = init.errors ?? [];
  }
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const text = (value: unknown): string | undefined =>
  typeof value === "string" && value !== "" ? value : undefined;

function pathOf(location: unknown): string {
  if (typeof location === "string") return location.replace(/^\//, "").replaceAll("/", ".");
  if (!Array.isArray(location)) return "";
  return location.filter((part) => part !== "body" && part !== "query").join(".");
}

/** Field errors arrive as `errors` (ours) or as FastAPI's `detail` list; both become one shape. */
function fieldErrors(body: Record<string, unknown>): FieldError[] {
  const list = Array.isArray(body.errors) ? body.errors : Array.isArray(body.detail) ? body.detail : [];
  return list.filter(isRecord).map((item) => ({
    path: pathOf(item.loc ?? item.pointer ?? item.field ?? item.path),
    message: text(item.msg) ?? text(item.message) ?? text(item.detail) ?? "is not valid",
  }));
}

const FALLBACKS: Record<number, string> = {
  401: "You are signed out.",
  403: "Your account may not do that.",
  404: "That is not here, or it is not yours.",
  429: "Too many requests in a short time. Wait a moment and try again.",
};

export function problemFrom(status: number, body: unknown): ApiProblem {
  const record = isRecord(body) ? body : {};
  const errors = fieldErrors(record);
  const fallback =
    FALLBACKS[status] ??
    (status >= 500
      ? "The platform could not answer. It is not your doing; try again."
      : "The request was refused.");
  const first = errors[0];
  return new ApiProblem({
    status,
    code: text(record.code) ?? `http_${status}`,
    detail:
      text(record.detail) ?? (first ? `${first.path ? `${first.path}: ` : ""}${first.message}` : fallback),
    suggestion: text(record.suggestion),
    field: text(record.field),
    position: typeof record.position === "number" ? record.position : undefined,
    errors,
  });
}

export const unreachable = () =>
  new ApiProblem({
    status: 0,
    code: "unreachable",
    detail: "The platform does not answer. Your jobs go on without this page; it reconnects by itself.",
  });

export function asProblem(error: unknown): ApiProblem {
  if (error instanceof ApiProblem) return error;
  return new ApiProblem({
    status: 0,
    code: "client_error",
    detail: error instanceof Error ? error.message : "Something in this page went wrong.",
  });
}
