import { useQuery } from "@tanstack/react-query";
import { ReceiptText } from "lucide-react";
import { Money } from "@/components/money";
import { Badge } from "@/components/ui/badge";
import { Card, CardHeader } from "@/components/ui/card";
import { Fact } from "@/components/ui/stat";
import { Empty, Failed, SkeletonRows } from "@/components/ui/states";
import { Table, Td, Th } from "@/components/ui/table";
import { formatClock, formatDuration } from "@/lib/time";
import { plural } from "@/lib/units";
import { type Booking, jobBookingsQuery, type Receipt, receiptQuery } from "./api";

const REASONS: Record<string, string> = {
  ran: "ran, confirmed",
  lost_work: "work lost with the node: not charged",
  frozen: "frozen, heartbeat missing: not charged",
};

/** One bill a booking. A job that moved has one for each node it ran on. */
export function JobReceipts({
  jobId,
  newestBookingId,
  live,
}: {
  jobId: string;
  newestBookingId: string | null;
  live: boolean;
}) {
  const bookings = useQuery({ ...jobBookingsQuery(jobId), refetchInterval: live ? 10_000 : false });
  const ids = bookings.data?.map(({ id }) => id) ?? [];
  const all = newestBookingId && !ids.includes(newestBookingId) ? [...ids, newestBookingId] : ids;
  if (bookings.isPending) {
    return (
      <Card>
        <SkeletonRows rows={3} />
      </Card>
    );
  }
  if (all.length === 0) {
    return (
      <Card>
        {bookings.isError ? (
          <Failed error={bookings.error} onRetry={() => void bookings.refetch()} />
        ) : (
          <Empty icon={ReceiptText} title="No receipt yet">
            The first one is opened when the job has a node.
          </Empty>
        )}
      </Card>
    );
  }
  return (
    <div className="grid gap-4">
      {bookings.data && bookings.data.length > 1 ? <AllBookings bookings={bookings.data} /> : null}
      {all.map((id, index) => (
        <ReceiptCard
          key={id}
          bookingId={id}
          live={live && index === all.length - 1}
          node={bookings.data?.find((booking) => booking.id === id)?.node_name}
        />
      ))}
    </div>
  );
}

/** The bookings of a job that moved, and what they come to; each links to its own bill below. */
function AllBookings({ bookings }: { bookings: readonly Booking[] }) {
  const sum = (of: (booking: Booking) => number) =>
    bookings.reduce((total, booking) => total + of(booking), 0);
  return (
    <Card className="overflow-hidden">
      <CardHeader title={plural(bookings.length, "booking")} description="One for each node it ran on." />
      <Table label="Bookings of this job">
        <thead>
          <tr>
            <Th>Node</Th>
            <Th className="hidden sm:table-cell">From</Th>
            <Th className="hidden sm:table-cell">To</Th>
            <Th numeric>Charged</Th>
            <Th numeric>Refunded</Th>
          </tr>
        </thead>
        <tbody>
          {bookings.map((booking) => (
            <tr key={booking.id} data-booking={booking.id}>
              <Td className="whitespace-nowrap">
                <a href={`#${booking.id}`} className="font-medium underline-offset-4 hover:underline">
                  {booking.node_name}
                </a>
              </Td>
              <Td className="figures hidden sm:table-cell">{formatClock(booking.starts_at)}</Td>
              <Td className="figures hidden sm:table-cell">
                {booking.ended_at ? formatClock(booking.ended_at) : "runs"}
              </Td>
              <Td numeric>
                <Money micros={booking.charged_micros} precision="exact" />
              </Td>
              <Td numeric>
                <Money micros={booking.refunded_micros} precision="exact" />
              </Td>
            </tr>
          ))}
        </tbody>
        <tfoot>
          <tr className="font-semibold">
            <Td>In all</Td>
            <Td className="hidden sm:table-cell" />
            <Td className="hidden sm:table-cell" />
            <Td numeric>
              <Money micros={sum(({ charged_micros }) => charged_micros)} precision="exact" />
            </Td>
            <Td numeric>
              <Money micros={sum(({ refunded_micros }) => refunded_micros)} precision="exact" />
            </Td>
          </tr>
        </tfoot>
      </Table>
    </Card>
  );
}

