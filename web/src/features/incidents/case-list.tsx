import { useInfiniteQuery } from "@tanstack/react-query";
import { ShieldCheck } from "lucide-react";
import { Link } from "react-router";
import { Ago } from "@/components/ago";
import { Badge } from "@/components/ui/badge";
import { Button } from "@/components/ui/button";
import { Card } from "@/components/ui/card";
import { Field, Select } from "@/components/ui/field";
import { Empty, Failed, SkeletonRows, Stale } from "@/components/ui/states";
import { Table, Td, Th } from "@/components/ui/table";
import { formatPercent, plural } from "@/lib/units";
import { type CaseFilter, filterFrom } from "./case-filter";
import { type Case, casesQuery } from "./cases-api";
import { CAUSES, happened, KINDS, scoreEffect, sideOf } from "./record";
import { SIDE_TONES } from "./record-panel";

interface CaseListProps {
  filter: CaseFilter;
  onFilter: (change: Partial<CaseFilter>) => void;
  linkTo: (incidentId: string) => string;
}

/** What went wrong on any node. */
export function CaseList({ filter, onFilter, linkTo }: CaseListProps) {
  const cases = useInfiniteQuery(casesQuery(filter));
  const items = cases.data?.pages.flatMap((page) => page.items) ?? [];
  const filtered = Object.values(filter).some((value) => value !== null);
  const everything = { cause: null, kind: null, ruled: null, nodeId: null };
  return (
    <div className="grid gap-3">
      <search aria-label="Filter incidents" className="grid grid-cols-2 items-end gap-3 md:flex md:flex-wrap">
        <Field label="Whose doing" className="col-span-2 md:w-52">
          {(control) => (
            <Select
              {...control}
              value={filter.cause ?? ""}
              onChange={({ target }) =>
                onFilter({ cause: filterFrom(new URLSearchParams({ cause: target.value })).cause })
              }
            >
              <option value="">Anybody's</option>
              <option value="open">not decided yet</option>
              {Object.entries(CAUSES).map(([value, words]) => (
                <option key={value} value={value}>
                  {words}
                </option>
              ))}
            </Select>
          )}
        </Field>
        <Field label="What happened" className="md:w-60">
          {(control) => (
            <Select
              {...control}
              value={filter.kind ?? ""}
              onChange={({ target }) =>
                onFilter({ kind: filterFrom(new URLSearchParams({ kind: target.value })).kind })
              }
            >
              <option value="">Anything</option>
              {Object.entries(KINDS).map(([value, words]) => (
                <option key={value} value={value}>
                  {words}
                </option>
              ))}
            </Select>
          )}
        </Field>
        <Field label="Ruled on" className="md:w-36">
          {(control) => (
            <Select
              {...control}
              value={filter.ruled === null ? "" : filter.ruled ? "yes" : "no"}
              onChange={({ target }) =>
                onFilter({ ruled: filterFrom(new URLSearchParams({ ruled: target.value })).ruled })
              }
            >
              <option value="">Either</option>
              <option value="yes">yes</option>
              <option value="no">no</option>
            </Select>
          )}
        </Field>
        {filtered ? (
          <Button variant="ghost" className="col-span-2" onClick={() => onFilter(everything)}>
            {filter.nodeId ? "All nodes, no filter" : "No filter"}
          </Button>
        ) : null}
      </search>
      {cases.isError && cases.data ? (
        <Stale error={cases.error} onRetry={() => void cases.refetch()} />
      ) : null}
      <Card className="overflow-hidden">
        {cases.isPending ? (
          <SkeletonRows />
        ) : !cases.data ? (
          <Failed error={cases.error} onRetry={() => void cases.refetch()} />
        ) : items.length === 0 ? (
          <Empty
            icon={ShieldCheck}
            title={filtered ? "No incident is so" : "Nothing went wrong so far"}
            actions={filtered ? <Button onClick={() => onFilter(everything)}>Show all</Button> : undefined}
          >
            Every lost node, lost run, failed job and failed start is listed here with the evidence.
          </Empty>
        ) : (
          <>
            <CaseCards items={items} linkTo={linkTo} />
            <Table label="Incidents of all nodes" wide>
              <thead>
                <tr>
                  <Th>What happened</Th>
                  <Th>Node</Th>
                  <Th>Attributed to</Th>
                  <Th numeric>Evidence</Th>
                  <Th numeric>Score</Th>
                  <Th numeric>When</Th>
                </tr>
              </thead>
              <tbody>
                {items.map((item) => (
                  <tr key={item.id} className="relative hover:bg-hover" data-incident={item.id}>
                    <Td>
                      <Link
                        to={linkTo(item.id)}
                        className="font-medium after:absolute after:inset-0 hover:underline"
                      >
                        {happened(item)}
                      </Link>
                      {item.runs_hit > 0 ? (
                        <span className="block text-xs text-ink-3">{plural(item.runs_hit, "run")} hit</span>
                      ) : null}
                    </Td>
                    <Td className="max-w-52">
                      <span className="block truncate">{item.node_name}</span>
                      <span className="block truncate text-xs text-ink-3" title={item.owner_email}>
                        {item.owner_email}
                      </span>
                    </Td>
                    <Td>
                      <Attributed incident={item} />
                    </Td>
                    <Td numeric>{kindsOf(item)}</Td>
                    <Td numeric className="text-ink-2">
                      {effectInWords(item)}
                    </Td>
                    <Td numeric className="text-ink-2">
                      <Ago at={item.began_at} />
                    </Td>
                  </tr>
                ))}
              </tbody>
            </Table>
          </>
        )}
      </Card>
      {cases.hasNextPage ? (
        <div className="pt-1 text-center">
          <Button busy={cases.isFetchingNextPage} onClick={() => void cases.fetchNextPage()}>
            Load more
          </Button>
        </div>
      ) : null}
    </div>
  );
}

const kindsOf = (item: Case) => plural(new Set(item.evidence.map(({ witness }) => witness)).size, "kind");

function effectInWords(item: Case): string {
  const effect = scoreEffect(item);
  return effect ? `${formatPercent(effect.before)} → ${formatPercent(effect.after)}` : "untouched";
}

function Attributed({ incident }: { incident: Case }) {
  return (
    <span className="flex flex-wrap gap-1">
      <Badge tone={SIDE_TONES[sideOf(incident)]} className="h-auto min-h-5 max-w-full whitespace-normal">
        {incident.summary}
      </Badge>
      {incident.ruled ? <Badge tone="accent">ruled</Badge> : null}
    </span>
  );
}

function CaseCards({ items, linkTo }: { items: readonly Case[]; linkTo: CaseListProps["linkTo"] }) {
  return (
    <ul className="divide-y divide-line md:hidden" aria-label="Incidents of all nodes">
      {items.map((item) => (
        <li key={item.id} className="relative grid gap-1.5 px-4 py-3">
          <div className="flex items-baseline justify-between gap-3">
            <Link to={linkTo(item.id)} className="min-w-0 font-medium after:absolute after:inset-0">
              {happened(item)}
            </Link>
            <span className="shrink-0 text-xs text-ink-3">
              <Ago at={item.began_at} />
            </span>
          </div>
          <p className="truncate text-xs text-ink-2">
            {item.node_name} · {item.owner_email}
          </p>
          <Attributed incident={item} />
          <p className="figures text-xs text-ink-3">
            {kindsOf(item)} of evidence · score {effectInWords(item)}
          </p>
        </li>
      ))}
    </ul>
  );
}
