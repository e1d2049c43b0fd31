import { cva, type VariantProps } from "class-variance-authority";
import type { ComponentProps } from "react";
import { cn } from "@/lib/class-names";

const styles = cva(
  "inline-flex h-5 items-center gap-1.5 rounded-sm px-1.5 text-2xs font-medium whitespace-nowrap [&_svg]:size-3",
  {
    variants: {
      tone: {
        neutral: "bg-hover text-ink-2",
        outline: "border border-line-strong text-ink-2",
        accent: "bg-accent-soft text-accent-ink",
        good: "bg-good-soft text-good",
        warn: "bg-warn-soft text-warn",
        bad: "bg-bad-soft text-bad",
      },
    },
    defaultVariants: { tone: "neutral" },
  },
);

export type Tone = NonNullable<VariantProps<typeof styles>["tone"]>;

interface BadgeProps extends ComponentProps<"span"> {
  tone?: Tone;
  /** A dot in the tone's colour; "live" lets it beat. */
  dot?: boolean | "live";
}

export function Badge({ tone, dot, className, children, ...rest }: BadgeProps) {
  return (
    <span className={cn(styles({ tone }), className)} {...rest}>
      {dot ? (
        <span
          aria-hidden
          className={cn("size-1.5 rounded-full bg-current", dot === "live" && "animate-beat")}
        />
      ) : null}
      {children}
    </span>
  );
}
