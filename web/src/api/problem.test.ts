import { describe, expect, it } from "vitest";
import { asProblem, problemFrom } from "./problem";

describe("problemFrom", () => {
  it("keeps what code branches on and people read", () => {
    const problem = problemFrom(422, {
      code: "unknown_field",
      detail: "There is no field 'pirce'.",
      suggestion: "price",
      field: "pirce",
      position: 12,
    });
    expect(problem).toMatchObject({
      status: 422,
      code: "unknown_field",
      detail: "There is no field 'pirce'.",
      suggestion: "price",
      field: "pirce",
      position: 12,
    });
  });

  it("reads field errors of both shapes", () => {
    expect(problemFrom(422, { errors: [{ field: "resources.gpus", message: "too many" }] }).errors).toEqual([
      { path: "resources.gpus", message: "too many" },
    ]);
    const listed = problemFrom(422, { detail: [{ loc: ["body", "job", "name"], msg: "bad" }] });
    expect(listed.errors).toEqual([{ path: "job.name", message: "bad" }]);
    expect(listed.detail).toBe("job.name: bad");
  });

  it("says something readable when the answer is no problem document", () => {
    for (const body of [null, "Bad gateway", [], 7]) {
      const problem = problemFrom(502, body);
      expect(problem.code).toBe("http_502");
      expect(problem.detail).toMatch(/try again/);
    }
  });
});

it("wraps anything thrown", () => {
  expect(asProblem(new TypeError("boom"))).toMatchObject({ code: "client_error", detail: "boom" });
  const problem = problemFrom(404, {});
  expect(asProblem(problem)).toBe(problem);
});
