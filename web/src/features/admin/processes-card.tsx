import { useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { Ago } from "@/components/ago";
import { Badge, type Tone } from "@/components/ui/badge";
import { Card, CardHeader } from "@/components/ui/card";
import { Failed, SkeletonRows } from "@/components/ui/states";
import { formatAgo } from "@/lib/time";
import { formatCount, plural } from "@/lib/units";
import { useNow } from "@/lib/use-now";
import { overviewQuery, readinessQuery } from "./api";

/** Five renewals missed: something is wrong with that gateway. */
const GATEWAY_SILENT_MS = 10_000;
/** A relay that works keeps its queue shorter than this. */
const OUTBOX_LATE_MS = 30_000;

const PARTS: Record<string, string> = {
  postgresql: "PostgreSQL",
  valkey: "Valkey",
  object_store: "Object store",
  api: "API",
  controller: "Controller",
  worker: "Worker",
  beat: "Beat",
};

/** Whether the platform's parts answer, and what waits for them. */
export function ProcessesCard() {
  const overview = useQuery(overviewQuery);
  const readiness = useQuery(readinessQuery);
  const now = useNow(2_000);
  const data = overview.data;
  return (
    <Card>
      <CardHeader title="Platform" description="Its parts, as this API and its database see them." />
      {overview.isPending || readiness.isPending ? (
        <SkeletonRows rows={6} />
      ) : !data ? (
        <Failed error={overview.error} onRetry={() => void overview.refetch()} />
      ) : (
        <ul className="divide-y divide-line">
          {readiness.data ? (
            Object.entries(readiness.data.parts).map(([part, answer]) => (
              <Line
                key={part}
                name={PARTS[part] ?? part}
                tone={answer === "ok" ? "good" : "bad"}
                state={answer === "ok" ? "answers" : answer}
              />
            ))
          ) : (
            <Line name="Readiness" tone="bad" state="does not answer" />
          )}
          {data.gateways.map((gateway) => {
            const silent = now - Date.parse(gateway.renewed_at) > GATEWAY_SILENT_MS;
            return (
              <Line
                key={gateway.id}
                name="Gateway"
                note={<span className="font-mono text-xs">{gateway.address}</span>}
                tone={silent ? "bad" : "good"}
                state={`renewed ${formatAgo(gateway.renewed_at, now)}`}
              />
            );
          })}
          {data.gateways.length === 0 ? (
            <Line name="Gateway" tone="bad" state="none runs: no node can connect" />
          ) : null}
          {data.processes
            .filter(({ name }) => !name.startsWith("gateway"))
            .map(({ name, connections, last_active_at }) => (
              <Line
                key={name}
                name={PARTS[name] ?? name}
                note={plural(connections, "connection")}
                tone="neutral"
                state={last_active_at ? <Ago at={last_active_at} /> : "connected"}
              />
            ))}
          <Line
            name="Messages to relay"
            tone={
              data.backlog.outbox_oldest_at &&
              now - Date.parse(data.backlog.outbox_oldest_at) > OUTBOX_LATE_MS
                ? "bad"
                : "good"
            }
            state={
              data.backlog.outbox_oldest_at ? (
                <>
                  {formatCount(data.backlog.outbox_waiting)}, the oldest{" "}
                  <Ago at={data.backlog.outbox_oldest_at} />
                </>
              ) : (
                "none waits"
              )
            }
          />
          <Line
            name="Tasks given up"
            note="in 24 hours"
            tone={data.backlog.tasks_given_up_24h > 0 ? "warn" : "good"}
            state={formatCount(data.backlog.tasks_given_up_24h)}
          />
        </ul>
      )}
    </Card>
  );
}

interface LineProps {
  name: string;
  note?: ReactNode;
  tone: Tone;
  state: ReactNode;
}

function Line({ name, note, tone, state }: LineProps) {
  return (
    <li className="flex flex-wrap items-center justify-between gap-x-4 gap-y-0.5 px-4 py-2.5 text-sm sm:px-5">
      <span className="flex min-w-0 flex-wrap items-baseline gap-x-2">
        <span className="font-medium">{name}</span>
        {note ? <span className="min-w-0 truncate text-xs text-ink-3">{note}</span> : null}
      </span>
      <Badge tone={tone} dot={tone !== "neutral"} className="figures">
        {state}
      </Badge>
    </li>
  );
}
