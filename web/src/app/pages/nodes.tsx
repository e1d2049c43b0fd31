import { useQuery } from "@tanstack/react-query";
import { HardDrive } from "lucide-react";
import { Card } from "@/components/ui/card";
import { PageHeader } from "@/components/ui/page-header";
import { Empty, Failed, SkeletonRows, Stale } from "@/components/ui/states";
import { myOffersQuery } from "@/features/market/api";
import { OfferEditor } from "@/features/market/offer-editor";
import { AddNodeDialog } from "@/features/nodes/add-node-dialog";
import { nodesQuery } from "@/features/nodes/api";
import { NodeCard } from "@/features/nodes/node-card";
import { useTitle } from "../use-title";

export function NodesPage() {
  useTitle("Nodes");
  const nodes = useQuery(nodesQuery);
  const offers = useQuery(myOffersQuery);
  const items = nodes.data?.items.filter(({ status }) => status !== "removed") ?? [];
  return (
    <div className="page">
      <PageHeader
        title="Nodes"
        description="Your machines, how they are, and what they are offered for."
        actions={<AddNodeDialog />}
      />
      {(nodes.isError && nodes.data) || (offers.isError && offers.data) ? (
        <div className="mb-4">
          <Stale error={nodes.error ?? offers.error} onRetry={() => void nodes.refetch()} />
        </div>
      ) : null}
      {nodes.isPending || offers.isPending ? (
        <Card>
          <SkeletonRows rows={4} />
        </Card>
      ) : !nodes.data ? (
        <Card>
          <Failed error={nodes.error} onRetry={() => void nodes.refetch()} />
        </Card>
      ) : items.length === 0 ? (
        <Card>
          <Empty icon={HardDrive} title="No machine yet" actions={<AddNodeDialog />}>
            One command enrols a machine; it dials out, so no port needs to be opened.
          </Empty>
        </Card>
      ) : (
        <div className="grid gap-4">
          {items.map((node) => (
            <NodeCard
              key={node.id}
              node={node}
              offer={
                offers.data ? (
                  <OfferEditor
                    nodeId={node.id}
                    nodeName={node.name}
                    offer={offers.data.items.find(
                      ({ node_id, state }) => node_id === node.id && state !== "withdrawn",
                    )}
                  />
                ) : (
                  <p className="text-sm text-ink-3">Its offer could not be read.</p>
                )
              }
            />
          ))}
        </div>
      )}
    </div>
  );
}
