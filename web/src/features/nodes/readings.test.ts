import { describe, expect, test } from "vitest";
import { columns, flatRange, inOrder, labelOf, last, refreshMs, spanOf } from "./readings";

const at = (second: number): string => new Date(second * 1000).toISOString();

describe("columns", () => {
  test("a time without samples breaks the line", () => {
    const reading = { unit: "°C", mean: [60, 61, 70], low: [59, 60, 69], high: [61, 62, 71] };
    const [times, mean, low, high] = columns([at(0), at(10), at(100)], reading, 10);
    expect(times).toEqual([0, 10, 20, 100]);
    expect(mean).toEqual([60, 61, null, 70]);
    expect(low).toEqual([59, 60, null, 69]);
    expect(high).toEqual([61, 62, null, 71]);
  });

  test("one late sample does not", () => {
    const reading = { unit: "", mean: [1, null], low: [1, null], high: [1, null] };
    expect(columns([at(0), at(19)], reading, 10)[1]).toEqual([1, null]);
  });
});

test("what this page does not know is shown all the same", () => {
  expect(inOrder(["rotor_speed", "xids", "load_1m"])).toEqual(["load_1m", "xids", "rotor_speed"]);
  expect(labelOf("rotor_speed")).toBe("rotor speed");
  expect(spanOf("of yesterday").key).toBe("1h");
});

test("the last reading is the last that was told", () => {
  expect(last([1, 2, null])).toBe(2);
  expect(last([null])).toBeNull();
});

test("it is not read more often than there is something new", () => {
  expect(refreshMs(3_600)).toBe(10_000);
  expect(refreshMs(86_400)).toBe(144_000);
});

test.each([
  [0, 0, [0, 1]],
  [210, 210, [0, 420]],
  [-3, -3, [-6, 0]],
  [0, 5, null],
])("gives a reading from %d to %d the axis %o", (low, high, axis) => {
  expect(flatRange(low, high)).toEqual(axis);
});
