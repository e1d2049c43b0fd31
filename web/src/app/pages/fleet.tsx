import { useQuery } from "@tanstack/react-query";
import { Gauge } from "lucide-react";
import type { ReactNode } from "react";
import { Link } from "react-router";
import { Ago } from "@/components/ago";
import { Money } from "@/components/money";
import { SimulatedBadge } from "@/components/simulated-badge";
import type { Tone } from "@/components/ui/badge";
import { Breakdown } from "@/components/ui/breakdown";
import { Button } from "@/components/ui/button";
import { Card, CardHeader } from "@/components/ui/card";
import { PageHeader } from "@/components/ui/page-header";
import { Stat } from "@/components/ui/stat";
import { Empty, Failed, SkeletonRows, Stale } from "@/components/ui/states";
import { Table, Td, Th } from "@/components/ui/table";
import { Explain } from "@/components/ui/tooltip";
import { type Earnings, earningsQuery } from "@/features/billing/api";
import { type Node, nodesQuery } from "@/features/nodes/api";
import { LivenessBadge } from "@/features/nodes/liveness-badge";
import { formatDuration } from "@/lib/time";
import { formatCount, formatPercent, plural } from "@/lib/units";
import { useTitle } from "../use-title";

const TONES: Record<string, Tone> = {
  online: "good",
  suspect: "warn",
  lost: "bad",
  offline: "neutral",
  draining: "warn",
  maintenance: "neutral",
  quarantined: "bad",
  pending: "accent",
};

/** What needs its operator first: the worst state, then the name. */
const URGENCY = ["lost", "quarantined", "suspect", "pending", "draining", "offline", "maintenance", "online"];
const stateOf = (node: Node) => (node.status === "pending" ? "pending" : node.state || node.liveness);
const byUrgency = (a: Node, b: Node) =>
  URGENCY.indexOf(stateOf(a)) - URGENCY.indexOf(stateOf(b)) || a.name.localeCompare(b.name);

/** An operator's machines at a glance: what is wrong, what runs, what it earned, and how sure that is. */
export function FleetPage() {
  useTitle("Fleet");
  const nodes = useQuery(nodesQuery);
  const earnings = useQuery(earningsQuery);
  const items = nodes.data?.items.filter(({ status }) => status !== "removed").toSorted(byUrgency) ?? [];
  const failed = nodes.error ?? earnings.error;
  const retry = () => {
    void nodes.refetch();
    void earnings.refetch();
  };
  return (
    <div className="page">
      <PageHeader
        title="Fleet"
        description="Your machines in the Catalyst programme, what needs you first."
        actions={
          <Button asChild>
            <Link to="/nodes">Prices and terms</Link>
          </Button>
        }
      />
      {nodes.isPending || earnings.isPending ? (
        <Card>
          <SkeletonRows rows={6} />
        </Card>
      ) : !nodes.data ? (
        <Card>
          <Failed error={nodes.error} onRetry={retry} />
        </Card>
      ) : items.length === 0 ? (
        <Card>
          <Empty
            icon={Gauge}
            title="No machine in your fleet"
            actions={
              <Button asChild variant="primary">
                <Link to="/nodes">Add a node</Link>
              </Button>
            }
          >
            Enrol one, and its health, its jobs and its earnings are here.
          </Empty>
        </Card>
      ) : (
        <div className="grid gap-4">
          {failed ? <Stale error={failed} onRetry={retry} /> : null}
          <Glance nodes={items} earnings={earnings.data} />
          <Machines nodes={items} earnings={earnings.data} />
        </div>
      )}
    </div>
  );
}

function count<T extends string>(values: readonly T[]): Map<T, number> {
  const counted = new Map<T, number>();
  for (const value of values) counted.set(value, (counted.get(value) ?? 0) + 1);
  return counted;
}

interface PartsProps {
  nodes: readonly Node[];
  earnings: Earnings | undefined;
}

function Glance({ nodes, earnings }: PartsProps) {
  const states = count(nodes.map(stateOf));
  const devices = nodes.flatMap((node) => node.devices);
  const used = devices.filter(({ in_use }) => in_use).length;
  const jobs = nodes.reduce((sum, { running_jobs }) => sum + running_jobs, 0);
  const seenS = nodes.reduce((sum, { online_s }) => sum + online_s, 0);
  const losses = nodes.reduce((sum, node) => sum + node.losses, 0);
  return (
    <Card>
      <div className="grid gap-x-8 gap-y-6 p-4 sm:grid-cols-2 sm:p-5">
        <Breakdown
          label="Nodes"
          parts={[...states].map(([state, number]) => ({
            label: state,
            count: number,
            tone: TONES[state] ?? "accent",
          }))}
          none=""
        />
        <Breakdown
          label="GPUs"
          parts={[
            { label: "in use", count: used, tone: "accent" },
            { label: "free", count: devices.length - used, tone: "outline" },
          ]}
          none="No GPU was found."
        />
      </div>
      <dl className="grid grid-cols-2 gap-4 border-t border-line px-4 py-4 sm:grid-cols-4 sm:px-5">
        <Stat label="Running jobs" value={formatCount(jobs)} />
        <Stat
          label="Earned in 24 hours"
          value={<Amount micros={earnings?.earned_24h_micros} />}
          note={earnings ? `your share: ${earnings.owner_share_percent} %` : undefined}
        />
        <Stat label="Earned in 30 days" value={<Amount micros={earnings?.earned_30d_micros} />} />
        <Stat
          label={
            <>
              Losses
              <Explain about="the number of losses">
                How often a lease of one of your nodes ran out while it should have been online. Below it: the
                time over which they were seen, all nodes together.
              </Explain>
            </>
          }
          value={formatCount(losses)}
          note={`in ${formatDuration(seenS)} online`}
        />
      </dl>
    </Card>
  );
}

