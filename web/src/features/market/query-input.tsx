import { Search, X } from "lucide-react";
import { type KeyboardEvent, useEffect, useId, useRef, useState } from "react";
import { Button } from "@/components/ui/button";
import { cn } from "@/lib/class-names";
import { accept, type Suggestion, suggest } from "./query-line";

interface QueryInputProps {
  value: string;
  onSubmit: (line: string) => void;
  models: readonly string[];
  regions: readonly string[];
  invalid: boolean;
  describedBy?: string | undefined;
}

/** The query line, with completion of fields, operators and values. */
export function QueryInput({ value, onSubmit, models, regions, invalid, describedBy }: QueryInputProps) {
  const [line, setLine] = useState(value);
  const [caret, setCaret] = useState(0);
  const [open, setOpen] = useState(false);
  const [active, setActive] = useState(-1);
  const input = useRef<HTMLInputElement>(null);
  const listId = useId();

  useEffect(() => setLine(value), [value]);

  const suggestions = open ? suggest(line, caret, { gpu_model: models, region: regions }) : [];
  const shown = suggestions.length > 0;

  const take = (suggestion: Suggestion) => {
    const next = accept(line, caret, suggestion);
    setLine(next.line);
    setCaret(next.caret);
    setActive(-1);
    requestAnimationFrame(() => {
      input.current?.focus();
      input.current?.setSelectionRange(next.caret, next.caret);
    });
    if (suggestion.complete) onSubmit(next.line);
  };

  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (!open) return setOpen(true);
      const step = event.key === "ArrowDown" ? 1 : -1;
      setActive((current) => (current + step + suggestions.length + 1) % (suggestions.length + 1));
      return;
    }
    const chosen = suggestions[active];
    if (event.key === "Tab" && shown && !event.shiftKey && active >= 0 && chosen) {
      event.preventDefault();
      take(chosen);
    } else if (event.key === "Enter") {
      event.preventDefault();
      if (chosen) return take(chosen);
      setOpen(false);
      onSubmit(line);
    } else if (event.key === "Escape") {
      setOpen(false);
      setActive(-1);
    }
  };

  return (
    <search className="relative block">
      <Search
        className="pointer-events-none absolute top-1/2 left-3.5 size-4 -translate-y-1/2 text-ink-3"
        aria-hidden
      />
      <input
        ref={input}
        type="search"
        role="combobox"
        aria-label="Query line"
        aria-expanded={shown}
        aria-controls={listId}
        aria-autocomplete="list"
        aria-activedescendant={active >= 0 && shown ? `${listId}-${active}` : undefined}
        aria-invalid={invalid || undefined}
        aria-describedby={describedBy}
        autoComplete="off"
        autoCapitalize="off"
        spellCheck={false}
        maxLength={1000}
        placeholder="vram_gb>=24 price<=0.60 region=eu-west"
        value={line}
        onChange={(event) => {
          setLine(event.target.value);
          setCaret(event.target.selectionStart ?? event.target.value.length);
          setOpen(true);
          setActive(-1);
        }}
        onSelect={(event) => setCaret(event.currentTarget.selectionStart ?? 0)}
        onFocus={() => setOpen(true)}
        onBlur={() => {
          setOpen(false);
          setActive(-1);
          if (line.trim() !== value.trim()) onSubmit(line);
        }}
        onKeyDown={onKeyDown}
        className={cn(
          "h-11 w-full rounded-lg border border-line-strong bg-surface pr-11 pl-10 font-mono text-base shadow-1 sm:text-sm",
          "transition-[border-color] duration-(--fast) hover:border-ink-3",
          "focus-visible:border-accent-ink focus-visible:outline-2 focus-visible:outline-offset-0 focus-visible:outline-accent-ink/40",
          "aria-invalid:border-bad",
        )}
      />
      {line !== "" ? (
        <Button
          variant="ghost"
          size="icon-sm"
          className="absolute top-1.5 right-1.5"
          aria-label="Clear the query line"
          onMouseDown={(event) => event.preventDefault()}
          onClick={() => {
            setLine("");
            setCaret(0);
            onSubmit("");
            input.current?.focus();
          }}
        >
          <X aria-hidden />
        </Button>
      ) : null}
      <div
        id={listId}
        role="listbox"
        aria-label="Completions"
        hidden={!shown}
        className="absolute inset-x-0 top-full z-30 mt-1.5 overflow-hidden rounded-lg border border-line bg-surface p-1 shadow-2"
      >
        {suggestions.map((suggestion, index) => (
          // biome-ignore lint/a11y/useFocusableInteractive: the input keeps focus and names the active option
          // biome-ignore lint/a11y/useKeyWithClickEvents: keys are handled by the input
          <div
            key={suggestion.insert}
            id={`${listId}-${index}`}
            role="option"
            aria-selected={index === active}
            onMouseDown={(event) => event.preventDefault()}
            onClick={() => take(suggestion)}
            className="flex cursor-pointer items-baseline justify-between gap-4 rounded-sm px-2.5 py-1.5 hover:bg-hover aria-selected:bg-hover"
          >
            <span className="font-mono text-sm">{suggestion.insert}</span>
            <span className="truncate text-xs text-ink-3">{suggestion.hint}</span>
          </div>
        ))}
      </div>
    </search>
  );
}
