import type { ComponentProps } from "react";
import { cn } from "@/lib/class-names";

interface TableProps extends ComponentProps<"table"> {
  label: string;
  /** Shown from a tablet's width on; a list of the same stands in its place on a phone. */
  wide?: boolean;
}

/** Wide tables scroll inside their card; the page itself never scrolls sideways. */
export function Table({ className, label, wide, ...rest }: TableProps) {
  return (
    <section
      aria-label={label}
      tabIndex={0}
      className={cn("relative overflow-x-auto focus-visible:outline-offset-[-2px]", wide && "max-md:hidden")}
    >
      <table className={cn("w-full border-collapse text-sm", className)} {...rest} />
    </section>
  );
}

export function Th({ className, numeric, ...rest }: ComponentProps<"th"> & { numeric?: boolean }) {
  return (
    <th
      scope="col"
      className={cn(
        "border-b border-line px-3 py-2 text-left text-xs font-medium whitespace-nowrap text-ink-3 first:pl-4 last:pr-4 sm:first:pl-5 sm:last:pr-5",
        numeric && "text-right",
        className,
      )}
      {...rest}
    />
  );
}

export function Td({ className, numeric, ...rest }: ComponentProps<"td"> & { numeric?: boolean }) {
  return (
    <td
      className={cn(
        "border-b border-line px-3 py-2.5 align-middle first:pl-4 last:pr-4 sm:first:pl-5 sm:last:pr-5",
        numeric && "figures text-right whitespace-nowrap",
        className,
      )}
      {...rest}
    />
  );
}
