import { useQuery } from "@tanstack/react-query";
import { BadgeCheck, BookOpenCheck, CircleAlert } from "lucide-react";
import { Ago } from "@/components/ago";
import { Button } from "@/components/ui/button";
import { Card, CardHeader } from "@/components/ui/card";
import { Empty, Failed, Notice, ProblemNotice, SkeletonRows } from "@/components/ui/states";
import { formatMs } from "@/lib/time";
import { formatCount, plural } from "@/lib/units";
import { useVerifyBooks, type Verification, verificationQuery } from "./api";

/** The ledger read again from its first entry, when an admin asks for it. */
export function BooksCard() {
  const { data, isPending, error, refetch } = useQuery(verificationQuery);
  const verify = useVerifyBooks();
  return (
    <Card>
      <CardHeader
        title="Books"
        description="Every balance, hash chain and invariant, recomputed by an auditor that shares no code with the writer."
        actions={
          <Button size="sm" busy={verify.isPending} onClick={() => verify.mutate()}>
            <BookOpenCheck aria-hidden /> Verify now
          </Button>
        }
      />
      {verify.error ? (
        <div className="px-4 pt-4 sm:px-5">
          <ProblemNotice error={verify.error} />
        </div>
      ) : null}
      {isPending ? (
        <SkeletonRows rows={2} />
      ) : !data ? (
        <Failed error={error} onRetry={() => void refetch()} />
      ) : data.last ? (
        <Outcome outcome={data.last} />
      ) : (
        <Empty icon={BookOpenCheck} title="Not verified lately" className="py-10">
          It runs when it is asked for, and takes as long as the ledger is large.
        </Empty>
      )}
    </Card>
  );
}

function Outcome({ outcome }: { outcome: Verification }) {
  const read = `${plural(outcome.transfers, "transfer")}, ${plural(outcome.entries, "entry", "entries")} and ${plural(outcome.accounts, "account")} read in ${formatMs(outcome.took_ms)}.`;
  return (
    <div className="grid gap-3 p-4 sm:p-5" data-books={outcome.ok ? "sound" : "broken"}>
      <Notice tone={outcome.ok ? "good" : "bad"} icon={outcome.ok ? BadgeCheck : CircleAlert}>
        <p className="font-medium">
          {outcome.ok
            ? "Everything adds up."
            : `${plural(outcome.problems_count, "problem")}: something does not add up.`}
        </p>
        <p className="mt-0.5 text-ink-2">
          {read} <Ago at={outcome.at} />.
        </p>
      </Notice>
      {outcome.problems.length > 0 ? (
        <ul className="grid max-h-80 gap-2 overflow-y-auto text-sm" tabIndex={0} aria-label="Problems">
          {outcome.problems.map((problem) => (
            <li key={`${problem.check}${problem.row}`} className="[overflow-wrap:anywhere]">
              <span className="font-mono text-xs">{problem.row}</span>
              <span className="block text-ink-2">
                {problem.detail} <span className="text-ink-3">({problem.check})</span>
              </span>
            </li>
          ))}
        </ul>
      ) : null}
      {outcome.problems_count > outcome.problems.length ? (
        <p className="text-xs text-ink-3">
          The first {formatCount(outcome.problems.length)} are shown; <code>gp4u admin ledger verify</code>{" "}
          prints them all.
        </p>
      ) : null}
    </div>
  );
}
