import { Shield, ShieldCheck, ShieldOff } from "lucide-react";
import { type UseFormReturn, useWatch } from "react-hook-form";
import { Field, Input, Select, Textarea } from "@/components/ui/field";
import type { BookValues } from "./book-spec";

interface FormProps {
  form: UseFormReturn<BookValues>;
}

export const choice =
  "flex cursor-pointer items-start gap-3 rounded-md border border-line-strong p-3 transition-colors hover:bg-hover has-checked:border-accent-ink has-checked:bg-accent-soft has-focus-visible:outline-2 has-focus-visible:outline-accent-ink";

const tick = "flex cursor-pointer items-start gap-2.5 text-sm";

/** What becomes of the job when its node dies. */
export function ProtectionFields({ form }: FormProps) {
  return (
    <fieldset>
      <legend className="mb-2 text-sm font-medium">If the node dies</legend>
      <div className="grid gap-2 sm:grid-cols-3">
        <label className={choice}>
          <input type="radio" value="catalyst" className="sr-only" {...form.register("protection")} />
          <Shield className="mt-0.5 size-4 shrink-0 text-ink-3" aria-hidden />
          <span>
            <span className="block text-sm font-medium">Go on elsewhere</span>
            <span className="block text-xs text-ink-2">
              From its last checkpoint. Lost work is not charged.
            </span>
          </span>
        </label>
        <label className={choice}>
          <input type="radio" value="hot" className="sr-only" {...form.register("protection")} />
          <ShieldCheck className="mt-0.5 size-4 shrink-0 text-ink-3" aria-hidden />
          <span>
            <span className="block text-sm font-medium">Go on at once</span>
            <span className="block text-xs text-ink-2">
              A second node keeps the newest checkpoint ready, for a small rate on top.
            </span>
          </span>
        </label>
        <label className={choice}>
          <input type="radio" value="none" className="sr-only" {...form.register("protection")} />
          <ShieldOff className="mt-0.5 size-4 shrink-0 text-ink-3" aria-hidden />
          <span>
            <span className="block text-sm font-medium">End there</span>
            <span className="block text-xs text-ink-2">No protection; the job ends as failed.</span>
          </span>
        </label>
      </div>
    </fieldset>
  );
}

/** What is saved, how often, and how long it is kept. */
export function CheckpointFields({ form }: FormProps) {
  const { errors } = form.formState;
  const auto = useWatch({ control: form.control, name: "checkpointAuto" });
  return (
    <fieldset className="grid gap-4">
      <legend className="mb-3 text-sm font-medium">Checkpoints and protection</legend>
      <div className="grid gap-4 sm:grid-cols-2">
        <Field
          label="Checkpoint folder"
          hint="The job writes here; it is what its next node gets."
          error={errors.checkpointPath?.message}
        >
          {(control) => (
            <Input
              {...control}
              spellCheck={false}
              className="font-mono"
              {...form.register("checkpointPath")}
            />
          )}
        </Field>
        <Field
          label="What a checkpoint saves"
          hint="Whole: memory and all, for jobs that save nothing themselves."
          error={errors.checkpointSource?.message}
        >
          {(control) => (
            <Select {...control} {...form.register("checkpointSource")}>
              <option value="application">The checkpoint folder</option>
              <option value="auto">The whole job where its node can, else the folder</option>
              <option value="transparent">The whole job, only on nodes that can</option>
            </Select>
          )}
        </Field>
        <div className="grid content-start gap-2.5">
          <Field
            label="Save every (s)"
            hint={auto ? "Until the cost of a checkpoint is known." : "And whenever the job asks."}
            error={errors.checkpointEveryS?.message}
          >
            {(control) => (
              <Input
                {...control}
                type="number"
                min={1}
                className="figures"
                {...form.register("checkpointEveryS", { valueAsNumber: true })}
              />
            )}
          </Field>
          <label className={tick}>
            <input
              type="checkbox"
              className="mt-0.5 size-4 accent-(--accent)"
              {...form.register("checkpointAuto")}
            />
            <span>
              Choose for me
              <span className="block text-xs text-ink-3">
                Follows the node's risk and what a checkpoint costs.
              </span>
            </span>
          </label>
        </div>
        <div className="grid grid-cols-2 content-start gap-3">
          <Field label="Keep the last" optional hint="Newest ones." error={errors.keepLast?.message}>
            {(control) => (
              <Input {...control} inputMode="numeric" className="figures" {...form.register("keepLast")} />
            )}
          </Field>
          <Field label="Keep hours" optional hint="One of each hour." error={errors.keepHourly?.message}>
            {(control) => (
              <Input {...control} inputMode="numeric" className="figures" {...form.register("keepHourly")} />
            )}
          </Field>
          <label className={`${tick} col-span-2`}>
            <input
              type="checkbox"
              className="mt-0.5 size-4 accent-(--accent)"
              {...form.register("checkpointVerify")}
            />
            <span>
              Read every file each time
              <span className="block text-xs text-ink-3">
                For programs that change files without changing their times. Slower.
              </span>
            </span>
          </label>
        </div>
      </div>
      <Field
        label="Files that may arrive after the start"
        optional
        hint="Patterns as in a .gitignore, one a line: the job goes on before these are there."
        error={errors.checkpointLazy?.message}
      >
        {(control) => (
          <Textarea
            {...control}
            rows={2}
            spellCheck={false}
            placeholder="datasets/**"
            className="font-mono"
            {...form.register("checkpointLazy")}
          />
        )}
      </Field>
    </fieldset>
  );
}
