import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";

const SRC = import.meta.dirname;

const files = readdirSync(SRC, { recursive: true, encoding: "utf8" }).filter((file) => /\.tsx?$/.test(file));

function importsOf(file: string): string[] {
  const text = readFileSync(join(SRC, file), "utf8");
  return [...text.matchAll(/from "(@\/[^"]+)"/g)].map(([, source = ""]) => source.slice(2));
}

/** What a file of a layer must not import. Within a feature imports are relative, so "@/features" means another one. */
const RULES: readonly [layer: RegExp, forbidden: RegExp][] = [
  [/^features\//, /^(features|app)\//],
  [/^components\//, /^(features|app)\//],
  [/^(lib|api)\//, /^(features|app|components)\//],
];

it("keeps the layers: app composes features, features never know each other, the rest knows neither", () => {
  const broken = files.flatMap((file) =>
    RULES.filter(([layer]) => layer.test(file)).flatMap(([, forbidden]) =>
      importsOf(file)
        .filter((source) => forbidden.test(source))
        .map((source) => `${file} imports ${source}`),
    ),
  );
  expect(broken).toEqual([]);
  expect(files.length).toBeGreaterThan(60);
});

it("leaves the fixtures of development out of the product", () => {
  const leaks = files.filter((file) => /from "[^"]*\/dev\//.test(readFileSync(join(SRC, file), "utf8")));
  expect(leaks).toEqual([]);
});
