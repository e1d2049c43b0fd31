import { useInfiniteQuery } from "@tanstack/react-query";
import { HardDrive } from "lucide-react";
import type { ReactNode } from "react";
import { Ago } from "@/components/ago";
import { SimulatedBadge } from "@/components/simulated-badge";
import { Badge } from "@/components/ui/badge";
import { Button } from "@/components/ui/button";
import { Card } from "@/components/ui/card";
import { Empty, Failed, SkeletonRows, Stale } from "@/components/ui/states";
import { Table, Td, Th } from "@/components/ui/table";
import { formatDuration } from "@/lib/time";
import { formatPercent, plural } from "@/lib/units";
import { allNodesQuery, type ListedNode } from "./api";

/** Every standing node of the market. `badge` shows a liveness as the owners' own page does. */
export function AllNodesTable({ badge }: { badge: (state: string) => ReactNode }) {
  const nodes = useInfiniteQuery(allNodesQuery);
  const items = nodes.data?.pages.flatMap((page) => page.items) ?? [];
  return (
    <div className="grid gap-3">
      {nodes.isError && nodes.data ? (
        <Stale error={nodes.error} onRetry={() => void nodes.refetch()} />
      ) : null}
      <Card className="overflow-hidden">
        {nodes.isPending ? (
          <SkeletonRows />
        ) : !nodes.data ? (
          <Failed error={nodes.error} onRetry={() => void nodes.refetch()} />
        ) : items.length === 0 ? (
          <Empty icon={HardDrive} title="No node is enrolled">
            A node appears here the moment its owner's machine has joined.
          </Empty>
        ) : (
          <>
            <NodeCards nodes={items} badge={badge} />
            <Table label="Nodes of all owners" wide>
              <thead>
                <tr>
                  <Th>Node</Th>
                  <Th>State</Th>
                  <Th>Owner</Th>
                  <Th numeric>In use</Th>
                  <Th numeric>Reliability</Th>
                  <Th numeric>Seen online</Th>
                  <Th numeric>Last heard</Th>
                </tr>
              </thead>
              <tbody>
                {items.map((node) => (
                  <tr key={node.id} data-node={node.name}>
                    <Td className="whitespace-nowrap">
                      <span className="flex items-center gap-2 font-medium">
                        {node.name} {node.simulated ? <SimulatedBadge /> : null}
                      </span>
                      <span className="block text-xs text-ink-3">
                        {node.gpus} × {node.gpu_models.join(", ").replaceAll("_", " ") || "no GPU found"} ·{" "}
                        {node.region}
                      </span>
                    </Td>
                    <Td>
                      {node.status === "pending" ? (
                        <Badge tone="accent" title={node.findings.join("; ")}>
                          pending
                        </Badge>
                      ) : (
                        badge(node.state)
                      )}
                      {node.findings.length > 0 ? (
                        <span className="mt-1 block max-w-56 text-xs text-ink-3">
                          {node.findings.join("; ")}
                        </span>
                      ) : null}
                    </Td>
                    <Td className="max-w-52 truncate text-ink-2" title={node.owner_email}>
                      {node.owner_email}
                    </Td>
                    <Td numeric>
                      {node.gpus_in_use}
                      <span className="text-ink-3"> / {node.gpus}</span>
                    </Td>
                    <Td numeric>{formatPercent(node.reliability)}</Td>
                    <Td numeric className="text-ink-2">
                      {formatDuration(node.online_s)}
                      <span className="block text-xs text-ink-3">lost {plural(node.losses, "time")}</span>
                    </Td>
                    <Td numeric className="text-ink-2">
                      <LastHeard node={node} />
                    </Td>
                  </tr>
                ))}
              </tbody>
            </Table>
          </>
        )}
      </Card>
      {nodes.hasNextPage ? (
        <div className="pt-1 text-center">
          <Button busy={nodes.isFetchingNextPage} onClick={() => void nodes.fetchNextPage()}>
            Load more
          </Button>
        </div>
      ) : null}
    </div>
  );
}

/** `last_seen_at` is written when a node's state changes; while it is online it is heard every second. */
function LastHeard({ node }: { node: ListedNode }) {
  if (node.liveness === "online") return "now";
  return node.last_seen_at ? <Ago at={node.last_seen_at} /> : "never";
}

function NodeCards({ nodes, badge }: { nodes: readonly ListedNode[]; badge: (state: string) => ReactNode }) {
  return (
    <ul className="divide-y divide-line md:hidden" aria-label="Nodes of all owners">
      {nodes.map((node) => (
        <li key={node.id} className="grid gap-1 px-4 py-3" data-node={node.name}>
          <div className="flex items-center justify-between gap-3">
            <span className="flex min-w-0 items-center gap-2 font-medium">
              <span className="truncate">{node.name}</span> {node.simulated ? <SimulatedBadge /> : null}
            </span>
            {badge(node.status === "pending" ? "pending" : node.state)}
          </div>
          <p className="truncate text-xs text-ink-2">{node.owner_email}</p>
          <p className="figures flex flex-wrap gap-x-3 text-xs text-ink-3">
            <span>
              {node.gpus_in_use} of {plural(node.gpus, "GPU")} in use
            </span>
            <span>{node.region}</span>
            <span>
              {formatPercent(node.reliability)} in {formatDuration(node.online_s)}
            </span>
            <span>lost {plural(node.losses, "time")}</span>
          </p>
          {node.findings.length > 0 ? <p className="text-xs text-warn">{node.findings.join("; ")}</p> : null}
        </li>
      ))}
    </ul>
  );
}
