import { Square } from "lucide-react";
import type { ReactNode } from "react";
import { Link } from "react-router";
import { Ago } from "@/components/ago";
import { Money } from "@/components/money";
import { SimulatedBadge } from "@/components/simulated-badge";
import { Badge } from "@/components/ui/badge";
import { Button } from "@/components/ui/button";
import { Confirm } from "@/components/ui/dialog";
import { Meter, Stat } from "@/components/ui/stat";
import { Notice, ProblemNotice } from "@/components/ui/states";
import { Explain } from "@/components/ui/tooltip";
import { formatDuration } from "@/lib/time";
import { formatCount, plural } from "@/lib/units";
import { useNow } from "@/lib/use-now";
import { useStopJob } from "./api";
import { runningCost } from "./cost";
import { PromiseText } from "./promise";
import { StateBadge } from "./state-badge";
import type { Connection } from "./stream-state";
import { isFinal, type Job } from "./types";
import { LeavingNotice, Waiting } from "./waiting";

interface JobHeaderProps {
  job: Job;
  connection: Connection;
  /** Of the booking that runs now, as far as posted. */
  bookingChargedMicros: number | null;
  controls?: ReactNode;
}

export function JobHeader({ job, connection, bookingChargedMicros, controls }: JobHeaderProps) {
  const stop = useStopJob(job.id);
  const { placement } = job;
  const ended = isFinal(job.state);
  const metered = job.state === "running" || job.state === "stopping";
  const now = useNow(metered ? 250 : 5_000, !ended);
  const meteredSinceMs = metered && placement?.running_at ? Date.parse(placement.running_at) : null;
  const cost = runningCost({
    chargedMicros: job.charged_micros,
    refundedMicros: job.refunded_micros,
    bookingChargedMicros:
      bookingChargedMicros ?? (job.placements_count <= 1 ? job.charged_micros : Number.MAX_SAFE_INTEGER),
    ratePerHourMicros: placement?.rate_per_hour_micros ?? 0,
    meteredSinceMs,
    nowMs: now,
  });
  const since = job.started_at ?? job.created_at;
  const until = job.ended_at ? Date.parse(job.ended_at) : now;

  return (
    <header className="pt-6 pb-4">
      <nav aria-label="Breadcrumb" className="mb-2 text-sm text-ink-3">
        <Link to="/jobs" className="underline-offset-4 hover:text-ink hover:underline">
          Jobs
        </Link>
        <span aria-hidden> / </span>
        <span className="font-mono text-xs">{job.id}</span>
      </nav>
      <div className="flex flex-wrap items-center justify-between gap-x-6 gap-y-3">
        <div className="flex min-w-0 flex-wrap items-center gap-x-3 gap-y-1.5">
          <h1 className="truncate text-xl font-semibold">{job.name}</h1>
          <StateBadge state={job.state} />
          {job.spec.protection === "hot" ? (
            <Badge tone="accent">Hot standby</Badge>
          ) : job.spec.protection === "catalyst" ? (
            <Badge tone="accent">Catalyst protection</Badge>
          ) : (
            <Badge>no protection</Badge>
          )}
          {ended ? null : (
            <Badge
              tone={connection === "live" ? "neutral" : "warn"}
              dot={connection === "live" ? "live" : true}
            >
              {connection === "live" ? "live" : "reconnecting, polling"}
            </Badge>
          )}
        </div>
        <div className="flex flex-wrap items-center gap-2 max-sm:w-full max-sm:*:flex-1">
          {controls}
          {ended ? null : (
            <Confirm
              title="Stop this job?"
              description={
                <p>
                  It gets a final checkpoint, then it ends. Billing ends with it, and what is left of the hold
                  goes back to your wallet.
                </p>
              }
              confirmLabel="Stop the job"
              onConfirm={() => stop.mutate()}
              trigger={
                <Button busy={stop.isPending} disabled={job.state === "stopping"}>
                  <Square aria-hidden /> {job.state === "stopping" ? "Stopping" : "Stop"}
                </Button>
              }
            />
          )}
        </div>
      </div>

      <div className="mt-4 grid gap-3 empty:hidden">
        <ProblemNotice error={stop.error} />
        {placement && !ended ? <LeavingNotice placement={placement} /> : null}
        {job.waiting ? <Waiting waiting={job.waiting} /> : null}
        {job.detail &&
        !job.waiting &&
        (job.state === "failed" || job.state === "stopped" || job.state === "queued") ? (
          <Notice tone={job.state === "failed" ? "bad" : "info"}>
            <p>{job.detail}</p>
            <p className="mt-0.5 font-mono text-xs text-ink-2">
              {job.reason}
              {job.exit_code === null ? "" : ` · exit code ${job.exit_code}`}
            </p>
          </Notice>
        ) : null}
      </div>

      <div className="mt-4 rounded-lg border border-line bg-surface px-4 py-3.5 shadow-1 sm:px-5">
        <dl className="grid grid-cols-2 gap-x-6 gap-y-4 md:grid-cols-4 lg:grid-cols-[1.1fr_1fr_1.5fr_1fr_1fr]">
          <Stat
            label={
              <>
                Cost {ended ? "" : "so far"}
                <Explain about="the cost">
                  Charges follow confirmed running time by the second and are posted each minute (posted:{" "}
                  <Money micros={job.charged_micros} precision="exact" />, refunded:{" "}
                  <Money micros={job.refunded_micros} precision="exact" />
                  ). Between two postings this figure goes on by the rate. Waiting, starting, restoring and
                  lost work are not charged.
                </Explain>
              </>
            }
            value={
              <span data-cost={cost}>
                <Money micros={cost} precision={ended ? "exact" : 4} />
              </span>
            }
          />
          <Stat
            label="Rate"
            value={
              placement ? (
                <>
                  <Money micros={placement.rate_per_hour_micros} precision="rate" />
                  <span className="text-xs font-normal text-ink-3"> / h</span>
                </>
              ) : (
                "–"
              )
            }
          />
          <Stat
            className="max-md:col-span-2"
            label={ended ? "Last node" : "Node"}
            value={<span className="normal-nums">{placement?.node_name ?? "none yet"}</span>}
            note={
              placement ? (
                <span className="flex flex-wrap items-center gap-1.5">
                  <span className="whitespace-nowrap">
                    {placement.gpus} × {placement.gpu_model.replaceAll("_", " ")} · {placement.region}
                  </span>
                  {placement.simulated ? <SimulatedBadge /> : null}
                </span>
              ) : undefined
            }
          />
          <Stat
            label={ended ? "Took" : "Running for"}
            value={formatDuration((until - Date.parse(since)) / 1000)}
            note={<>billed time {formatDuration(job.running_s)}</>}
          />
          <Stat
            label="Checkpoints"
            value={formatCount(job.checkpoints_count)}
            note={
              job.last_checkpoint_at ? (
                <>
                  last <Ago at={job.last_checkpoint_at} />
                </>
              ) : job.placements_count > 1 ? (
                `moved ${plural(job.placements_count - 1, "time")}`
              ) : (
                "none yet"
              )
            }
          />
        </dl>
        {ended ? null : <PromiseText promise={job.promise} className="mt-4 border-t border-line pt-3" />}
        {job.progress?.total_steps ? (
          <div className="mt-4 border-t border-line pt-3">
            <div className="figures mb-1.5 flex justify-between text-xs text-ink-2">
              <span>
                Step {formatCount(job.progress.step)} of {formatCount(job.progress.total_steps)}
              </span>
              <span>{Math.floor((job.progress.step / job.progress.total_steps) * 100)} %</span>
            </div>
            <Meter value={job.progress.step} max={job.progress.total_steps} label="Progress" />
          </div>
        ) : null}
      </div>
    </header>
  );
}
