import { useInfiniteQuery } from "@tanstack/react-query";
import { Globe, SquareTerminal } from "lucide-react";
import { Ago } from "@/components/ago";
import { Badge } from "@/components/ui/badge";
import { Button } from "@/components/ui/button";
import { Card, CardHeader } from "@/components/ui/card";
import { Confirm } from "@/components/ui/dialog";
import { Failed, ProblemNotice, SkeletonRows } from "@/components/ui/states";
import { formatDate } from "@/lib/time";
import { type OpenSession, sessionsQuery, useEndSession } from "./sessions-api";

/** Where this account is signed in. */
export function SessionsCard() {
  const sessions = useInfiniteQuery(sessionsQuery);
  const end = useEndSession();
  const items = sessions.data?.pages.flatMap((page) => page.items) ?? [];
  return (
    <Card>
      <CardHeader
        title="Sessions"
        description="Where you are signed in. Ending one signs out there at once; what it names itself proves nothing."
      />
      {end.error ? (
        <div className="p-4">
          <ProblemNotice error={end.error} />
        </div>
      ) : null}
      {sessions.isPending ? (
        <SkeletonRows rows={2} />
      ) : !sessions.data ? (
        <Failed error={sessions.error} onRetry={() => void sessions.refetch()} />
      ) : (
        <ul className="divide-y divide-line" aria-label="Sessions">
          {items.map((session) => (
            <SessionRow
              key={session.id}
              session={session}
              busy={end.isPending && end.variables === session.id}
              onEnd={() => end.mutate(session.id)}
            />
          ))}
        </ul>
      )}
      {sessions.hasNextPage ? (
        <div className="border-t border-line p-3 text-center">
          <Button
            variant="ghost"
            busy={sessions.isFetchingNextPage}
            onClick={() => void sessions.fetchNextPage()}
          >
            Load more
          </Button>
        </div>
      ) : null}
    </Card>
  );
}

interface SessionRowProps {
  session: OpenSession;
  busy: boolean;
  onEnd: () => void;
}

function SessionRow({ session, busy, onEnd }: SessionRowProps) {
  const device = session.device === "unknown" ? "Unknown device" : session.device;
  const Icon = session.kind === "browser" ? Globe : SquareTerminal;
  return (
    <li className="flex items-center gap-3 px-4 py-3 sm:px-5">
      <Icon className="size-4 shrink-0 text-ink-3" aria-hidden />
      <div className="min-w-0 flex-1">
        <p className="flex flex-wrap items-center gap-x-2 gap-y-1 font-medium">
          <span className="[overflow-wrap:anywhere]">{device}</span>
          {session.current ? <Badge tone="good">this one</Badge> : null}
        </p>
        <p className="mt-0.5 text-xs text-ink-3">
          used <Ago at={session.last_used_at} /> · since {formatDate(session.created_at)}
        </p>
      </div>
      {session.current ? null : (
        <Confirm
          title={`Sign out ${device}?`}
          description={<p>It has to sign in again. Jobs run on; nothing else changes.</p>}
          confirmLabel="Sign it out"
          onConfirm={onEnd}
          trigger={
            <Button size="sm" busy={busy} aria-label={`Sign out ${device}`}>
              Sign out
            </Button>
          }
        />
      )}
    </li>
  );
}
