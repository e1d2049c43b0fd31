import { KeyRound } from "lucide-react";
import { Navigate, Outlet, useLocation } from "react-router";
import { Empty, Failed, Skeleton } from "@/components/ui/states";
import { type Role, useSession } from "@/features/session/api";
import { signInPath } from "./return-path";

/** The outline of a room while it is being entered. */
export function Entering() {
  return (
    <div className="page pt-8" role="status" aria-label="Loading">
      <Skeleton className="h-7 w-48" />
      <Skeleton className="mt-6 h-64 w-full rounded-lg" />
    </div>
  );
}

/** Rooms for people who are signed in, and where `roles` says so, for those who hold one of them. */
export function Guarded({ roles }: { roles?: readonly Role[] }) {
  const session = useSession();
  const { pathname, search } = useLocation();
  if (session.isPending) return <Entering />;
  if (session.isError) return <Failed error={session.error} onRetry={() => void session.refetch()} />;
  if (!session.user) return <Navigate to={signInPath(pathname + search)} replace />;
  if (roles && !session.has(...roles)) {
    return (
      <Empty icon={KeyRound} title={`This room is for ${roles.join("s and ")}s`} className="py-24">
        Your account ({session.user.email}) does not hold that role.
      </Empty>
    );
  }
  return <Outlet />;
}
