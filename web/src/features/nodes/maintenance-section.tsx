import { CalendarClock, LifeBuoy, TriangleAlert } from "lucide-react";
import { useState } from "react";
import { Button } from "@/components/ui/button";
import { Dialog } from "@/components/ui/dialog";
import { Field, Input, Select } from "@/components/ui/field";
import { ProblemNotice } from "@/components/ui/states";
import { cn } from "@/lib/class-names";
import { formatClock, formatDuration, formatInstant } from "@/lib/time";
import { type Node, useCancelMaintenance, usePlanMaintenance, useReplacementPool } from "./api";

const LENGTHS_S = [1800, 3600, 7200, 14_400, 28_800, 86_400];

/** What `<input type="datetime-local">` takes: local time, to the minute. */
function localMinute(at: Date): string {
  const local = new Date(at.getTime() - at.getTimezoneOffset() * 60_000);
  return local.toISOString().slice(0, 16);
}

function PlanDialog({ node }: { node: Node }) {
  const [open, setOpen] = useState(false);
  const [starts, setStarts] = useState("");
  const [lengthS, setLengthS] = useState(7200);
  const [reason, setReason] = useState("");
  const plan = usePlanMaintenance(node.id);
  const at = new Date(starts);
  const isGood = !Number.isNaN(at.getTime());
  return (
    <>
      <Button
        size="sm"
        variant="ghost"
        onClick={() => {
          plan.reset();
          setStarts(localMinute(new Date(Date.now() + 3_600_000)));
          setOpen(true);
        }}
      >
        <CalendarClock aria-hidden /> Plan maintenance
      </Button>
      <Dialog
        open={open}
        onOpenChange={setOpen}
        title={`Maintenance of ${node.name}`}
        description="Its jobs are moved before it begins, it takes nothing that would run into it, and it is back by itself after it."
      >
        <form
          noValidate
          className="grid gap-4"
          onSubmit={(event) => {
            event.preventDefault();
            if (!isGood) return;
            plan.mutate(
              {
                starts_at: at.toISOString(),
                duration_s: lengthS,
                reason: reason.trim() === "" ? null : reason.trim(),
              },
              { onSuccess: () => setOpen(false) },
            );
          }}
        >
          <Field label="Begins" hint="In your time." error={isGood ? undefined : "A day and a time."}>
            {(control) => (
              <Input
                {...control}
                type="datetime-local"
                value={starts}
                onChange={({ target }) => setStarts(target.value)}
              />
            )}
          </Field>
          <Field label="Lasts">
            {(control) => (
              <Select
                {...control}
                value={lengthS}
                onChange={({ target }) => setLengthS(Number(target.value))}
              >
                {LENGTHS_S.map((seconds) => (
                  <option key={seconds} value={seconds}>
                    {formatDuration(seconds)}
                  </option>
                ))}
              </Select>
            )}
          </Field>
          <Field label="Why" optional hint="A sentence for the renters whose jobs move.">
            {(control) => (
              <Input
                {...control}
                maxLength={200}
                value={reason}
                onChange={({ target }) => setReason(target.value)}
              />
            )}
          </Field>
          <ProblemNotice error={plan.error} />
          <Button type="submit" variant="primary" size="lg" busy={plan.isPending}>
            Plan it
          </Button>
        </form>
      </Dialog>
    </>
  );
}

/** Planned windows, failed GPUs, and whether the node stands by for jobs that lost theirs. */
export function MaintenanceSection({ node, className }: { node: Node; className?: string }) {
  const cancel = useCancelMaintenance(node.id);
  const pool = useReplacementPool(node.id);
  const windows = node.windows ?? [];
  const failed = node.devices.filter(({ fault }) => fault);
  return (
    <div className={cn("grid gap-2 border-t border-line px-4 py-2.5 text-sm sm:px-5", className)}>
      {failed.map((device) => (
        <p key={device.id} className="flex items-start gap-2 text-bad">
          <TriangleAlert className="mt-0.5 size-4 shrink-0" aria-hidden />
          <span>
            {device.model.replaceAll("_", " ")} ({device.uuid}) is out of the offer: {device.fault}{" "}
            {device.back_at
              ? `It is there again, and offered from ${formatClock(device.back_at)} on unless it fails again.`
              : "Jobs on the other GPUs run on."}
          </span>
        </p>
      ))}
      {windows.map((window) => (
        <div key={window.id} className="flex flex-wrap items-center justify-between gap-x-3 gap-y-1">
          <p className="flex items-center gap-2">
            <CalendarClock className="size-4 shrink-0 text-ink-3" aria-hidden />
            <span>
              {window.state === "active" ? "In maintenance until " : "Maintenance from "}
              {window.state === "active"
                ? formatInstant(window.ends_at)
                : `${formatInstant(window.starts_at)} until ${formatInstant(window.ends_at)}`}
              {window.reason ? <span className="text-ink-2"> · {window.reason}</span> : null}
            </span>
          </p>
          <Button
            size="sm"
            variant="ghost"
            busy={cancel.isPending && cancel.variables === window.id}
            onClick={() => cancel.mutate(window.id)}
          >
            {window.state === "active" ? "End it now" : "Cancel"}
          </Button>
        </div>
      ))}
      <ProblemNotice error={cancel.error ?? pool.error} />
      <div className="-mx-2 flex flex-wrap gap-1">
        <PlanDialog node={node} />
        <Button
          size="sm"
          variant="ghost"
          busy={pool.isPending}
          title="Only jobs that lost their node, at its offer's price; those are offered it before the market."
          onClick={() => pool.mutate(!node.in_pool)}
        >
          <LifeBuoy aria-hidden /> {node.in_pool ? "Leave the replacement pool" : "Join the replacement pool"}
        </Button>
      </div>
    </div>
  );
}
