import { CircleAlert, RotateCw, TriangleAlert } from "lucide-react";
import type { ComponentType, ReactNode } from "react";
import { asProblem } from "@/api/problem";
import { cn } from "@/lib/class-names";
import { Button } from "./button";

/** Loading: the shape of what will come, so that nothing jumps when it does. */
export function Skeleton({ className }: { className?: string }) {
  return <div aria-hidden className={cn("skeleton h-4", className)} />;
}

export function SkeletonRows({ rows = 5, className }: { rows?: number; className?: string }) {
  return (
    <div role="status" aria-label="Loading" className="grid">
      {Array.from({ length: rows }, (_, row) => (
        <div
          key={row}
          className={cn(
            "flex items-center gap-4 border-b border-line px-4 py-4 last:border-0 sm:px-5",
            className,
          )}
        >
          <Skeleton className="h-4 w-1/4" />
          <Skeleton className="hidden h-4 w-1/6 sm:block" />
          <Skeleton className="ml-auto h-4 w-16" />
        </div>
      ))}
    </div>
  );
}

interface EmptyProps {
  icon: ComponentType<{ className?: string }>;
  title: string;
  children?: ReactNode;
  actions?: ReactNode;
  className?: string;
}

export function Empty({ icon: Icon, title, children, actions, className }: EmptyProps) {
  return (
    <div className={cn("grid justify-items-center gap-3 px-6 py-14 text-center", className)}>
      <span className="grid size-11 place-items-center rounded-xl border border-line bg-bg text-ink-3">
        <Icon className="size-5" />
      </span>
      <div className="max-w-sm">
        <p className="font-medium text-ink">{title}</p>
        {children ? <div className="mt-1 text-sm text-ink-2">{children}</div> : null}
      </div>
      {actions ? <div className="mt-1 flex flex-wrap justify-center gap-2">{actions}</div> : null}
    </div>
  );
}

interface FailedProps {
  error: unknown;
  onRetry?: () => void;
  className?: string;
}

/** A view that could not be loaded at all. */
export function Failed({ error, onRetry, className }: FailedProps) {
  const problem = asProblem(error);
  return (
    <div role="alert" className={cn("grid justify-items-center gap-3 px-6 py-14 text-center", className)}>
      <span className="grid size-11 place-items-center rounded-xl bg-bad-soft text-bad">
        <CircleAlert className="size-5" aria-hidden />
      </span>
      <div className="max-w-md">
        <p className="font-medium">{problem.detail}</p>
        <p className="mt-1 font-mono text-xs text-ink-3">{problem.code}</p>
      </div>
      {onRetry ? (
        <Button onClick={onRetry}>
          <RotateCw aria-hidden /> Try again
        </Button>
      ) : null}
    </div>
  );
}

type NoticeTone = "bad" | "warn" | "info" | "good";

const noticeTones: Record<NoticeTone, string> = {
  bad: "border-bad/30 bg-bad-soft [&>svg]:text-bad",
  warn: "border-warn/30 bg-warn-soft [&>svg]:text-warn",
  good: "border-good/30 bg-good-soft [&>svg]:text-good",
  info: "border-line bg-hover/60 [&>svg]:text-ink-3",
};

interface NoticeProps {
  tone?: NoticeTone;
  icon?: ComponentType<{ className?: string }>;
  children: ReactNode;
  actions?: ReactNode;
  className?: string;
}

export function Notice({
  tone = "info",
  icon: Icon = TriangleAlert,
  children,
  actions,
  className,
}: NoticeProps) {
  return (
    <div
      role={tone === "bad" ? "alert" : "status"}
      className={cn(
        "flex flex-wrap items-start gap-x-3 gap-y-2 rounded-lg border px-3.5 py-2.5 text-sm text-ink",
        noticeTones[tone],
        className,
      )}
    >
      <Icon className="mt-0.5 size-4 shrink-0" />
      <div className="min-w-0 flex-1 basis-40">{children}</div>
      {actions ? <div className="flex items-center gap-2">{actions}</div> : null}
    </div>
  );
}

/** A failed action, told where it was tried. */
export function ProblemNotice({ error, actions }: { error: unknown; actions?: ReactNode }) {
  if (!error) return null;
  const problem = asProblem(error);
  return (
    <Notice tone="bad" icon={CircleAlert} actions={actions}>
      <p>{problem.detail}</p>
      {problem.errors.length > 0 ? (
        <ul className="mt-1 list-disc pl-4 text-ink-2">
          {problem.errors.map((item) => (
            <li key={`${item.path}:${item.message}`}>
              {item.path ? <span className="font-mono text-xs">{item.path}: </span> : null}
              {item.message}
            </li>
          ))}
        </ul>
      ) : null}
    </Notice>
  );
}

/** What is shown is old: the last refresh failed, and it says so instead of pretending. */
export function Stale({ error, onRetry }: { error: unknown; onRetry: () => void }) {
  return (
    <Notice
      tone="warn"
      actions={
        <Button size="sm" onClick={onRetry}>
          <RotateCw aria-hidden /> Refresh
        </Button>
      }
    >
      This is the last state that could be read. {asProblem(error).detail}
    </Notice>
  );
}
