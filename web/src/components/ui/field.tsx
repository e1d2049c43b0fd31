import type { ComponentProps, ReactNode } from "react";
import { useId } from "react";
import { cn } from "@/lib/class-names";

export const inputStyles = cn(
  "w-full rounded-md border border-line-strong bg-surface px-3 text-ink shadow-1",
  "transition-[border-color,box-shadow] duration-(--fast)",
  "hover:border-ink-3 focus-visible:border-accent-ink focus-visible:outline-2 focus-visible:outline-offset-0 focus-visible:outline-accent-ink/40",
  "aria-invalid:border-bad disabled:opacity-60",
);

export function Input({ className, ...rest }: ComponentProps<"input">) {
  return <input className={cn(inputStyles, "h-9 text-base sm:text-sm", className)} {...rest} />;
}

export function Textarea({ className, ...rest }: ComponentProps<"textarea">) {
  return <textarea className={cn(inputStyles, "py-2 text-base sm:text-sm", className)} {...rest} />;
}

export function Select({ className, ...rest }: ComponentProps<"select">) {
  return (
    <select
      className={cn(inputStyles, "chevron h-9 appearance-none pr-8 text-base sm:text-sm", className)}
      {...rest}
    />
  );
}

interface ControlProps {
  id: string;
  "aria-invalid"?: true | undefined;
  "aria-describedby"?: string | undefined;
}

interface FieldProps {
  label: ReactNode;
  hint?: ReactNode;
  error?: ReactNode;
  className?: string;
  optional?: boolean;
  children: (control: ControlProps) => ReactNode;
}

/** Label, control, hint and error, tied together for screen readers. */
export function Field({ label, hint, error, className, optional, children }: FieldProps) {
  const id = useId();
  const noteId = `${id}-note`;
  return (
    <div className={cn("grid content-start gap-1.5", className)}>
      <label htmlFor={id} className="flex items-baseline justify-between text-sm font-medium text-ink">
        <span>{label}</span>
        {optional ? <span className="text-xs font-normal text-ink-3">optional</span> : null}
      </label>
      {children({
        id,
        "aria-invalid": error ? true : undefined,
        "aria-describedby": error || hint ? noteId : undefined,
      })}
      {error ? (
        <p id={noteId} role="alert" className="text-xs text-bad">
          {error}
        </p>
      ) : hint ? (
        <p id={noteId} className="text-xs text-ink-3">
          {hint}
        </p>
      ) : null}
    </div>
  );
}
