import { useInfiniteQuery } from "@tanstack/react-query";
import { Save } from "lucide-react";
import { Ago } from "@/components/ago";
import { Button } from "@/components/ui/button";
import { Card, CardHeader } from "@/components/ui/card";
import { Empty, Failed, SkeletonRows } from "@/components/ui/states";
import { Table, Td, Th } from "@/components/ui/table";
import { formatBytes, formatCount } from "@/lib/units";
import { checkpointsQuery } from "./api";

export function CheckpointsPanel({ jobId, live }: { jobId: string; live: boolean }) {
  const { data, isPending, error, refetch, hasNextPage, fetchNextPage, isFetchingNextPage } =
    useInfiniteQuery({
      ...checkpointsQuery(jobId),
      refetchInterval: live ? 4_000 : false,
    });
  const items = data?.pages.flatMap((page) => page.items) ?? [];
  return (
    <Card>
      <CardHeader
        title="Checkpoints"
        description="Committed states of this job, newest first. After a loss it goes on from the newest."
      />
      {isPending ? (
        <SkeletonRows rows={4} />
      ) : !data ? (
        <Failed error={error} onRetry={() => void refetch()} />
      ) : items.length === 0 ? (
        <Empty icon={Save} title="Nothing saved yet">
          The job saves into <code className="font-mono text-xs">$GP4U_CHECKPOINT_DIR</code>; each committed
          state is listed here.
        </Empty>
      ) : (
        <Table label="Checkpoints">
          <thead>
            <tr>
              <Th>No.</Th>
              <Th numeric>Step</Th>
              <Th>Trigger</Th>
              <Th>Node</Th>
              <Th numeric>Files</Th>
              <Th numeric>Size</Th>
              <Th numeric>Newly stored</Th>
              <Th numeric>Committed</Th>
            </tr>
          </thead>
          <tbody>
            {items.map((item) => (
              <tr key={item.id}>
                <Td className="figures whitespace-nowrap">
                  {item.seq}
                  <span className="text-ink-3"> · epoch {item.epoch}</span>
                </Td>
                <Td numeric>{item.step === null ? "–" : formatCount(item.step)}</Td>
                <Td className="text-ink-2">{item.trigger}</Td>
                <Td className="whitespace-nowrap text-ink-2">{item.node_name}</Td>
                <Td numeric>{formatCount(item.files)}</Td>
                <Td numeric>{formatBytes(item.size_bytes)}</Td>
                <Td numeric>{formatBytes(item.stored_bytes)}</Td>
                <Td numeric className="text-ink-2">
                  <Ago at={item.committed_at} />
                </Td>
              </tr>
            ))}
          </tbody>
        </Table>
      )}
      {hasNextPage ? (
        <div className="border-t border-line p-3 text-center">
          <Button variant="ghost" busy={isFetchingNextPage} onClick={() => void fetchNextPage()}>
            Load more
          </Button>
        </div>
      ) : null}
    </Card>
  );
}
