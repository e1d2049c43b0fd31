import { useQuery } from "@tanstack/react-query";
import { ShieldCheck, ShieldOff } from "lucide-react";
import { useEffect, useState } from "react";
import type { Schemas } from "@/api/client";
import { Skeleton } from "@/components/ui/states";
import { cn } from "@/lib/class-names";
import { promiseQuery } from "./api";

type Promised = Schemas["Promise"];

/** What a job gets when its node dies, in the platform's own words, and what stands in the way of more. */
export function PromiseText({ promise, className }: { promise: Promised; className?: string }) {
  return (
    <div className={cn("grid gap-1 text-xs text-ink-2", className)} data-promise={promise.saved}>
      <p>{promise.says}</p>
      {promise.standby ? <p>{promise.standby}</p> : null}
      {promise.why_not_more ? <p className="text-ink-3">Why not more: {promise.why_not_more}</p> : null}
    </div>
  );
}

const PAUSE_MS = 250;

/** The same before the job is sent: asked anew whenever what decides it was changed. */
export function PromiseAhead({ spec }: { spec: Schemas["JobSpec"] }) {
  const asked = useSettled(JSON.stringify(spec));
  const promise = useQuery(promiseQuery(JSON.parse(asked) as Schemas["JobSpec"]));
  // What cannot be a job is said at its fields; there is nothing to promise to it.
  if (promise.isError) return null;
  const Icon = promise.data?.saved === "nothing" ? ShieldOff : ShieldCheck;
  return (
    <section
      aria-label="What you get when a node dies"
      aria-live="polite"
      className="flex gap-3 rounded-md border border-line bg-sunken p-3"
    >
      <Icon className="mt-0.5 size-4 shrink-0 text-ink-3" aria-hidden />
      <div className="grid min-w-0 flex-1 gap-1">
        <h3 className="text-sm font-medium">What you get when a node dies</h3>
        {promise.data ? (
          <PromiseText
            promise={promise.data}
            className={cn("transition-opacity", promise.isPlaceholderData && "opacity-60")}
          />
        ) : (
          <>
            <Skeleton className="h-3 w-full" />
            <Skeleton className="h-3 w-2/3" />
          </>
        )}
      </div>
    </section>
  );
}

/** The text once nothing has changed in it for a moment: not every key press is a question. */
function useSettled(text: string): string {
  const [settled, settle] = useState(text);
  useEffect(() => {
    const timer = setTimeout(() => settle(text), PAUSE_MS);
    return () => clearTimeout(timer);
  }, [text]);
  return settled;
}
