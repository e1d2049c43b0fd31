import { useQuery } from "@tanstack/react-query";
import { useParams } from "react-router";
import { ApiProblem } from "@/api/problem";
import { Card, CardHeader } from "@/components/ui/card";
import { Failed, Notice, Skeleton } from "@/components/ui/states";
import { Tab, TabList, TabPanel, Tabs } from "@/components/ui/tabs";
import { bookingQuery } from "@/features/billing/api";
import { JobReceipts } from "@/features/billing/receipt-card";
import { useChaos } from "@/features/demo/chaos";
import { readWholeLog } from "@/features/jobs/api";
import { CheckpointsPanel } from "@/features/jobs/checkpoints-panel";
import { DecisionsPanel } from "@/features/jobs/decisions-panel";
import { JobHeader } from "@/features/jobs/job-header";
import { JobSpecPanel } from "@/features/jobs/job-spec-panel";
import { LogView } from "@/features/jobs/log-view";
import { MetricsPanel } from "@/features/jobs/metrics-panel";
import { Disturbed, Recovery } from "@/features/jobs/recovery";
import { StandbyNotice } from "@/features/jobs/standby";
import { Timeline } from "@/features/jobs/timeline";
import { disturbedSince } from "@/features/jobs/timeline-groups";
import { isFinal } from "@/features/jobs/types";
import { useJob } from "@/features/jobs/use-job";
import { platformQuery } from "@/features/platform/api";
import { formatCount } from "@/lib/units";
import { useAddressParams } from "../address-state";
import { NotFound } from "../not-found";
import { useTitle } from "../use-title";

const TABS = ["live", "checkpoints", "why", "receipt", "spec"] as const;

export function JobPage() {
  const { jobId = "" } = useParams();
  // Another job is another page: its log and readings must not flow into this one's.
  return <JobRoom key={jobId} jobId={jobId} />;
}

function JobRoom({ jobId }: { jobId: string }) {
  const { job: query, stream, eventsLoading } = useJob(jobId);
  const [params, ask] = useAddressParams();
  const tab = TABS.find((name) => name === params.get("tab")) ?? "live";
  const job = query.data;
  useTitle(job?.name ?? "Job");

  const { data: platform } = useQuery(platformQuery);
  const demo = platform?.demo ?? false;
  const placement = job?.placement ?? null;
  const live = job !== undefined && !isFinal(job.state);
  const chaos = useChaos({
    nodeName: demo && live ? (placement?.node_name ?? null) : null,
    armed: job?.state === "running" && placement?.state === "running",
  });
  // With one placement the job's own charge is the booking's; only a moved job needs the booking itself.
  const booking = useQuery({
    ...bookingQuery(placement?.booking_id ?? ""),
    enabled: live && placement !== null && (job?.placements_count ?? 0) > 1,
    refetchInterval: 10_000,
  });

  if (query.isError && !job) {
    if (query.error instanceof ApiProblem && query.error.status === 404) return <NotFound />;
    return <Failed error={query.error} onRetry={() => void query.refetch()} className="py-24" />;
  }
  if (!job) return <JobSkeleton />;

  const since = live ? disturbedSince(stream.events) : null;
  const lost = stream.events.some(
    (event) => event.kind === "node_lost" && since !== null && event.at >= since,
  );

  return (
    <div className="page">
      <JobHeader
        job={job}
        connection={stream.connection}
        bookingChargedMicros={booking.data?.charged_micros ?? null}
        controls={chaos.buttons}
      />
      <div className="mb-4 grid gap-3 empty:hidden">
        {chaos.notices}
        {since ? <Disturbed since={since} stage={lost ? "lost" : "suspect"} /> : null}
        {placement && !since ? <Recovery placement={placement} /> : null}
        {job.spec.protection === "hot" && live ? <StandbyNotice job={job} /> : null}
        {job.spec.protection === "none" && live ? (
          <Notice>This job runs without protection: if its node dies, the job ends.</Notice>
        ) : null}
      </div>
      <Tabs
        value={tab}
        onValueChange={(value) =>
          ask(() => new URLSearchParams(value === "live" ? {} : { tab: value }), { replace: true })
        }
      >
        <TabList aria-label="Views of this job">
          <Tab value="live">Live</Tab>
          <Tab value="checkpoints">
            Checkpoints{" "}
            <span className="figures text-xs text-ink-3">{formatCount(job.checkpoints_count)}</span>
          </Tab>
          <Tab value="why">Why this node?</Tab>
          <Tab value="receipt">Receipt</Tab>
          <Tab value="spec">Specification</Tab>
        </TabList>
        <TabPanel value="live">
          <div className="grid items-start gap-4 lg:grid-cols-[minmax(0,1fr)_22rem]">
            <div className="grid min-w-0 gap-4">
              <Card>
                <CardHeader title="Readings" />
                <MetricsPanel points={stream.metrics} live={live} />
              </Card>
              <LogView
                log={stream.log}
                dropped={stream.logDropped > 0}
                ended={stream.logEnded || !live}
                onDownload={async () => saveFile(`${job.name}.log`, await readWholeLog(job.id))}
              />
            </div>
            <Card className="max-lg:order-first lg:sticky lg:top-[calc(var(--nav-height)+1rem)]">
              <CardHeader title="Timeline" />
              <Timeline events={stream.events} startedAt={job.created_at} loading={eventsLoading} />
            </Card>
          </div>
        </TabPanel>
        <TabPanel value="checkpoints">
          <CheckpointsPanel jobId={job.id} live={live} />
        </TabPanel>
        <TabPanel value="why">
          <DecisionsPanel jobId={job.id} refreshKey={job.placements_count} />
        </TabPanel>
        <TabPanel value="receipt">
          <JobReceipts jobId={job.id} newestBookingId={placement?.booking_id ?? null} live={live} />
        </TabPanel>
        <TabPanel value="spec">
          <JobSpecPanel spec={job.spec} />
        </TabPanel>
      </Tabs>
    </div>
  );
}

function saveFile(name: string, text: string): void {
  const address = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  URL.revokeObjectURL(address);
}

function JobSkeleton() {
  return (
    <div className="page pt-6" role="status" aria-label="Loading the job">
      <Skeleton className="w-40" />
      <Skeleton className="mt-3 h-7 w-64" />
      <Skeleton className="mt-5 h-24 w-full rounded-lg" />
      <div className="mt-8 grid gap-4 lg:grid-cols-[minmax(0,1fr)_22rem]">
        <Skeleton className="h-72 rounded-lg" />
        <Skeleton className="h-72 rounded-lg" />
      </div>
    </div>
  );
}
