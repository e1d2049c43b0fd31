import { type ReactNode, useEffect, useState } from "react";
import type { Schemas } from "@/api/client";
import { Field, Input, Select } from "@/components/ui/field";
import { Skeleton } from "@/components/ui/states";
import { moneyInput, parseMoney } from "@/lib/money";
import { type SearchState, toggled } from "./search-state";

interface FacetsProps {
  /** Nothing is known yet: the shape of what will come stands in its place. */
  pending: boolean;
  state: SearchState;
  facets: Record<string, Schemas["FacetValueOut"][]>;
  onChange: (patch: Partial<SearchState>) => void;
}

export function Facets({ pending, state, facets, onChange }: FacetsProps) {
  return (
    <div className="grid gap-6">
      {pending ? <FacetsToCome /> : null}
      <FacetGroup
        title="GPU model"
        values={facets.gpu_model ?? []}
        chosen={state.models}
        label={(value) => value.replaceAll("_", " ")}
        onToggle={(value) => onChange({ models: toggled(state.models, value) })}
      />
      <FacetGroup
        title="Region"
        values={facets.region ?? []}
        chosen={state.regions}
        onToggle={(value) => onChange({ regions: toggled(state.regions, value) })}
      />
      <VramGroup
        values={facets.vram_gb ?? []}
        chosen={state.vramGbMin}
        onChoose={(vramGbMin) => onChange({ vramGbMin })}
      />
      <div className="grid grid-cols-2 gap-3 lg:grid-cols-1">
        <PriceField
          value={state.priceMicrosMax}
          onChange={(priceMicrosMax) => onChange({ priceMicrosMax })}
        />
        <Field label="GPUs, at least">
          {(control) => (
            <Select
              {...control}
              value={state.gpusMin ?? 1}
              onChange={(event) => onChange({ gpusMin: Number(event.target.value) || null })}
            >
              {[1, 2, 4, 8].map((count) => (
                <option key={count} value={count}>
                  {count}
                </option>
              ))}
            </Select>
          )}
        </Field>
        <Field label="Reliability, at least" className="col-span-2 lg:col-span-1">
          {(control) => (
            <Select
              {...control}
              value={state.reliabilityMin ?? ""}
              onChange={(event) => onChange({ reliabilityMin: Number(event.target.value) || null })}
            >
              <option value="">Any</option>
              {[0.9, 0.95, 0.99, 0.999].map((share) => (
                <option key={share} value={share}>
                  {share * 100} % over 24 h
                </option>
              ))}
            </Select>
          )}
        </Field>
      </div>
    </div>
  );
}

function FacetsToCome() {
  return [5, 4, 2].map((rows, group) => (
    <div key={group} aria-hidden className="grid gap-2.5">
      <Skeleton className="w-24" />
      {Array.from({ length: rows }, (_, row) => (
        <Skeleton key={row} className="h-[1.1rem]" />
      ))}
    </div>
  ));
}

interface FacetGroupProps {
  title: string;
  values: readonly Schemas["FacetValueOut"][];
  chosen: readonly string[];
  label?: (value: string) => ReactNode;
  onToggle: (value: string) => void;
}

function FacetGroup({ title, values, chosen, label = (value) => value, onToggle }: FacetGroupProps) {
  // A chosen value stays visible with a count of 0, or nobody could take it back.
  const missing = chosen.filter((value) => !values.some((item) => item.value === value));
  const shown = [...values, ...missing.map((value) => ({ value, count: 0 }))];
  if (shown.length === 0) return null;
  return (
    <fieldset>
      <legend className="mb-1.5 text-sm font-medium">{title}</legend>
      <div className="grid sm:grid-cols-2 lg:grid-cols-1">
        {shown.map(({ value, count }) => (
          <label
            key={value}
            className="-mx-1.5 flex cursor-pointer items-center gap-2.5 rounded-sm px-1.5 py-1.5 text-sm text-ink-2 hover:bg-hover hover:text-ink has-checked:text-ink lg:py-1"
          >
            <input
              type="checkbox"
              className="size-4 accent-(--accent)"
              checked={chosen.includes(value)}
              onChange={() => onToggle(value)}
            />
            <span className="min-w-0 flex-1 truncate">{label(value)}</span>
            <span className="figures text-xs text-ink-3">{count}</span>
          </label>
        ))}
      </div>
    </fieldset>
  );
}

interface VramGroupProps {
  values: readonly Schemas["FacetValueOut"][];
  chosen: number | null;
  onChoose: (value: number | null) => void;
}

function VramGroup({ values, chosen, onChoose }: VramGroupProps) {
  const sizes = [...new Set([...values.map(({ value }) => Number(value)), ...(chosen ? [chosen] : [])])]
    .filter((size) => size > 0)
    .sort((a, b) => a - b);
  if (sizes.length === 0) return null;
  return (
    <fieldset>
      <legend className="mb-2 text-sm font-medium">Memory per GPU, at least</legend>
      <div className="flex flex-wrap gap-1.5">
        {[null, ...sizes].map((size) => (
          <label
            key={size ?? "any"}
            className="figures cursor-pointer rounded-md border border-line-strong px-2.5 py-1 text-xs text-ink-2 transition-colors hover:bg-hover has-checked:border-accent-ink has-checked:bg-accent-soft has-checked:text-accent-ink has-focus-visible:outline-2 has-focus-visible:outline-accent-ink"
          >
            <input
              type="radio"
              name="vram"
              className="sr-only"
              checked={chosen === size}
              onChange={() => onChoose(size)}
            />
            {size === null ? "Any" : `${size} GB`}
          </label>
        ))}
      </div>
    </fieldset>
  );
}

interface PriceFieldProps {
  value: number | null;
  onChange: (micros: number | null) => void;
}

function PriceField({ value, onChange }: PriceFieldProps) {
  const [text, setText] = useState(value === null ? "" : moneyInput(value));
  useEffect(() => setText(value === null ? "" : moneyInput(value)), [value]);
  const parsed = text.trim() === "" ? null : parseMoney(text);
  const invalid = text.trim() !== "" && parsed === null;
  const commit = () => {
    if (!invalid && parsed !== value) onChange(parsed);
  };
  return (
    <Field label="Price, at most" error={invalid ? "An amount such as 0.60" : undefined}>
      {(control) => (
        <Input
          {...control}
          inputMode="decimal"
          placeholder="per GPU-hour"
          className="figures"
          value={text}
          onChange={(event) => setText(event.target.value)}
          onBlur={commit}
          onKeyDown={(event) => {
            if (event.key === "Enter") commit();
          }}
        />
      )}
    </Field>
  );
}
