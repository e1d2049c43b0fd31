import { useQuery } from "@tanstack/react-query";
import { ArrowLeft, HeartPulse, Wrench } from "lucide-react";
import { Link, useParams } from "react-router";
import { Button } from "@/components/ui/button";
import { Card, CardHeader } from "@/components/ui/card";
import { PageHeader } from "@/components/ui/page-header";
import { Failed, Notice, ProblemNotice, SkeletonRows } from "@/components/ui/states";
import { RecordPanel } from "@/features/incidents/record-panel";
import { type Node, nodeQuery, useDrainNode } from "@/features/nodes/api";
import { DeviceEvents } from "@/features/nodes/device-events";
import { LivenessBadge } from "@/features/nodes/liveness-badge";
import { MaintenanceSection } from "@/features/nodes/maintenance-section";
import { spanOf } from "@/features/nodes/readings";
import { deviceEventsQuery } from "@/features/nodes/telemetry";
import { TelemetryPanel, type View } from "@/features/nodes/telemetry-panel";
import { useSession } from "@/features/session/api";
import { useAddressParams } from "../address-state";
import { useTitle } from "../use-title";

const MACHINE = "machine";

export function NodePage() {
  const { nodeId = "" } = useParams();
  const node = useQuery(nodeQuery(nodeId));
  const events = useQuery(deviceEventsQuery(nodeId));
  const drain = useDrainNode();
  const session = useSession();
  const [params, ask] = useAddressParams();
  useTitle(node.data?.name ?? "Node");

  if (!node.data) {
    return (
      <div className="page">
        <PageHeader title="Node" />
        <Card>
          {node.isError ? (
            <Failed error={node.error} onRetry={() => void node.refetch()} />
          ) : (
            <SkeletonRows rows={4} />
          )}
        </Card>
      </div>
    );
  }

  const device = params.get("device");
  const first = node.data.devices[0]?.uuid ?? null;
  const view: View = {
    span: spanOf(params.get("span")).key,
    device:
      device === MACHINE ? null : (node.data.devices.find(({ uuid }) => uuid === device)?.uuid ?? first),
    metric: params.get("metric"),
  };
  const show = (next: View) =>
    ask(
      (current) => {
        current.set("span", next.span);
        current.set("device", next.device ?? MACHINE);
        if (next.metric) current.set("metric", next.metric);
        else current.delete("metric");
        return current;
      },
      { replace: true },
    );

  return (
    <div className="page">
      <Link to="/nodes" className="mt-4 inline-flex items-center gap-1 text-sm text-ink-2 hover:text-ink">
        <ArrowLeft className="size-4" aria-hidden /> Nodes
      </Link>
      <PageHeader
        title={
          <span className="inline-flex flex-wrap items-center gap-2">
            {node.data.name} <LivenessBadge liveness={node.data.state || node.data.liveness} />
          </span>
        }
        description={[node.data.cpu_model || "Machine", node.data.region, ...leaseOf(node.data)].join(" · ")}
      />
      <div className="grid gap-4 pb-8">
        {node.data.duty_reason ? (
          <Notice
            tone="warn"
            icon={node.data.duty === "quarantined" ? HeartPulse : Wrench}
            actions={
              <Button size="sm" busy={drain.isPending} onClick={() => drain.mutate({ nodeId, drain: false })}>
                Back in service
              </Button>
            }
          >
            {node.data.duty_reason}
          </Notice>
        ) : null}
        {node.data.watched_reason ? (
          <Notice tone="warn" icon={HeartPulse}>
            {node.data.watched_reason} Many nodes showed this at once, so it stays in service, watched, until
            an admin has looked.
          </Notice>
        ) : null}
        <ProblemNotice error={drain.error} />
        <Card>
          <CardHeader
            title="Maintenance"
            description="Planned windows, GPUs that failed, and the pool of replacements."
          />
          <MaintenanceSection node={node.data} className="border-t-0" />
        </Card>
        <TelemetryPanel node={node.data} events={events.data?.items ?? []} view={view} onView={show} />
        <DeviceEvents
          events={events.data?.items}
          error={events.error}
          onRetry={() => void events.refetch()}
        />
        <RecordPanel
          nodeId={nodeId}
          linkTo={session.has("admin") ? (incidentId) => `/admin/incidents/${incidentId}` : undefined}
        />
      </div>
    </div>
  );
}

/** How long its lease lasts, and why not as short as on a good link; nothing before it was ever connected. */
function leaseOf({ lease_ttl_s, lease_ttl_why }: Pick<Node, "lease_ttl_s" | "lease_ttl_why">) {
  if (lease_ttl_s == null) return [];
  return [`lease ${lease_ttl_s} s${lease_ttl_why ? `: ${lease_ttl_why}` : ""}`];
}
