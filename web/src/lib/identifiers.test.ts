import { expect, it } from "vitest";
import { AttemptKey } from "./identifiers";

it("keeps the key for a retry of the same body and changes it for another body", () => {
  const attempt = new AttemptKey();
  const first = attempt.for({ offer: "a", gpus: 1 });
  expect(first).toMatch(/^[0-9a-f]{32}$/);
  expect(attempt.for({ offer: "a", gpus: 1 })).toBe(first);
  const second = attempt.for({ offer: "a", gpus: 2 });
  expect(second).not.toBe(first);
  attempt.renew();
  expect(attempt.for({ offer: "a", gpus: 2 })).not.toBe(second);
});
