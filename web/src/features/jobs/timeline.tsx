import {
  Check,
  ChevronDown,
  CircleDashed,
  CirclePlay,
  CircleX,
  Clock,
  Download,
  HeartCrack,
  HeartPulse,
  ListPlus,
  MapPin,
  Receipt,
  RotateCw,
  Route,
  Save,
  Scale,
  ShieldCheck,
  Square,
  Unplug,
} from "lucide-react";
import { type ComponentType, type ReactNode, useEffect, useRef, useState } from "react";
import { Money } from "@/components/money";
import { Skeleton } from "@/components/ui/states";
import { cn } from "@/lib/class-names";
import { formatClock, formatInstant, formatMs, formatOffset } from "@/lib/time";
import { plural } from "@/lib/units";
import { groupTimeline } from "./timeline-groups";
import type { EventKind, JobEvent } from "./types";

type Look = { icon: ComponentType<{ className?: string }>; tone: string };

const CALM = "bg-hover text-ink-2";
const GOOD = "bg-good-soft text-good";
const WARN = "bg-warn-soft text-warn";
const BAD = "bg-bad-soft text-bad";
const ACCENT = "bg-accent-soft text-accent-ink";

const LOOKS: Record<EventKind, Look> = {
  queued: { icon: ListPlus, tone: CALM },
  matched: { icon: MapPin, tone: ACCENT },
  waiting: { icon: Clock, tone: WARN },
  starting: { icon: CircleDashed, tone: CALM },
  restoring: { icon: Download, tone: CALM },
  running: { icon: CirclePlay, tone: GOOD },
  arriving: { icon: Download, tone: CALM },
  checkpoint: { icon: Save, tone: CALM },
  node_suspect: { icon: Unplug, tone: WARN },
  node_back: { icon: HeartPulse, tone: GOOD },
  node_lost: { icon: HeartCrack, tone: BAD },
  moving: { icon: Route, tone: WARN },
  failed_over: { icon: Route, tone: ACCENT },
  resumed: { icon: CirclePlay, tone: GOOD },
  retrying: { icon: RotateCw, tone: WARN },
  stopping: { icon: Square, tone: CALM },
  stopped: { icon: Square, tone: CALM },
  done: { icon: Check, tone: GOOD },
  failed: { icon: CircleX, tone: BAD },
  standby: { icon: ShieldCheck, tone: CALM },
  refunded: { icon: Receipt, tone: CALM },
  attributed: { icon: Scale, tone: CALM },
};

interface TimelineProps {
  events: readonly JobEvent[];
  startedAt: string;
  loading: boolean;
}

export function Timeline({ events, startedAt, loading }: TimelineProps) {
  const entries = groupTimeline(events);
  if (loading && entries.length === 0) {
    return (
      <div className="grid gap-5 p-5" role="status" aria-label="Loading the timeline">
        {[0, 1, 2, 3].map((row) => (
          <div key={row} className="flex gap-3">
            <Skeleton className="size-7 rounded-full" />
            <Skeleton className="mt-1.5 w-40" />
          </div>
        ))}
      </div>
    );
  }
  return (
    <Following of={events.length}>
      <ol className="px-4 py-4 sm:px-5" aria-label="Timeline" aria-live="polite" aria-relevant="additions">
        {entries.map((entry, index) => {
          const last = index === entries.length - 1;
          return entry.type === "event" ? (
            <Entry key={entry.key} event={entry.event} startedAt={startedAt} last={last} />
          ) : (
            <CheckpointRun key={entry.key} events={entry.events} startedAt={startedAt} last={last} />
          );
        })}
      </ol>
    </Following>
  );
}