const Amount = ({ micros }: { micros: number | undefined }): ReactNode =>
  micros === undefined ? "–" : <Money micros={micros} precision={4} />;

function Machines({ nodes, earnings }: PartsProps) {
  const earned = new Map(earnings?.by_node.map((node) => [node.node_id, node.earned_micros]));
  return (
    <Card className="overflow-hidden">
      <CardHeader title="Machines" />
      <MachineCards nodes={nodes} earned={earned} />
      <Table label="Machines of the fleet" wide>
        <thead>
          <tr>
            <Th>Node</Th>
            <Th>State</Th>
            <Th numeric>Jobs</Th>
            <Th numeric>GPUs in use</Th>
            <Th numeric>
              <span className="inline-flex items-center gap-0.5">
                Reliability
                <Explain about="reliability">
                  The chance to survive the next 24 hours: the mean of a Bayesian estimate and its 90 %
                  interval. Below it: uptime, how long the node was seen, and how often it was lost.
                </Explain>
              </span>
            </Th>
            <Th numeric>Earned</Th>
            <Th numeric className="hidden lg:table-cell">
              Last heard
            </Th>
          </tr>
        </thead>
        <tbody>
          {nodes.map((node) => (
            <tr key={node.id} data-node={node.name}>
              <Td className="whitespace-nowrap">
                <span className="flex items-center gap-2 font-medium">
                  {node.name} {node.simulated ? <SimulatedBadge /> : null}
                </span>
                <span className="block text-xs text-ink-3">
                  {node.devices.length} × {node.devices[0]?.model.replaceAll("_", " ") ?? "no GPU"} ·{" "}
                  {node.region}
                </span>
              </Td>
              <Td>
                <LivenessBadge liveness={stateOf(node)} />
              </Td>
              <Td numeric>{formatCount(node.running_jobs)}</Td>
              <Td numeric>
                {node.devices.filter(({ in_use }) => in_use).length}
                <span className="text-ink-3"> / {node.devices.length}</span>
              </Td>
              <Td numeric>
                {formatPercent(node.reliability)}
                <span className="block text-xs text-ink-3">
                  {formatPercent(node.reliability_low)} to {formatPercent(node.reliability_high)}
                </span>
                <span className="block text-xs text-ink-3">
                  {node.record || formatDuration(node.online_s)}, lost {plural(node.losses, "time")}
                </span>
              </Td>
              <Td numeric className="font-medium">
                <Amount micros={earnings ? (earned.get(node.id) ?? 0) : undefined} />
              </Td>
              <Td numeric className="hidden text-ink-2 lg:table-cell">
                {node.liveness === "online" ? (
                  "now"
                ) : node.last_seen_at ? (
                  <Ago at={node.last_seen_at} />
                ) : (
                  "never"
                )}
              </Td>
            </tr>
          ))}
        </tbody>
      </Table>
    </Card>
  );
}

interface MachineCardsProps {
  nodes: readonly Node[];
  earned: ReadonlyMap<string, number>;
}

function MachineCards({ nodes, earned }: MachineCardsProps) {
  return (
    <ul className="divide-y divide-line md:hidden" aria-label="Machines of the fleet">
      {nodes.map((node) => (
        <li key={node.id} className="grid gap-1.5 px-4 py-3">
          <div className="flex items-center justify-between gap-3">
            <span className="flex min-w-0 items-center gap-2 font-medium">
              <span className="truncate">{node.name}</span> {node.simulated ? <SimulatedBadge /> : null}
            </span>
            <LivenessBadge liveness={stateOf(node)} />
          </div>
          <div className="figures flex items-baseline justify-between gap-3 text-xs text-ink-2">
            <span>
              {node.devices.filter(({ in_use }) => in_use).length} of {plural(node.devices.length, "GPU")} in
              use · {plural(node.running_jobs, "job")}
            </span>
            <span className="text-sm font-medium text-ink">
              <Money micros={earned.get(node.id) ?? 0} precision={4} />
            </span>
          </div>
          <p className="figures text-xs text-ink-3">
            {formatPercent(node.reliability)} reliable ({node.record || formatDuration(node.online_s)}), lost{" "}
            {plural(node.losses, "time")}
          </p>
        </li>
      ))}
    </ul>
  );
}
