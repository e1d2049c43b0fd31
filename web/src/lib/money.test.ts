import { describe, expect, it } from "vitest";
import { costOf, formatMoney, moneyInput, parseMoney } from "./money";

describe("formatMoney", () => {
  it("shows cents, rates and exact micro-units", () => {
    expect(formatMoney(1_500_000)).toBe("$1.50");
    expect(formatMoney(445_000, "USD", { precision: "rate" })).toBe("$0.445");
    expect(formatMoney(1, "USD", { precision: "exact" })).toBe("$0.000001");
    expect(formatMoney(47_312_850, "USD", { precision: "exact" })).toBe("$47.312850");
    expect(formatMoney(47_310_000, "USD", { precision: "exact" })).toBe("$47.31");
    expect(formatMoney(1_234_567_000_000)).toBe("$1,234,567.00");
  });

  it("tells gains from losses by sign, with a real minus", () => {
    expect(formatMoney(-7_000, "USD", { precision: "exact", sign: true })).toBe("−$0.007000");
    expect(formatMoney(7_000, "USD", { precision: "exact", sign: true })).toBe("+$0.007000");
    expect(formatMoney(0, "USD", { sign: true })).toBe("$0.00");
  });

  it("knows other currencies", () => {
    expect(formatMoney(2_000_000, "EUR")).toBe("€2.00");
  });
});

describe("parseMoney", () => {
  it("reads amounts exactly, without floats", () => {
    expect(parseMoney("0.60")).toBe(600_000);
    expect(parseMoney(" $12.5 ")).toBe(12_500_000);
    expect(parseMoney("0.000001")).toBe(1);
    expect(parseMoney("4.35")).toBe(4_350_000);
    expect(parseMoney("999999999.999999")).toBe(999_999_999_999_999);
  });

  it("refuses what is no amount", () => {
    for (const text of ["", "abc", "-1", "1.2345678", "1,5", "1e3", "NaN", "0x10"]) {
      expect(parseMoney(text)).toBeNull();
    }
  });

  it("reads back what it wrote, for every sort of amount", () => {
    for (const micros of [0, 1, 10, 1_000, 240_000, 445_000, 2_390_000, 1_000_000_000]) {
      expect(parseMoney(moneyInput(micros))).toBe(micros);
    }
    expect(moneyInput(600_000)).toBe("0.60");
    expect(moneyInput(445_000)).toBe("0.445");
  });
});

describe("costOf", () => {
  it("rounds to whole micro-units", () => {
    expect(costOf(420_000, 3600)).toBe(420_000);
    expect(costOf(420_000, 1)).toBe(117);
  });
});
