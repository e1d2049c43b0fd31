import { CircleHelp } from "lucide-react";
import { Popover, Tooltip as Radix } from "radix-ui";
import type { ReactNode } from "react";

export const TooltipProvider = Radix.Provider;

const bubble =
  "z-50 max-w-72 rounded-md border border-line bg-surface px-2.5 py-1.5 text-xs leading-relaxed text-ink-2 shadow-2 data-[state=open]:animate-pop";

/** A name for an icon. What a reader needs to know goes into `Explain`, which also opens by touch. */
export function Tooltip({ label, children }: { label: ReactNode; children: ReactNode }) {
  return (
    <Radix.Root delayDuration={300}>
      <Radix.Trigger asChild>{children}</Radix.Trigger>
      <Radix.Portal>
        <Radix.Content sideOffset={6} collisionPadding={8} className={bubble}>
          {label}
        </Radix.Content>
      </Radix.Portal>
    </Radix.Root>
  );
}

export function Explain({ about, children }: { about: string; children: ReactNode }) {
  return (
    <Popover.Root>
      <Popover.Trigger
        aria-label={`What is ${about}?`}
        className="-my-1 inline-flex size-6 items-center justify-center rounded-full align-middle text-ink-3 transition-colors hover:text-ink"
      >
        <CircleHelp className="size-3.5" aria-hidden />
      </Popover.Trigger>
      <Popover.Portal>
        <Popover.Content sideOffset={6} collisionPadding={8} className={`${bubble} px-3 py-2.5`}>
          {children}
        </Popover.Content>
      </Popover.Portal>
    </Popover.Root>
  );
}