/** Scrolls inside itself where there is room beside it, and stays at the newest entry unless the reader scrolled up. */
function Following({ of, children }: { of: number; children: ReactNode }) {
  const box = useRef<HTMLElement>(null);
  const atEnd = useRef(true);
  // biome-ignore lint/correctness/useExhaustiveDependencies: new entries are the reason to scroll
  useEffect(() => {
    if (atEnd.current && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [of]);
  return (
    <section
      ref={box}
      aria-label="Timeline entries"
      tabIndex={0}
      onScroll={({ currentTarget: { scrollHeight, scrollTop, clientHeight } }) => {
        atEnd.current = scrollHeight - scrollTop - clientHeight < 32;
      }}
      className="focus-visible:outline-offset-[-2px] lg:max-h-[calc(100dvh-11rem)] lg:overflow-y-auto"
    >
      {children}
    </section>
  );
}

const sinceStart = (at: string, startedAt: string) =>
  formatOffset((Date.parse(at) - Date.parse(startedAt)) / 1000);

interface EntryProps {
  event: JobEvent;
  startedAt: string;
  last: boolean;
}

function Entry({ event, startedAt, last }: EntryProps) {
  const { icon: Icon, tone } = LOOKS[event.kind];
  return (
    <li data-event={event.kind} className="relative flex animate-in gap-3 pb-4 last:pb-0">
      {last ? null : <span aria-hidden className="absolute top-7 bottom-0 left-3.5 w-px bg-line" />}
      <span className={cn("z-10 grid size-7 shrink-0 place-items-center rounded-full", tone)}>
        <Icon className="size-3.5" aria-hidden />
      </span>
      <div className="min-w-0 flex-1 pt-0.5">
        <p className="text-sm font-medium text-pretty [overflow-wrap:anywhere]">{event.title}</p>
        <Particulars event={event} startedAt={startedAt} />
      </div>
    </li>
  );
}

function Particulars({ event, startedAt }: { event: JobEvent; startedAt: string }) {
  return (
    <p className="figures mt-0.5 flex flex-wrap gap-x-2 text-xs text-ink-3">
      <time dateTime={event.at} title={formatInstant(event.at)}>
        {sinceStart(event.at, startedAt)}
      </time>
      <span className="max-sm:hidden">{formatClock(event.at)}</span>
      {event.ms !== null ? <span className="font-medium text-ink-2">{formatMs(event.ms)}</span> : null}
      {event.cost_micros !== null ? (
        <span title="charged so far">
          <Money micros={event.cost_micros} precision="exact" />
        </span>
      ) : null}
      {event.kind === "failed_over" && event.epoch !== null ? <span>epoch {event.epoch}</span> : null}
    </p>
  );
}

interface CheckpointRunProps {
  events: readonly JobEvent[];
  startedAt: string;
  last: boolean;
}

function CheckpointRun({ events, startedAt, last }: CheckpointRunProps) {
  const [open, setOpen] = useState(false);
  const newest = events.at(-1);
  if (!newest) return null;
  return (
    <li data-event="checkpoint" className="relative flex animate-in gap-3 pb-4 last:pb-0">
      {last ? null : <span aria-hidden className="absolute top-7 bottom-0 left-3.5 w-px bg-line" />}
      <span className={cn("z-10 grid size-7 shrink-0 place-items-center rounded-full", CALM)}>
        <Save className="size-3.5" aria-hidden />
      </span>
      <div className="min-w-0 flex-1 pt-0.5">
        <button
          type="button"
          aria-expanded={open}
          onClick={() => setOpen(!open)}
          className="-mx-1 flex items-center gap-1 rounded-sm px-1 text-left text-sm font-medium hover:bg-hover"
        >
          {plural(events.length, "checkpoint")} saved
          <ChevronDown
            aria-hidden
            className={cn("size-3.5 text-ink-3 transition-transform", open && "rotate-180")}
          />
        </button>
        {open ? (
          <ol className="mt-1.5 grid gap-1.5 border-l border-line pl-3">
            {events.map((event) => (
              <li key={event.id} className="text-xs text-ink-2">
                {event.title}
                <Particulars event={event} startedAt={startedAt} />
              </li>
            ))}
          </ol>
        ) : (
          <>
            <p className="mt-0.5 truncate text-xs text-ink-2">last: {newest.title}</p>
            <Particulars event={newest} startedAt={startedAt} />
          </>
        )}
      </div>
    </li>
  );
}
