import { ShieldAlert, ShieldCheck, ShieldEllipsis } from "lucide-react";
import { Ago } from "@/components/ago";
import { Money } from "@/components/money";
import { Notice } from "@/components/ui/states";
import { formatBytes } from "@/lib/units";
import type { Job } from "./types";

/** The second node of a hot job: who it is, what it holds, what it costs, or why there is none. */
export function StandbyNotice({ job }: { job: Job }) {
  const standby = job.standby;
  if (!standby) {
    return (
      <Notice icon={ShieldEllipsis}>
        <p>A standby is chosen as soon as the job runs. Nothing is charged for it until it is ready.</p>
      </Notice>
    );
  }
  if (standby.state === "none") {
    return (
      <Notice icon={ShieldAlert} tone={standby.why_none ? "warn" : "info"}>
        <p>{standby.why_none ?? "A standby is being chosen."}</p>
        <p className="mt-0.5 text-xs text-ink-2">
          The job has ordinary protection meanwhile: it goes on elsewhere from its last checkpoint. No standby
          is charged.
        </p>
      </Notice>
    );
  }
  const ready = standby.state === "ready";
  return (
    <Notice icon={ready ? ShieldCheck : ShieldEllipsis} tone={ready ? "good" : "info"}>
      <p>
        {ready ? "Standby on " : "Preparing to stand by: "}
        <span className="font-medium">{standby.node_name}</span> ({standby.gpu_model}, {standby.region})
        {standby.checkpoint_seq ? (
          <>
            , checkpoint <span className="figures">{standby.checkpoint_seq}</span> held (
            {formatBytes(standby.bytes_held ?? 0)})
          </>
        ) : null}
        {ready && standby.ready_since ? (
          <>
            , ready since <Ago at={standby.ready_since} />
          </>
        ) : null}
        .
      </p>
      <p className="mt-0.5 text-xs text-ink-2">
        {standby.problem ? <span className="text-warn">{standby.problem} </span> : null}
        <Money micros={standby.rate_per_hour_micros ?? 0} precision="rate" /> per hour on top,{" "}
        {ready ? "charged only while it is proven ready." : "charged from when it is ready."}
      </p>
    </Notice>
  );
}
