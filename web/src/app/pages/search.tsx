import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Search, SlidersHorizontal } from "lucide-react";
import { useCallback, useEffect, useRef, useState } from "react";
import { ApiProblem } from "@/api/problem";
import { Badge } from "@/components/ui/badge";
import { Button } from "@/components/ui/button";
import { Card } from "@/components/ui/card";
import { Dialog } from "@/components/ui/dialog";
import { Select } from "@/components/ui/field";
import { PageHeader } from "@/components/ui/page-header";
import { Empty, Failed, Notice, SkeletonRows, Stale } from "@/components/ui/states";
import { gpuModelsQuery, searchQuery } from "@/features/market/api";
import { Facets } from "@/features/market/facets";
import { OfferCards, OfferTable } from "@/features/market/offer-list";
import { QueryInput } from "@/features/market/query-input";
import { mend } from "@/features/market/query-line";
import {
  EMPTY_SEARCH,
  filterCount,
  parseSearch,
  type SearchState,
  SORTS,
  type Sort,
  serializeSearch,
} from "@/features/market/search-state";
import { cn } from "@/lib/class-names";
import { plural } from "@/lib/units";
import { useAddressParams } from "../address-state";
import { useTitle } from "../use-title";

/** Refusals of the query line itself: told at the line, and not retried. */
const LINE_FAULTS = (error: unknown): error is ApiProblem =>
  error instanceof ApiProblem && error.status === 422;

export function SearchPage() {
  useTitle("Search GPUs");
  const [params, ask] = useAddressParams();
  const state = parseSearch(params);
  const [filtersOpen, setFiltersOpen] = useState(false);
  const change = useCallback(
    (patch: Partial<SearchState>) => ask((current) => serializeSearch({ ...parseSearch(current), ...patch })),
    [ask],
  );

  const search = useInfiniteQuery(searchQuery(state));
  const { data: models } = useQuery(gpuModelsQuery);
  const fault = LINE_FAULTS(search.error) ? search.error : null;
  const pages = search.data?.pages ?? [];
  const newest = pages.at(-1);
  const offers = pages.flatMap((page) => page.items);
  const facets = pages[0]?.facets ?? {};
  const filters = filterCount(state);
  const regions = facets.region?.map(({ value }) => value) ?? [];
  const sidebar = <Facets pending={search.isPending} state={state} facets={facets} onChange={change} />;
  const sortInLine = /(^|\s)sort:/.test(state.q);

  return (
    <div className="page">
      <PageHeader
        title="Search GPUs"
        description="Everything here can be booked this moment; what is taken disappears."
      />
      <QueryInput
        value={state.q}
        onSubmit={(q) => change({ q })}
        models={models?.map(({ model }) => model) ?? []}
        regions={regions}
        invalid={fault !== null}
        describedBy={fault ? "line-fault" : undefined}
      />
      {fault ? (
        <div id="line-fault" className="mt-2">
          <Notice
            tone="bad"
            actions={
              fault.suggestion ? (
                <SuggestionButton fault={fault} line={state.q} onApply={(q) => change({ q })} />
              ) : null
            }
          >
            {fault.detail}
          </Notice>
        </div>
      ) : null}

      <div className="mt-5 grid gap-6 lg:grid-cols-[14rem_minmax(0,1fr)] xl:gap-8">
        <aside aria-label="Filters" className="hidden lg:block">
          {sidebar}
        </aside>
        <div className="min-w-0">
          <div className="mb-3 flex min-h-9 flex-wrap items-center gap-x-3 gap-y-2">
            <p className="figures text-sm text-ink-2 empty:hidden" role="status">
              {newest && !fault ? plural(newest.total, "offer") : null}
            </p>
            {filters > 0 || state.q ? (
              <Button
                variant="link"
                size="inline"
                className="text-sm"
                onClick={() => change({ ...EMPTY_SEARCH, sort: state.sort })}
              >
                Clear all
              </Button>
            ) : null}
            <div className="ml-auto flex items-center gap-2">
              <Button className="lg:hidden" onClick={() => setFiltersOpen(true)}>
                <SlidersHorizontal aria-hidden /> Filters
                {filters > 0 ? <Badge tone="accent">{filters}</Badge> : null}
              </Button>
              <div className="flex items-center gap-2">
                <span aria-hidden className="hidden text-sm text-ink-2 sm:inline">
                  Sort
                </span>
                <Select
                  aria-label="Sort"
                  className="w-auto"
                  value={state.sort}
                  disabled={sortInLine}
                  title={sortInLine ? "The query line says how to sort" : undefined}
                  onChange={(event) => change({ sort: event.target.value as Sort })}
                >
                  {SORTS.map(({ value, label }) => (
                    <option key={value} value={value}>
                      {label}
                    </option>
                  ))}
                </Select>
              </div>
            </div>
          </div>
          {search.isError && search.data && !fault ? (
            <div className="mb-3">
              <Stale error={search.error} onRetry={() => void search.refetch()} />
            </div>
          ) : null}
          <Card
            className={cn("overflow-hidden transition-opacity", search.isPlaceholderData && "opacity-60")}
          >
            {search.isPending ? (
              <SkeletonRows rows={6} />
            ) : offers.length > 0 ? (
              <>
                <OfferTable offers={offers} />
                <OfferCards offers={offers} />
              </>
            ) : fault ? (
              <Empty icon={Search} title="The query line can't be read">
                Mend it above, and the offers that fit appear here.
              </Empty>
            ) : search.isError ? (
              <Failed error={search.error} onRetry={() => void search.refetch()} />
            ) : (
              <NothingFits state={state} onChange={change} />
            )}
          </Card>
          {search.hasNextPage && !fault ? (
            <LoadMore busy={search.isFetchingNextPage} onLoad={() => void search.fetchNextPage()} />
          ) : null}
        </div>
      </div>

      <Dialog open={filtersOpen} onOpenChange={setFiltersOpen} title="Filters">
        {sidebar}
        <Button variant="primary" size="lg" className="mt-6 w-full" onClick={() => setFiltersOpen(false)}>
          {newest ? `Show ${plural(newest.total, "offer")}` : "Show offers"}
        </Button>
      </Dialog>
    </div>
  );
}

