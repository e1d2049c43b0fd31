import { ChevronRight } from "lucide-react";
import { Link } from "react-router";
import { Money } from "@/components/money";
import { SimulatedBadge } from "@/components/simulated-badge";
import { Table, Td, Th } from "@/components/ui/table";
import { formatCount, formatNumber } from "@/lib/units";
import type { Offer } from "./api";
import { Reliability, ReliabilityExplained } from "./reliability";

export function OfferTable({ offers }: { offers: readonly Offer[] }) {
  return (
    <Table label="Offers" wide>
      <thead>
        <tr>
          <Th>GPU</Th>
          <Th numeric>Memory</Th>
          <Th numeric>Free</Th>
          <Th>Region</Th>
          <Th numeric>
            <span className="inline-flex items-center gap-0.5">
              Reliability <ReliabilityExplained />
            </span>
          </Th>
          <Th numeric className="hidden xl:table-cell">
            fp16 TFLOPS
          </Th>
          <Th numeric className="hidden lg:table-cell">
            TFLOPS per $
          </Th>
          <Th numeric>GPU-hour</Th>
          <Th>
            <span className="sr-only">Open</span>
          </Th>
        </tr>
      </thead>
      <tbody>
        {offers.map((offer) => (
          <tr
            key={offer.id}
            data-offer={offer.id}
            className="group relative transition-colors hover:bg-hover/60"
          >
            <Td>
              <Link
                to={`/offers/${offer.id}`}
                className="font-medium text-ink after:absolute after:inset-0 focus-visible:outline-none focus-visible:after:outline-2 focus-visible:after:outline-offset-[-2px] focus-visible:after:outline-accent-ink"
              >
                {offer.gpu_name}
              </Link>
              <div className="mt-0.5 flex items-center gap-2 text-xs text-ink-3">
                <span className="truncate">{offer.node_name}</span>
                {offer.simulated ? <SimulatedBadge /> : null}
              </div>
            </Td>
            <Td numeric>{offer.vram_gb} GB</Td>
            <Td numeric>
              {offer.gpus_free}
              <span className="text-ink-3"> / {offer.gpus_total}</span>
            </Td>
            <Td className="whitespace-nowrap text-ink-2">{offer.region}</Td>
            <Td numeric>
              <Reliability of={offer} />
            </Td>
            <Td numeric className="hidden text-ink-2 xl:table-cell">
              {formatNumber(offer.fp16_tflops)}
            </Td>
            <Td numeric className="hidden text-ink-2 lg:table-cell">
              {formatCount(offer.perf_per_dollar)}
            </Td>
            <Td numeric className="font-semibold">
              <Money micros={offer.price_per_gpu_hour_micros} precision="rate" />
            </Td>
            <Td className="w-8 pl-0">
              <ChevronRight
                className="size-4 text-ink-3 transition-transform group-hover:translate-x-0.5"
                aria-hidden
              />
            </Td>
          </tr>
        ))}
      </tbody>
    </Table>
  );
}

export function OfferCards({ offers }: { offers: readonly Offer[] }) {
  return (
    <ul className="divide-y divide-line md:hidden" aria-label="Offers">
      {offers.map((offer) => (
        <li key={offer.id} data-offer={offer.id}>
          <Link to={`/offers/${offer.id}`} className="block px-4 py-3.5 active:bg-hover">
            <div className="flex items-baseline justify-between gap-3">
              <span className="min-w-0 truncate font-medium">{offer.gpu_name}</span>
              <span className="font-semibold">
                <Money micros={offer.price_per_gpu_hour_micros} precision="rate" />
                <span className="text-xs font-normal text-ink-3"> /h</span>
              </span>
            </div>
            <div className="mt-1 flex flex-wrap items-center gap-x-2.5 gap-y-1 text-xs text-ink-2">
              <span className="figures">{offer.vram_gb} GB</span>
              <span className="figures">
                {offer.gpus_free} of {offer.gpus_total} free
              </span>
              <span>{offer.region}</span>
              <Reliability of={offer} />
              {offer.simulated ? <SimulatedBadge /> : null}
            </div>
          </Link>
        </li>
      ))}
    </ul>
  );
}
