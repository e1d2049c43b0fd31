import { useInfiniteQuery } from "@tanstack/react-query";
import { ArrowDownLeft, ArrowUpRight, Lock, LockOpen, Receipt, Undo2 } from "lucide-react";
import type { ComponentType } from "react";
import { Link } from "react-router";
import { Ago } from "@/components/ago";
import { Money } from "@/components/money";
import { Button } from "@/components/ui/button";
import { Card, CardHeader } from "@/components/ui/card";
import { Empty, Failed, SkeletonRows } from "@/components/ui/states";
import { cn } from "@/lib/class-names";
import { entriesQuery, type WalletEntry } from "./api";

const KINDS: Record<string, { label: string; icon: ComponentType<{ className?: string }> }> = {
  top_up: { label: "Top-up", icon: ArrowDownLeft },
  hold: { label: "Set aside", icon: Lock },
  release: { label: "Released", icon: LockOpen },
  charge: { label: "Charge", icon: ArrowUpRight },
  refund: { label: "Refund", icon: Undo2 },
};

export function WalletEntries() {
  const { data, isPending, error, refetch, hasNextPage, fetchNextPage, isFetchingNextPage } =
    useInfiniteQuery(entriesQuery);
  const entries = data?.pages.flatMap((page) => page.items) ?? [];
  return (
    <Card>
      <CardHeader title="Movements" description="Everything that changed the balance, newest first." />
      {isPending ? (
        <SkeletonRows />
      ) : !data ? (
        <Failed error={error} onRetry={() => void refetch()} />
      ) : entries.length === 0 ? (
        <Empty icon={Receipt} title="Nothing has moved yet">
          Top-ups, holds, charges and refunds are listed here.
        </Empty>
      ) : (
        <ul className="divide-y divide-line">
          {entries.map((entry) => (
            <Entry key={entry.id} entry={entry} />
          ))}
        </ul>
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

function Entry({ entry }: { entry: WalletEntry }) {
  const { label, icon: Icon } = KINDS[entry.kind] ?? { label: entry.kind, icon: Receipt };
  const incoming = entry.amount_micros > 0;
  return (
    <li className="flex items-center gap-3 px-4 py-3 sm:px-5">
      <span
        className={cn(
          "grid size-8 shrink-0 place-items-center rounded-md",
          incoming ? "bg-good-soft text-good" : "bg-hover text-ink-2",
        )}
      >
        <Icon className="size-4" />
      </span>
      <div className="min-w-0 flex-1">
        <p className="flex gap-2 text-sm font-medium">
          {label}
          {entry.job_id ? (
            <Link
              to={`/jobs/${entry.job_id}`}
              className="hidden min-w-0 truncate font-mono text-xs leading-[inherit] font-normal text-accent-ink underline-offset-4 hover:underline sm:block"
            >
              {entry.job_id}
            </Link>
          ) : null}
        </p>
        <p className="text-xs text-ink-3 [overflow-wrap:anywhere]">
          {entry.job_id ? (
            <Link
              to={`/jobs/${entry.job_id}`}
              className="text-accent-ink underline-offset-4 hover:underline sm:hidden"
            >
              {entry.description}
            </Link>
          ) : null}
          <span className={cn(entry.job_id && "hidden sm:inline")}>{entry.description}</span>
          <span aria-hidden className="hidden sm:inline">
            {" "}
            ·{" "}
          </span>
          <Ago at={entry.at} className="block sm:inline" />
        </p>
      </div>
      <div className="text-right">
        <p className={cn("text-sm font-medium", incoming && "text-good")}>
          <Money micros={entry.amount_micros} precision="exact" sign />
        </p>
        <p className="text-xs text-ink-3">
          <Money micros={entry.balance_after_micros} precision="exact" />
        </p>
      </div>
    </li>
  );
}
