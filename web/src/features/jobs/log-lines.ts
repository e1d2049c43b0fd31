/** Search in a log. Pure. */

export interface Match {
  readonly line: number;
  readonly start: number;
}

export const MATCHES_MAX = 2_000;

export function findMatches(lines: readonly string[], needle: string): Match[] {
  const wanted = needle.toLowerCase();
  if (wanted === "") return [];
  const matches: Match[] = [];
  for (let line = 0; line < lines.length && matches.length < MATCHES_MAX; line += 1) {
    const text = lines[line]?.toLowerCase() ?? "";
    for (
      let start = text.indexOf(wanted);
      start !== -1;
      start = text.indexOf(wanted, start + wanted.length)
    ) {
      matches.push({ line, start });
      if (matches.length >= MATCHES_MAX) break;
    }
  }
  return matches;
}

/** Terminal colour codes say nothing here. Built from a char code, because a literal one is easily lost. */
const ANSI = new RegExp(`${String.fromCharCode(27)}\\[[0-9;?]*[ -/]*[@-~]`, "g");

/** Lines as a terminal would leave them: colour codes gone, and of an overwritten line the last version. */
export function toLines(log: string): string[] {
  const lines = log.replace(ANSI, "").replaceAll("\r\n", "\n").split("\n");
  if (lines.at(-1) === "") lines.pop();
  return lines.map((line) => {
    const overwritten = line.lastIndexOf("\r", line.length - 2);
    return (overwritten === -1 ? line : line.slice(overwritten + 1)).replace(/\r$/, "");
  });
}
