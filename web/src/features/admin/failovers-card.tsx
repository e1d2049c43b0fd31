import { useQuery } from "@tanstack/react-query";
import { HeartPulse } from "lucide-react";
import { Link } from "react-router";
import { Ago } from "@/components/ago";
import { Card, CardHeader } from "@/components/ui/card";
import { Empty, Failed, SkeletonRows, Stale } from "@/components/ui/states";
import { Table, Td, Th } from "@/components/ui/table";
import { formatMs } from "@/lib/time";
import { plural } from "@/lib/units";
import { failoversQuery } from "./api";

const PHASES = [
  { key: "detect_ms", label: "Detect" },
  { key: "decide_ms", label: "Decide" },
  { key: "restore_ms", label: "Restore" },
  { key: "start_ms", label: "Start" },
  { key: "recovery_ms", label: "In all" },
] as const;

const ms = (value: number | undefined) => (value === undefined ? "–" : formatMs(value));

/** What failovers took, as the platform measured each of them. */
export function FailoversCard() {
  const { data, isPending, isError, error, refetch } = useQuery(failoversQuery);
  return (
    <Card className="overflow-hidden">
      <CardHeader
        title="Failovers"
        description={
          data && data.measured > 0
            ? `Measured phases of ${plural(data.measured, "failover")} in the last 7 days.`
            : "Measured phases, from the node's death to the job's first new step."
        }
      />
      {isPending ? (
        <SkeletonRows rows={5} />
      ) : !data ? (
        <Failed error={error} onRetry={() => void refetch()} />
      ) : data.measured === 0 ? (
        <Empty icon={HeartPulse} title="No failover in the last 7 days">
          When a node dies under a job, what each phase took is shown here.
        </Empty>
      ) : (
        <>
          {isError ? (
            <div className="p-4">
              <Stale error={error} onRetry={() => void refetch()} />
            </div>
          ) : null}
          <Table label="Phases of failovers">
            <thead>
              <tr>
                <Th>Phase</Th>
                <Th numeric>p50</Th>
                <Th numeric className="max-sm:pr-4">
                  p99
                </Th>
                <Th numeric className="hidden sm:table-cell">
                  Longest
                </Th>
              </tr>
            </thead>
            <tbody>
              {PHASES.map(({ key, label }) => (
                <tr key={key} className={key === "recovery_ms" ? "font-semibold" : undefined}>
                  <Td>{label}</Td>
                  <Td numeric>{ms(data.phases[key]?.p50)}</Td>
                  <Td numeric className="max-sm:pr-4">
                    {ms(data.phases[key]?.p99)}
                  </Td>
                  <Td numeric className="hidden sm:table-cell">
                    {ms(data.phases[key]?.max)}
                  </Td>
                </tr>
              ))}
            </tbody>
          </Table>
          <h3 className="px-4 pt-4 pb-1 text-xs font-medium text-ink-3 sm:px-5">Newest</h3>
          <ul className="divide-y divide-line">
            {data.newest.map((failover) => (
              <li key={failover.placement_id}>
                <Link
                  to={`/jobs/${failover.job_id}`}
                  className="flex items-center justify-between gap-4 px-4 py-2.5 text-sm transition-colors hover:bg-hover/60 focus-visible:outline-offset-[-2px] sm:px-5"
                >
                  <span className="min-w-0">
                    <span className="block truncate font-medium">{failover.job_name}</span>
                    <span className="block truncate text-xs text-ink-3">
                      went on at {failover.node_name} · <Ago at={failover.resumed_at} />
                    </span>
                  </span>
                  <span className="figures font-medium whitespace-nowrap">
                    {ms(failover.recovery_ms.recovery_ms)}
                  </span>
                </Link>
              </li>
            ))}
          </ul>
        </>
      )}
    </Card>
  );
}
