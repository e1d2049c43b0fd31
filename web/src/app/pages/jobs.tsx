import { useInfiniteQuery } from "@tanstack/react-query";
import { Cpu } from "lucide-react";
import { Link } from "react-router";
import type { Schemas } from "@/api/client";
import { Button } from "@/components/ui/button";
import { Card } from "@/components/ui/card";
import { PageHeader } from "@/components/ui/page-header";
import { Empty, Failed, SkeletonRows, Stale } from "@/components/ui/states";
import { jobsQuery } from "@/features/jobs/api";
import { JobRows } from "@/features/jobs/job-list";
import { cn } from "@/lib/class-names";
import { useAddressParams } from "../address-state";
import { useTitle } from "../use-title";

const VIEWS: readonly { key: string; label: string; states: readonly Schemas["JobState"][] }[] = [
  { key: "all", label: "All", states: [] },
  { key: "live", label: "Live", states: ["queued", "starting", "running", "recovering", "stopping"] },
  { key: "done", label: "Done", states: ["done"] },
  { key: "failed", label: "Failed", states: ["failed"] },
  { key: "stopped", label: "Stopped", states: ["stopped"] },
];

export function JobsPage() {
  useTitle("Jobs");
  const [params, ask] = useAddressParams();
  const view = VIEWS.find(({ key }) => key === params.get("view")) ?? VIEWS[0];
  const jobs = useInfiniteQuery(jobsQuery(view?.states ?? []));
  const items = jobs.data?.pages.flatMap((page) => page.items) ?? [];
  return (
    <div className="page">
      <PageHeader
        title="Jobs"
        description="What you run and ran, newest first."
        actions={
          <Button asChild variant="primary">
            <Link to="/search">Find a GPU</Link>
          </Button>
        }
      />
      <div
        className="mb-3 flex gap-1 overflow-x-auto [scrollbar-width:none]"
        role="group"
        aria-label="Which jobs"
      >
        {VIEWS.map(({ key, label }) => (
          <button
            key={key}
            type="button"
            aria-pressed={key === view?.key}
            onClick={() => ask(() => new URLSearchParams(key === "all" ? {} : { view: key }))}
            className={cn(
              "rounded-md px-2.5 py-1.5 text-sm font-medium focus-visible:outline-offset-[-2px]",
              key === view?.key ? "bg-hover text-ink" : "text-ink-2 hover:text-ink",
            )}
          >
            {label}
          </button>
        ))}
      </div>
      {jobs.isError && jobs.data ? (
        <div className="mb-3">
          <Stale error={jobs.error} onRetry={() => void jobs.refetch()} />
        </div>
      ) : null}
      <Card className="overflow-hidden">
        {jobs.isPending ? (
          <SkeletonRows />
        ) : !jobs.data ? (
          <Failed error={jobs.error} onRetry={() => void jobs.refetch()} />
        ) : items.length > 0 ? (
          <JobRows jobs={items} />
        ) : (
          <Empty
            icon={Cpu}
            title={view?.key === "all" ? "You have not run anything yet" : "No such jobs"}
            actions={
              <Button asChild>
                <Link to="/search">Find a GPU</Link>
              </Button>
            }
          >
            Choose an offer, and a ready example runs on it in a minute.
          </Empty>
        )}
      </Card>
      {jobs.hasNextPage ? (
        <div className="pt-4 text-center">
          <Button busy={jobs.isFetchingNextPage} onClick={() => void jobs.fetchNextPage()}>
            Load more
          </Button>
        </div>
      ) : null}
    </div>
  );
}
