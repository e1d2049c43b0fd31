import { expect, it } from "vitest";
import { safeReturnPath, signInPath } from "./return-path";

it("returns to paths of this site and nowhere else", () => {
  expect(safeReturnPath("/jobs/1?tab=why")).toBe("/jobs/1?tab=why");
  for (const next of [
    null,
    "",
    "https://elsewhere.example",
    "//elsewhere.example",
    "/\\elsewhere.example",
    "jobs",
  ]) {
    expect(safeReturnPath(next)).toBe("/search");
  }
  const address = new URL(signInPath("/offers/1?a=b&c"), "http://here");
  expect(address.searchParams.get("next")).toBe("/offers/1?a=b&c");
});
