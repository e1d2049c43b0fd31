import { useQuery } from "@tanstack/react-query";
import { Coins } from "lucide-react";
import { Money } from "@/components/money";
import { Card, CardHeader } from "@/components/ui/card";
import { PageHeader } from "@/components/ui/page-header";
import { Stat } from "@/components/ui/stat";
import { Empty, Failed, SkeletonRows, Stale } from "@/components/ui/states";
import { Table, Td, Th } from "@/components/ui/table";
import { earningsQuery } from "@/features/billing/api";
import { DayChart } from "@/features/billing/day-chart";
import { serverNow } from "@/lib/clock";
import { formatDuration } from "@/lib/time";
import { useTitle } from "../use-title";

export function EarningsPage() {
  useTitle("Earnings");
  const { data, isPending, isError, error, refetch } = useQuery(earningsQuery);
  return (
    <div className="page">
      <PageHeader
        title="Earnings"
        description={
          data
            ? `You keep ${data.owner_share_percent} % of what renters pay; the platform's part is a visible line.`
            : "What your machines earned, with the split visible."
        }
      />
      {isPending ? (
        <Card>
          <SkeletonRows />
        </Card>
      ) : !data ? (
        <Card>
          <Failed error={error} onRetry={() => void refetch()} />
        </Card>
      ) : (
        <div className="grid gap-4">
          {isError ? <Stale error={error} onRetry={() => void refetch()} /> : null}
          <Card>
            <dl className="grid grid-cols-2 gap-4 px-4 py-4 sm:grid-cols-3 sm:px-5">
              <Stat label="Last 24 hours" value={<Money micros={data.earned_24h_micros} precision={4} />} />
              <Stat label="Last 30 days" value={<Money micros={data.earned_30d_micros} precision={4} />} />
              <Stat label="In all" value={<Money micros={data.earned_total_micros} precision={4} />} />
            </dl>
            <div className="border-t border-line">
              <DayChart byDay={data.by_day} nowMs={serverNow()} />
            </div>
          </Card>
          <Card className="overflow-hidden">
            <CardHeader title="By node" />
            {data.by_node.length === 0 ? (
              <Empty icon={Coins} title="Nothing earned yet">
                The first rented second appears here, to the micro-unit.
              </Empty>
            ) : (
              <Table label="Earnings by node">
                <thead>
                  <tr>
                    <Th>Node</Th>
                    <Th numeric>Billed time</Th>
                    <Th numeric className="hidden sm:table-cell">
                      Renters paid
                    </Th>
                    <Th numeric className="hidden sm:table-cell">
                      Platform's part
                    </Th>
                    <Th numeric>Your part</Th>
                  </tr>
                </thead>
                <tbody>
                  {data.by_node.map((node) => (
                    <tr key={node.node_id}>
                      <Td className="font-medium whitespace-nowrap">{node.node_name}</Td>
                      <Td numeric>{formatDuration(node.billed_s)}</Td>
                      <Td numeric className="hidden sm:table-cell">
                        <Money micros={node.gross_micros} precision="exact" />
                      </Td>
                      <Td numeric className="hidden text-ink-2 sm:table-cell">
                        <Money micros={-node.platform_fee_micros} precision="exact" />
                      </Td>
                      <Td numeric className="font-semibold">
                        <Money micros={node.earned_micros} precision="exact" />
                        <span className="block text-xs font-normal text-ink-3 sm:hidden">
                          of <Money micros={node.gross_micros} precision="exact" />
                        </span>
                      </Td>
                    </tr>
                  ))}
                </tbody>
              </Table>
            )}
          </Card>
        </div>
      )}
    </div>
  );
}
