import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";
import { Money } from "@/components/money";
import { SimulatedBadge } from "@/components/simulated-badge";
import { Skeleton } from "@/components/ui/states";
import { plural } from "@/lib/units";
import { stripQuery } from "./api";

/** Offers as they stand this moment. Says so when there are none, and when they could not be read. */
export function OfferStrip() {
  const { data, isPending, isError } = useQuery(stripQuery);
  return (
    <div>
      <div className="mb-3 flex items-baseline justify-between gap-4">
        <h2 className="text-sm font-medium text-ink-2" aria-live="polite">
          {isPending
            ? "Reading the market…"
            : isError && !data
              ? "The market could not be read just now"
              : `${plural(data?.total ?? 0, "offer")} you can book this moment`}
        </h2>
        <Link
          to="/search"
          className="text-sm whitespace-nowrap text-accent-ink underline-offset-4 hover:underline"
        >
          Search all
        </Link>
      </div>
      <ul
        className="-mx-4 flex snap-x scroll-px-4 gap-3 overflow-x-auto px-4 pb-3 [scrollbar-width:thin] sm:mx-0 sm:px-0"
        aria-label="Live offers"
      >
        {isPending
          ? Array.from({ length: 5 }, (_, index) => (
              <li
                key={index}
                className="h-[6.75rem] w-60 shrink-0 rounded-lg border border-line bg-surface p-4"
              >
                <Skeleton className="w-2/3" />
                <Skeleton className="mt-3 w-1/2" />
              </li>
            ))
          : data?.items.map((offer) => (
              <li key={offer.id} className="w-60 shrink-0 snap-start">
                <Link
                  to={`/offers/${offer.id}`}
                  className="block h-full rounded-lg border border-line bg-surface p-4 shadow-1 transition-[border-color,box-shadow] duration-(--medium) hover:border-line-strong hover:shadow-2"
                >
                  <span className="block truncate font-medium">
                    {offer.gpu_name.replace(/^NVIDIA (GeForce )?/, "")}
                  </span>
                  <span className="figures mt-0.5 block text-xs text-ink-2">
                    {offer.gpus_free} × {offer.vram_gb} GB · {offer.region}
                  </span>
                  <span className="mt-3 flex items-center justify-between">
                    <span className="font-semibold">
                      <Money micros={offer.price_per_gpu_hour_micros} precision="rate" />
                      <span className="text-xs font-normal text-ink-3"> per GPU-hour</span>
                    </span>
                    {offer.simulated ? <SimulatedBadge /> : null}
                  </span>
                </Link>
              </li>
            ))}
      </ul>
    </div>
  );
}
