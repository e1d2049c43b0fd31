import { Check, Copy } from "lucide-react";
import { useEffect, useState } from "react";
import { cn } from "@/lib/class-names";
import { Button } from "./button";

export function CopyButton({ text, label = "Copy" }: { text: string; label?: string }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => setCopied(false), 1600);
    return () => clearTimeout(timer);
  }, [copied]);
  return (
    <Button
      variant="ghost"
      size="icon-sm"
      aria-label={copied ? "Copied" : label}
      onClick={async () => {
        try {
          await navigator.clipboard.writeText(text);
          setCopied(true);
        } catch {
          // Without a secure context there is no clipboard; the text stays selectable.
        }
      }}
    >
      {copied ? <Check className="text-good" aria-hidden /> : <Copy aria-hidden />}
    </Button>
  );
}

/** A command to type, or a secret to take away. */
export function CodeLine({
  text,
  prompt,
  className,
}: {
  text: string;
  prompt?: boolean;
  className?: string;
}) {
  return (
    <div
      className={cn(
        "flex items-center gap-2 rounded-md border border-line bg-sunken py-1 pr-1 pl-3 font-mono text-sm",
        className,
      )}
    >
      {prompt ? (
        <span aria-hidden className="text-ink-3 select-none">
          $
        </span>
      ) : null}
      <code tabIndex={0} className="min-w-0 flex-1 overflow-x-auto whitespace-nowrap [scrollbar-width:thin]">
        {text}
      </code>
      <CopyButton text={text} label="Copy to clipboard" />
    </div>
  );
}
