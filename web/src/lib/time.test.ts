import { describe, expect, it } from "vitest";
import { noteServerDate, serverNow } from "./clock";
import { formatAgo, formatDuration, formatMs, formatOffset, formatSpan } from "./time";

describe("formatDuration", () => {
  it.each([
    [0.0364, "36 ms"],
    [4.21, "4.2 s"],
    [42.9, "42 s"],
    [185, "3 min 05 s"],
    [7_800, "2 h 10 min"],
    [187_200, "2 d 4 h"],
    [-3, "0 ms"],
    [Number.NaN, "–"],
  ])("%s s is %s", (seconds, text) => {
    expect(formatDuration(seconds)).toBe(text);
  });
});

it("tells chosen spans without idle zeros", () => {
  expect(formatSpan(60)).toBe("1 minute");
  expect(formatSpan(3_600)).toBe("1 hour");
  expect(formatSpan(604_800)).toBe("7 days");
});

it("tells measured milliseconds and offsets", () => {
  expect(formatMs(5_771.4)).toBe("5,771 ms");
  expect(formatOffset(4.23)).toBe("+00:04.2");
  expect(formatOffset(59.99)).toBe("+00:59.9");
  expect(formatOffset(4_329)).toBe("+01:12:09");
});

it("tells how long ago", () => {
  const now = Date.parse("2026-11-23T12:00:00Z");
  expect(formatAgo("2026-11-23T11:59:59.500Z", now)).toBe("just now");
  expect(formatAgo("2026-11-23T12:00:05Z", now)).toBe("just now");
  expect(formatAgo("2026-11-23T11:59:48Z", now)).toBe("12 s ago");
  expect(formatAgo("2026-11-23T11:00:00Z", now)).toBe("1 h ago");
  expect(formatAgo("2026-11-01T11:00:00Z", now)).toBe("1 Nov 2026");
});

it("corrects a visitor's clock that is off, and ignores what the header's whole seconds cannot tell", () => {
  const local = Date.now();
  noteServerDate(new Date(local + 120_000).toUTCString(), local);
  expect(serverNow() - Date.now()).toBeGreaterThan(118_000);
  noteServerDate(new Date(local + 900).toUTCString(), local);
  expect(Math.abs(serverNow() - Date.now())).toBeLessThan(50);
  noteServerDate(null);
  noteServerDate("not a date");
  expect(Math.abs(serverNow() - Date.now())).toBeLessThan(50);
});
