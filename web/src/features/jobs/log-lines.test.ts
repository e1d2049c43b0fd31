import { expect, it } from "vitest";
import { findMatches, toLines } from "./log-lines";

it("shows lines as a terminal would leave them", () => {
  expect(toLines("a\nb\n")).toEqual(["a", "b"]);
  expect(toLines("10%\r50%\r100%\ndone\r\n")).toEqual(["100%", "done"]);
  expect(toLines("\u001b[32mgreen\u001b[0m")).toEqual(["green"]);
  expect(toLines("")).toEqual([]);
});

it("finds every match, without regard to case", () => {
  expect(findMatches(["Loss 1 loss", "none", "LOSS"], "loss")).toEqual([
    { line: 0, start: 0 },
    { line: 0, start: 7 },
    { line: 2, start: 0 },
  ]);
  expect(findMatches(["a"], "")).toEqual([]);
});