function ReceiptCard({
  bookingId,
  live,
  node,
}: {
  bookingId: string;
  live: boolean;
  node: string | undefined;
}) {
  const { data, isPending, error, refetch } = useQuery({
    ...receiptQuery(bookingId),
    refetchInterval: live ? 5_000 : false,
  });
  return (
    <Card id={bookingId} className="scroll-mt-20">
      <CardHeader
        title={node ? `On ${node}` : "Receipt"}
        description={<span className="font-mono text-xs">{bookingId}</span>}
        actions={data ? data.final ? <Badge tone="good">final</Badge> : <Badge dot="live">open</Badge> : null}
      />
      {isPending ? (
        <SkeletonRows rows={3} />
      ) : !data ? (
        <Failed error={error} onRetry={() => void refetch()} />
      ) : (
        <div className="grid lg:grid-cols-[1fr_20rem]">
          {data.lines.length === 0 ? (
            <p className="p-5 text-sm text-ink-2">
              Nothing was metered: pulling, restoring and starting are free.
            </p>
          ) : (
            <Table label={`Metered intervals of ${bookingId}`}>
              <thead>
                <tr>
                  <Th>From</Th>
                  <Th>To</Th>
                  <Th numeric>Time</Th>
                  <Th>Why</Th>
                </tr>
              </thead>
              <tbody>
                {data.lines.map((line) => (
                  <tr key={`${line.started_at}${line.why}`}>
                    <Td className="figures">{formatClock(line.started_at)}</Td>
                    <Td className="figures">{line.ended_at ? formatClock(line.ended_at) : "running"}</Td>
                    <Td numeric>{formatDuration(line.seconds)}</Td>
                    <Td>
                      <Badge tone={line.billed ? "neutral" : "good"}>{REASONS[line.why] ?? line.why}</Badge>
                    </Td>
                  </tr>
                ))}
              </tbody>
            </Table>
          )}
          <dl className="divide-y divide-line border-line px-4 sm:px-5 py-2 max-lg:border-t lg:border-l">
            <Fact label="Billed time">{formatDuration(data.billed_us / 1e6)}</Fact>
            <Fact label="Rate per hour">
              <Money micros={data.rate_per_hour_micros} precision="rate" />
            </Fact>
            <Fact label="Charged">
              <Money micros={data.charged_micros} precision="exact" />
            </Fact>
            {data.refunded_micros ? (
              <Fact label="Refunded">
                <Money micros={data.refunded_micros} precision="exact" />
              </Fact>
            ) : null}
            {data.unpaid_micros ? (
              <Fact label={data.final ? "Written off" : "Not covered yet"}>
                <Money micros={data.unpaid_micros} precision="exact" />
              </Fact>
            ) : null}
            <Fact label={`to the owner, ${data.owner_share_percent} %`}>
              <Money micros={data.owner_micros} precision="exact" />
            </Fact>
            <Fact label={`to the platform, ${100 - data.owner_share_percent} %`}>
              <Money micros={data.platform_micros} precision="exact" />
            </Fact>
          </dl>
        </div>
      )}
      {data?.standbys?.length ? <Standbys standbys={data.standbys} /> : null}
    </Card>
  );
}

/** Nodes that stood ready to take the job over while this booking ran: charged on top, each by its own rate and time. */
function Standbys({ standbys }: { standbys: NonNullable<Receipt["standbys"]> }) {
  return (
    <div className="border-t border-line">
      <Table label="Standbys beside this booking">
        <thead>
          <tr>
            <Th>Stood by</Th>
            <Th numeric>Proven ready</Th>
            <Th numeric className="hidden sm:table-cell">
              Rate per hour
            </Th>
            <Th numeric>Charged</Th>
          </tr>
        </thead>
        <tbody>
          {standbys.map((standby) => (
            <tr key={standby.standby_id}>
              <Td>{standby.node_name}</Td>
              <Td numeric>{formatDuration(standby.billed_us / 1e6)}</Td>
              <Td numeric className="hidden sm:table-cell">
                <Money micros={standby.rate_per_hour_micros} precision="rate" />
              </Td>
              <Td numeric>
                <Money micros={standby.charged_micros - standby.refunded_micros} precision="exact" />
              </Td>
            </tr>
          ))}
        </tbody>
      </Table>
    </div>
  );
}
