import { NavLink, Outlet } from "react-router";
import { PageHeader } from "@/components/ui/page-header";
import { AllNodesTable } from "@/features/admin/all-nodes-table";
import { BooksCard } from "@/features/admin/books-card";
import { FailoversCard } from "@/features/admin/failovers-card";
import { OverviewCard } from "@/features/admin/overview-card";
import { PeopleTable } from "@/features/admin/people-table";
import { ProcessesCard } from "@/features/admin/processes-card";
import { LivenessBadge } from "@/features/nodes/liveness-badge";
import { cn } from "@/lib/class-names";
import { useAddressParams } from "../address-state";
import { useTitle } from "../use-title";

const ROOMS = [
  { to: "/admin", label: "Overview" },
  { to: "/admin/users", label: "Users" },
  { to: "/admin/nodes", label: "Nodes" },
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
            end
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
