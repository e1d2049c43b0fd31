import { formatAgo, formatInstant } from "@/lib/time";
import { useNow } from "@/lib/use-now";

/** An instant, told relative to now; the exact one is in the title. */
export function Ago({ at, className }: { at: string; className?: string }) {
  const now = useNow(5_000);
  return (
    <time dateTime={at} title={formatInstant(at)} className={className}>
      {formatAgo(at, now)}
    </time>
  );
}
