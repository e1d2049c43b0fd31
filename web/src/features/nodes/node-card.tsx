import { ChartSpline, Cpu, MemoryStick, Trash2 } from "lucide-react";
import type { ReactNode } from "react";
import { Link } from "react-router";
import { Ago } from "@/components/ago";
import { SimulatedBadge } from "@/components/simulated-badge";
import { Badge } from "@/components/ui/badge";
import { Button } from "@/components/ui/button";
import { Card } from "@/components/ui/card";
import { Confirm } from "@/components/ui/dialog";
import { Stat } from "@/components/ui/stat";
import { Notice, ProblemNotice } from "@/components/ui/states";
import { cn } from "@/lib/class-names";
import { formatDuration } from "@/lib/time";
import { formatCount, formatPercent, plural } from "@/lib/units";
import { type Node, useDrainNode, useRemoveNode } from "./api";
import { LivenessBadge } from "./liveness-badge";
import { MaintenanceSection } from "./maintenance-section";

/** Heartbeats stay in the gateway's memory; the recorded instant is that of the last change, so it says nothing now. */
function LastHeard({ node }: { node: Node }) {
  if (node.liveness === "online") return "now";
  return node.last_seen_at ? <Ago at={node.last_seen_at} /> : "never";
}

function deviceState(device: Node["devices"][number]): string {
  if (device.fault) return device.back_at ? "failed, on probation" : "failed";
  return device.in_use ? "in use" : "free";
}

/** One machine. What it is offered for is the market's matter and comes in as `offer`. */
export function NodeCard({ node, offer }: { node: Node; offer: ReactNode }) {
  const remove = useRemoveNode();
  const drain = useDrainNode();
  const serving = node.duty === "in_service" || node.duty === "quarantined";
  const models = new Map<string, number>();
  for (const device of node.devices) models.set(device.model, (models.get(device.model) ?? 0) + 1);
  const title = [...models].map(([model, count]) => `${count} × ${model.replaceAll("_", " ")}`).join(", ");
  return (
    <Card data-node={node.name}>
      <div className="flex flex-wrap items-start justify-between gap-3 px-4 pt-4 sm:px-5">
        <div className="min-w-0">
          <div className="flex flex-wrap items-center gap-2">
            <h2 className="font-semibold">
              <Link to={`/nodes/${node.id}`} className="hover:underline">
                {node.name}
              </Link>
            </h2>
            <LivenessBadge liveness={node.state || node.liveness} />
            {node.status === "pending" ? <Badge tone="warn">awaiting verification</Badge> : null}
            {node.in_pool ? <Badge tone="accent">replacement pool</Badge> : null}
            {node.simulated ? <SimulatedBadge /> : null}
          </div>
          <p className="mt-0.5 text-sm text-ink-2">
            {title || "no GPU found"} · {node.region}
          </p>
        </div>
        <div className="flex items-center gap-1.5">
          <Button asChild size="sm" variant="ghost">
            <Link to={`/nodes/${node.id}`}>
              <ChartSpline aria-hidden /> Readings
            </Link>
          </Button>
          {node.status !== "verified" ? null : serving ? (
            <Confirm
              title={`Take ${node.name} out of service?`}
              description={
                <p>
                  It gets no new jobs, and those that run are checkpointed and moved. When it is in
                  maintenance it may be switched off.
                </p>
              }
              confirmLabel="Drain it"
              onConfirm={() => drain.mutate({ nodeId: node.id, drain: true })}
              trigger={
                <Button size="sm" busy={drain.isPending}>
                  Drain
                </Button>
              }
            />
          ) : (
            <Button
              size="sm"
              busy={drain.isPending}
              onClick={() => drain.mutate({ nodeId: node.id, drain: false })}
            >
              Back in service
            </Button>
          )}
          <Confirm
            title={`Remove ${node.name}?`}
            description={
              <p>
                Its offer is withdrawn and its key stops working. To come back the machine must be enrolled
                again.
              </p>
            }
            confirmLabel="Remove the node"
            onConfirm={() => remove.mutate(node.id)}
            trigger={
              <Button
                variant="ghost"
                size="icon-sm"
                aria-label={`Remove ${node.name}`}
                busy={remove.isPending}
              >
                <Trash2 aria-hidden />
              </Button>
            }
          />
        </div>
      </div>
      {node.findings.length > 0 ? (
        <div className="px-4 pt-3 sm:px-5">
          <Notice tone="warn">
            <ul>
              {node.findings.map((finding) => (
                <li key={finding}>{finding}</li>
              ))}
            </ul>
          </Notice>
        </div>
      ) : null}
      {remove.error || drain.error ? (
        <div className="px-4 pt-3 sm:px-5">
          <ProblemNotice error={remove.error ?? drain.error} />
        </div>
      ) : null}
      <div className="grid gap-x-8 gap-y-4 px-4 py-4 sm:px-5 lg:grid-cols-[1fr_1.6fr]">
        <div>
          <p className="mb-1.5 text-xs text-ink-3">
            {node.devices.filter(({ in_use }) => in_use).length} of {plural(node.devices.length, "GPU")} in
            use
          </p>
          <ul className="flex flex-wrap gap-1" aria-label="GPUs">
            {node.devices.map((device) => (
              <li
                key={device.id}
                title={`${device.model}, ${device.vram_gb} GB: ${deviceState(device)}`}
                className={cn(
                  "h-6 max-w-14 min-w-9 flex-1 rounded-sm border",
                  device.fault
                    ? "border-bad bg-bad-soft"
                    : device.in_use
                      ? "border-accent-ink bg-accent"
                      : "border-line-strong bg-hover",
                )}
              >
                <span className="sr-only">
                  {device.model}: {deviceState(device)}
                </span>
              </li>
            ))}
          </ul>
          <p className="mt-2 flex flex-wrap gap-x-3 gap-y-1 text-xs text-ink-3">
            <span className="inline-flex items-center gap-1">
              <Cpu className="size-3.5" aria-hidden /> {plural(node.cpus, "core")}
            </span>
            <span className="inline-flex items-center gap-1">
              <MemoryStick className="size-3.5" aria-hidden /> {formatCount(node.memory_gb)} GB
            </span>
            <span>{Object.keys(node.runtimes).join(", ")}</span>
          </p>
        </div>
        <dl className="grid grid-cols-2 gap-x-6 gap-y-3 sm:grid-cols-4">
          <Stat
            label="Reliability"
            value={formatPercent(node.reliability)}
            note={node.record || "over 24 h"}
          />
          <Stat
            label="Online"
            value={formatDuration(node.online_s)}
            note={`lost ${plural(node.losses, "time")}`}
          />
          <Stat label="Running jobs" value={formatCount(node.running_jobs)} />
          <Stat label="Last heard" value={<LastHeard node={node} />} />
        </dl>
      </div>
      <MaintenanceSection node={node} />
      <div className="border-t border-line px-4 py-3 sm:px-5">{offer}</div>
    </Card>
  );
}
