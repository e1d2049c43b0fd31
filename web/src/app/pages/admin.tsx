import { useQuery } from "@tanstack/react-query";
import { ArrowLeft } from "lucide-react";
import { Link, NavLink, Outlet, useParams } from "react-router";
import { Card } from "@/components/ui/card";
import { PageHeader } from "@/components/ui/page-header";
import { Failed, SkeletonRows } from "@/components/ui/states";
import { AllNodesTable } from "@/features/admin/all-nodes-table";
import { BooksCard } from "@/features/admin/books-card";
import { DrainHoldsCard } from "@/features/admin/drain-holds-card";
import { FailoversCard } from "@/features/admin/failovers-card";
import { OverviewCard } from "@/features/admin/overview-card";
import { PeopleTable } from "@/features/admin/people-table";
import { ProcessesCard } from "@/features/admin/processes-card";
import { addressOf, filterFrom } from "@/features/incidents/case-filter";
import { CaseList } from "@/features/incidents/case-list";
import { CaseView } from "@/features/incidents/case-view";
import { caseQuery } from "@/features/incidents/cases-api";
import { happened } from "@/features/incidents/record";
import { LivenessBadge } from "@/features/nodes/liveness-badge";
import { cn } from "@/lib/class-names";
import { useAddressParams } from "../address-state";
import { useTitle } from "../use-title";

const ROOMS = [
  { to: "/admin", label: "Overview" },
  { to: "/admin/users", label: "Users" },
  { to: "/admin/nodes", label: "Nodes" },
  { to: "/admin/incidents", label: "Incidents" },
] as const;

/** The admins' rooms share a head and a row of doors. */
export function AdminRooms() {
  return (
    <div className="page">
      <PageHeader title="Admin" description="The market, its people and its machines." />
      <nav aria-label="Admin" className="mb-4 flex gap-1 overflow-x-auto [scrollbar-width:none]">
        {ROOMS.map(({ to, label }) => (
          <NavLink
            key={to}
            to={to}
            end={to === "/admin"}
            className={({ isActive }) =>
              cn(
                "rounded-md px-2.5 py-1.5 text-sm font-medium focus-visible:outline-offset-[-2px]",
                isActive ? "bg-hover text-ink" : "text-ink-2 hover:text-ink",
              )
            }
          >
            {label}
          </NavLink>
        ))}
      </nav>
      <Outlet />
    </div>
  );
}

export function AdminOverviewPage() {
  useTitle("Admin");
  return (
    <div className="grid items-start gap-4 lg:grid-cols-[minmax(0,1fr)_24rem]">
      <div className="grid min-w-0 gap-4">
        <OverviewCard />
        <DrainHoldsCard />
        <FailoversCard />
      </div>
      <div className="grid min-w-0 gap-4">
        <BooksCard />
        <ProcessesCard />
      </div>
    </div>
  );
}

export function AdminUsersPage() {
  useTitle("Users");
  const [params, ask] = useAddressParams();
  return (
    <PeopleTable
      email={params.get("email") ?? ""}
      onLookFor={(email) => ask(() => new URLSearchParams(email ? { email } : {}))}
    />
  );
}

export function AdminNodesPage() {
  useTitle("All nodes");
  return <AllNodesTable badge={(liveness) => <LivenessBadge liveness={liveness} />} />;
}

export const incidentPath = (incidentId: string) => `/admin/incidents/${incidentId}`;

export function AdminIncidentsPage() {
  useTitle("Incidents");
  const [params, ask] = useAddressParams();
  return (
    <CaseList
      filter={filterFrom(params)}
      onFilter={(change) => ask((current) => addressOf({ ...filterFrom(current), ...change }))}
      linkTo={incidentPath}
    />
  );
}

export function AdminIncidentPage() {
  const { incidentId = "" } = useParams();
  const incident = useQuery(caseQuery(incidentId));
  useTitle("Incident");
  return (
    <div className="grid gap-4 pb-8">
      <Link
        to="/admin/incidents"
        className="inline-flex items-center gap-1 text-sm text-ink-2 hover:text-ink"
      >
        <ArrowLeft className="size-4" aria-hidden /> Incidents
      </Link>
      {incident.data ? (
        <>
          <h2 className="text-lg font-semibold">
            {happened(incident.data)}: {incident.data.node_name}
          </h2>
          <CaseView incident={incident.data} linkTo={incidentPath} />
        </>
      ) : (
        <Card>
          {incident.isError ? (
            <Failed error={incident.error} onRetry={() => void incident.refetch()} />
          ) : (
            <SkeletonRows rows={5} />
          )}
        </Card>
      )}
    </div>
  );
}
