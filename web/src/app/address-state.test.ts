import { expect, it } from "vitest";
import { settles } from "./address-state";

it("holds what was asked until the address has caught up with the newest question", () => {
  expect(settles({ type: "PUSH", landed: 3, newest: 3 })).toBe(true);
  expect(settles({ type: "REPLACE", landed: 3, newest: 3 })).toBe(true);
  // The first of two quick clicks lands: the second is still on its way and must stay ticked.
  expect(settles({ type: "PUSH", landed: 2, newest: 3 })).toBe(false);
});

it("yields to whoever went elsewhere meanwhile: back, forward or a link", () => {
  expect(settles({ type: "POP", landed: 2, newest: 3 })).toBe(true);
  expect(settles({ type: "POP", landed: null, newest: 3 })).toBe(true);
  expect(settles({ type: "PUSH", landed: null, newest: 3 })).toBe(true);
});
