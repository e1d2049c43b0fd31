import type { ReactNode } from "react";
import { cn } from "@/lib/class-names";

interface PageHeaderProps {
  title: ReactNode;
  description?: ReactNode;
  actions?: ReactNode;
}

export function PageHeader({ title, description, actions }: PageHeaderProps) {
  return (
    // The action stands beside the title at every width; the description has the row below on a phone.
    <header className="grid grid-cols-[minmax(0,1fr)_auto] items-center gap-x-6 gap-y-1 pt-6 pb-5 sm:pt-8">
      <h1 className="flex min-h-9 items-center text-xl font-semibold">{title}</h1>
      {actions ? (
        <div className="flex flex-wrap items-center justify-end gap-2 sm:row-span-2 sm:self-end">
          {actions}
        </div>
      ) : null}
      {description ? (
        <p className={cn("col-span-full max-w-2xl text-ink-2", actions && "sm:col-span-1")}>{description}</p>
      ) : null}
    </header>
  );
}
