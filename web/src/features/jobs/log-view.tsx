import { ArrowDown, ChevronDown, ChevronUp, Download, Pause, Play, Search } from "lucide-react";
import { type ReactNode, useEffect, useMemo, useRef, useState } from "react";
import { Button } from "@/components/ui/button";
import { inputStyles } from "@/components/ui/field";
import { Tooltip } from "@/components/ui/tooltip";
import { cn } from "@/lib/class-names";
import { formatCount } from "@/lib/units";
import { findMatches, toLines } from "./log-lines";

/** More lines than this in the page make scrolling slow; the whole log is one click away as a file. */
const LINES_SHOWN_MAX = 5_000;

interface LogViewProps {
  log: string;
  dropped: boolean;
  ended: boolean;
  onDownload: () => Promise<void>;
}

export function LogView({ log, dropped, ended, onDownload }: LogViewProps) {
  const [follow, setFollow] = useState(true);
  const [frozen, setFrozen] = useState<string | null>(null);
  const [needle, setNeedle] = useState("");
  const [at, setAt] = useState(0);
  const [downloading, setDownloading] = useState(false);
  const box = useRef<HTMLElement>(null);

  const all = useMemo(() => toLines(frozen ?? log), [frozen, log]);
  const lines = all.length > LINES_SHOWN_MAX ? all.slice(-LINES_SHOWN_MAX) : all;
  const firstNumber = all.length - lines.length + 1;
  const matches = useMemo(() => findMatches(lines, needle), [lines, needle]);
  const current = matches.length > 0 ? matches[at % matches.length] : undefined;
  const paused = frozen !== null;

  // biome-ignore lint/correctness/useExhaustiveDependencies: new lines are the reason to scroll
  useEffect(() => {
    if (follow && !paused && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [lines.length, log, follow, paused]);

  useEffect(() => {
    if (!current) return;
    box.current?.querySelector(`[data-line="${current.line}"]`)?.scrollIntoView({ block: "center" });
  }, [current]);

  const move = (step: number) => {
    setFollow(false);
    setAt((position) => (position + step + matches.length) % Math.max(1, matches.length));
  };

  return (
    <div className="flex flex-col overflow-hidden rounded-lg border border-line bg-surface shadow-1">
      <div className="flex flex-wrap items-center gap-1.5 border-b border-line p-2">
        <div className="relative min-w-40 flex-1 sm:max-w-72">
          <Search
            className="pointer-events-none absolute top-1/2 left-2.5 size-3.5 -translate-y-1/2 text-ink-3"
            aria-hidden
          />
          <input
            type="search"
            aria-label="Search in the log"
            placeholder="Search"
            value={needle}
            onChange={(event) => {
              setNeedle(event.target.value);
              setAt(0);
              if (event.target.value) setFollow(false);
            }}
            onKeyDown={(event) => {
              if (event.key === "Enter") move(event.shiftKey ? -1 : 1);
            }}
            className={cn(inputStyles, "h-8 pl-8 text-base sm:text-sm")}
          />
        </div>
        {needle ? (
          <>
            <span className="figures px-1 text-xs text-ink-2" role="status">
              {matches.length === 0
                ? "no match"
                : `${(at % matches.length) + 1} of ${formatCount(matches.length)}`}
            </span>
            <Button variant="ghost" size="icon-sm" aria-label="Previous match" onClick={() => move(-1)}>
              <ChevronUp aria-hidden />
            </Button>
            <Button variant="ghost" size="icon-sm" aria-label="Next match" onClick={() => move(1)}>
              <ChevronDown aria-hidden />
            </Button>
          </>
        ) : null}
        <div className="ml-auto flex items-center gap-1">
          {ended ? null : (
            <Button
              variant="ghost"
              size="sm"
              aria-pressed={paused}
              onClick={() => {
                setFrozen(paused ? null : log);
                if (paused) setFollow(true);
              }}
            >
              {paused ? <Play aria-hidden /> : <Pause aria-hidden />}
              {paused ? "Resume" : "Pause"}
            </Button>
          )}
          <Tooltip label="Download the whole log">
            <Button
              variant="ghost"
              size="icon-sm"
              aria-label="Download the whole log"
              busy={downloading}
              onClick={async () => {
                setDownloading(true);
                try {
                  await onDownload();
                } finally {
                  setDownloading(false);
                }
              }}
            >
              {downloading ? null : <Download aria-hidden />}
            </Button>
          </Tooltip>
        </div>
      </div>
      <div className="relative">
        <section
          ref={box}
          aria-label="Job output"
          tabIndex={0}
          onScroll={(event) => {
            const { scrollTop, scrollHeight, clientHeight } = event.currentTarget;
            setFollow(scrollHeight - scrollTop - clientHeight < 24);
          }}
          className="h-[26rem] overflow-auto bg-sunken py-2 font-mono text-xs leading-5 focus-visible:outline-offset-[-2px]"
        >
          {dropped || firstNumber > 1 ? (
            <p className="px-4 pb-2 text-ink-3">
              Earlier output is not shown here; download the whole log to read it.
            </p>
          ) : null}
          {lines.length === 0 ? (
            <p className="px-4 text-ink-3">
              {ended
                ? "The job printed nothing."
                : "Nothing printed yet. Output appears here as the job writes it."}
            </p>
          ) : (
            lines.map((line, index) => (
              <div
                key={firstNumber + index}
                data-line={index}
                className={cn(
                  "flex gap-3 px-4 hover:bg-hover/60",
                  current?.line === index && "bg-accent-soft",
                )}
              >
                <span aria-hidden className="figures w-9 shrink-0 text-right text-ink-3 select-none">
                  {firstNumber + index}
                </span>
                <span className="min-w-0 whitespace-pre-wrap [overflow-wrap:anywhere]">
                  {marked(line, needle)}
                </span>
              </div>
            ))
          )}
        </section>
        {!follow && !paused && !ended ? (
          <Button
            size="sm"
            className="absolute right-4 bottom-3 animate-in shadow-2"
            onClick={() => {
              setNeedle("");
              setFollow(true);
            }}
          >
            <ArrowDown aria-hidden /> Follow
          </Button>
        ) : null}
      </div>
    </div>
  );
}

function marked(line: string, needle: string): ReactNode {
  if (!needle) return line;
  const lower = line.toLowerCase();
  const wanted = needle.toLowerCase();
  const parts: ReactNode[] = [];
  let from = 0;
  for (let hit = lower.indexOf(wanted); hit !== -1; hit = lower.indexOf(wanted, from)) {
    parts.push(line.slice(from, hit));
    parts.push(
      <mark key={hit} className="rounded-[2px] bg-warn-soft text-warn">
        {line.slice(hit, hit + wanted.length)}
      </mark>,
    );
    from = hit + wanted.length;
  }
  parts.push(line.slice(from));
  return parts;
}
