import { useQuery } from "@tanstack/react-query";
import { Check, Route } from "lucide-react";
import { Money } from "@/components/money";
import { Badge } from "@/components/ui/badge";
import { Card, CardHeader } from "@/components/ui/card";
import { Empty, Failed, SkeletonRows } from "@/components/ui/states";
import { Table, Td, Th } from "@/components/ui/table";
import { cn } from "@/lib/class-names";
import { formatDuration, formatInstant } from "@/lib/time";
import { formatCount, formatNumber } from "@/lib/units";
import { decisionsQuery } from "./api";
import type { Decision } from "./types";

type Candidate = Decision["candidates"][number];

/** Every decision of the router, with every number that counted. Another placement means another decision to read. */
export function DecisionsPanel({ jobId, refreshKey }: { jobId: string; refreshKey: number }) {
  const { data, isPending, error, refetch } = useQuery(decisionsQuery(jobId, refreshKey));
  if (isPending) {
    return (
      <Card>
        <SkeletonRows rows={4} />
      </Card>
    );
  }
  if (!data) {
    return (
      <Card>
        <Failed error={error} onRetry={() => void refetch()} />
      </Card>
    );
  }
  if (data.length === 0) {
    return (
      <Card>
        <Empty icon={Route} title="No decision yet">
          When the router places this job, every candidate and its numbers appear here.
        </Empty>
      </Card>
    );
  }
  return (
    <div className="grid gap-4">
      {data.map((decision) => (
        <Card key={decision.id}>
          <CardHeader
            title={`Placement ${decision.epoch}`}
            description={decision.summary}
            actions={
              <span className="figures text-xs text-ink-3">
                <time dateTime={decision.at}>{formatInstant(decision.at)}</time> · decided in{" "}
                {formatNumber(decision.took_ms)} ms
              </span>
            }
          />
          <CandidateTable
            label={`Candidates of placement ${decision.epoch}`}
            candidates={decision.candidates}
          />
          {decision.candidates_count > decision.candidates.length ? (
            <p className="figures px-4 sm:px-5 py-3 text-xs text-ink-3">
              {formatCount(decision.candidates.length)} of {formatCount(decision.candidates_count)} offers
              shown.
              {Object.entries(decision.failed_counts).map(
                ([limit, count]) => ` ${limit}: ${formatCount(count)} left out.`,
              )}
            </p>
          ) : null}
        </Card>
      ))}
      <p className="text-xs text-ink-3">
        Expected cost = price × expected run time + expected loss (the node's hazard × the work and time a
        loss would cost) + data movement. The lowest that keeps every hard limit wins.
      </p>
    </div>
  );
}

const byRank = (a: Candidate, b: Candidate): number =>
  Number(b.chosen) - Number(a.chosen) ||
  Number(a.excluded_because !== null) - Number(b.excluded_because !== null) ||
  (a.expected_cost_micros ?? 0) - (b.expected_cost_micros ?? 0);

function CandidateTable({ label, candidates }: { label: string; candidates: readonly Candidate[] }) {
  return (
    <Table label={label}>
      <thead>
        <tr>
          <Th>Node</Th>
          <Th numeric>Rate</Th>
          <Th numeric>Run time</Th>
          <Th numeric>Hazard</Th>
          <Th numeric>Expected loss</Th>
          <Th numeric>Data</Th>
          <Th numeric>Expected cost</Th>
        </tr>
      </thead>
      <tbody>
        {[...candidates].sort(byRank).map((candidate) => (
          <tr key={candidate.offer_id} className={cn(candidate.chosen && "bg-accent-soft/60")}>
            <Td>
              <span className="flex items-center gap-2 font-medium whitespace-nowrap">
                {candidate.node_name}
                {candidate.chosen ? (
                  <Badge tone="accent">
                    <Check aria-hidden /> chosen
                  </Badge>
                ) : null}
              </span>
              <span className="block text-xs text-ink-3">
                {candidate.gpu_model.replaceAll("_", " ")} · {candidate.region}
              </span>
            </Td>
            <Td numeric>
              <Money micros={candidate.rate_per_hour_micros} precision="rate" />
            </Td>
            {candidate.excluded_because ? (
              <Td colSpan={5} className="text-right text-ink-2">
                left out: {candidate.excluded_because}
              </Td>
            ) : (
              <>
                <Td numeric>
                  {candidate.expected_run_s === null ? "–" : formatDuration(candidate.expected_run_s)}
                </Td>
                <Td numeric>
                  {candidate.hazard_per_hour === null
                    ? "–"
                    : `${(candidate.hazard_per_hour * 100).toFixed(3)} % / h`}
                </Td>
                <Amount micros={candidate.expected_loss_micros} />
                <Amount micros={candidate.data_movement_micros} />
                <Amount micros={candidate.expected_cost_micros} strong />
              </>
            )}
          </tr>
        ))}
      </tbody>
    </Table>
  );
}

function Amount({ micros, strong }: { micros: number | null; strong?: boolean }) {
  return (
    <Td numeric className={cn(strong && "font-semibold")}>
      {micros === null ? "–" : <Money micros={micros} precision="exact" />}
    </Td>
  );
}