interface SuggestionButtonProps {
  fault: ApiProblem;
  line: string;
  onApply: (line: string) => void;
}

function SuggestionButton({ fault, line, onApply }: SuggestionButtonProps) {
  const { suggestion } = fault;
  const mended = mend(line.trim(), fault);
  if (!suggestion || mended === line.trim()) return null;
  return (
    <Button size="sm" onClick={() => onApply(mended)}>
      Use <span className="font-mono">{suggestion}</span>
    </Button>
  );
}

interface NothingFitsProps {
  state: SearchState;
  onChange: (patch: Partial<SearchState>) => void;
}

/** Says what could give way, one button each. */
function NothingFits({ state, onChange }: NothingFitsProps) {
  const ways: { label: string; patch: Partial<SearchState> }[] = [];
  if (state.priceMicrosMax !== null) ways.push({ label: "Any price", patch: { priceMicrosMax: null } });
  if (state.models.length) ways.push({ label: "Any model", patch: { models: [] } });
  if (state.regions.length) ways.push({ label: "Any region", patch: { regions: [] } });
  if (state.vramGbMin !== null) ways.push({ label: "Any memory", patch: { vramGbMin: null } });
  if (state.gpusMin !== null) ways.push({ label: "One GPU is enough", patch: { gpusMin: null } });
  if (state.reliabilityMin !== null) ways.push({ label: "Any reliability", patch: { reliabilityMin: null } });
  if (state.q) ways.push({ label: "Without the query line", patch: { q: "" } });
  const filtered = ways.length > 0;
  return (
    <Empty
      icon={Search}
      title={filtered ? "Nothing free fits this search" : "No GPU is free right now"}
      actions={
        filtered
          ? ways.map(({ label, patch }) => (
              <Button key={label} size="sm" onClick={() => onChange(patch)}>
                {label}
              </Button>
            ))
          : undefined
      }
    >
      {filtered
        ? "Loosen one of these, or wait: this list refreshes by itself."
        : "Offers appear here within a second of being listed."}
    </Empty>
  );
}

/** Loads the next page when it comes into view; the button serves whoever does not scroll. */
function LoadMore({ busy, onLoad }: { busy: boolean; onLoad: () => void }) {
  const end = useRef<HTMLDivElement>(null);
  const load = useRef(onLoad);
  load.current = onLoad;
  useEffect(() => {
    const element = end.current;
    if (!element || busy) return;
    const seen = new IntersectionObserver(([entry]) => {
      if (entry?.isIntersecting) load.current();
    });
    seen.observe(element);
    return () => seen.disconnect();
  }, [busy]);
  return (
    <div ref={end} className="pt-4 text-center">
      <Button busy={busy} onClick={onLoad}>
        Load more
      </Button>
    </div>
  );
}
