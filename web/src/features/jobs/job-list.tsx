import { Link } from "react-router";
import { Ago } from "@/components/ago";
import { Money } from "@/components/money";
import { SimulatedBadge } from "@/components/simulated-badge";
import { Meter } from "@/components/ui/stat";
import { formatDuration } from "@/lib/time";
import { formatCount, plural } from "@/lib/units";
import { StateBadge } from "./state-badge";
import type { Job } from "./types";

export function JobRows({ jobs }: { jobs: readonly Job[] }) {
  return (
    <ul className="divide-y divide-line" aria-label="Jobs">
      {jobs.map((job) => (
        <li key={job.id}>
          <Link
            to={`/jobs/${job.id}`}
            className="grid grid-cols-[minmax(0,1fr)_auto] items-center gap-x-4 gap-y-1.5 px-4 py-3.5 transition-colors hover:bg-hover/60 focus-visible:outline-offset-[-2px] sm:px-5 lg:grid-cols-[minmax(0,2.2fr)_minmax(0,2fr)_minmax(0,1.2fr)_6.5rem]"
          >
            <span className="flex min-w-0 flex-wrap items-center gap-x-2.5 gap-y-1">
              <span className="max-w-full truncate font-medium" title={job.name}>
                {job.name}
              </span>
              <StateBadge state={job.state} />
              {job.placements_count > 1 ? (
                <span className="text-xs text-ink-3">
                  moved {job.placements_count === 2 ? "once" : plural(job.placements_count - 1, "time")}
                </span>
              ) : null}
            </span>
            <span className="figures self-start text-right font-medium lg:order-last lg:self-auto">
              <Money micros={job.charged_micros - job.refunded_micros} precision={4} />
            </span>
            <span className="col-span-full flex min-w-0 items-center gap-2 text-xs text-ink-2 lg:col-span-1">
              {job.placement ? (
                <>
                  <span className="truncate">
                    {job.placement.gpus} × {job.placement.gpu_model.replaceAll("_", " ")} on{" "}
                    {job.placement.node_name}
                  </span>
                  {job.placement.simulated ? <SimulatedBadge /> : null}
                </>
              ) : (
                "not placed yet"
              )}
            </span>
            <span className="col-span-full text-xs text-ink-3 lg:col-span-1">
              {job.progress?.total_steps && !job.ended_at ? (
                <span className="flex items-center gap-2">
                  <Meter
                    className="w-16"
                    value={job.progress.step}
                    max={job.progress.total_steps}
                    label={`Progress of ${job.name}`}
                  />
                  <span className="figures whitespace-nowrap">
                    {formatCount(job.progress.step)} / {formatCount(job.progress.total_steps)}
                  </span>
                </span>
              ) : (
                <>
                  {job.running_s > 0 ? `ran ${formatDuration(job.running_s)} · ` : ""}
                  <Ago at={job.ended_at ?? job.created_at} />
                </>
              )}
            </span>
          </Link>
        </li>
      ))}
    </ul>
  );
}
