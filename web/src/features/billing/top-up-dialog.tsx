import { CircleCheck, FlaskConical } from "lucide-react";
import { type FormEvent, type ReactNode, useRef, useState } from "react";
import { useMoney } from "@/components/money";
import { Button } from "@/components/ui/button";
import { Dialog } from "@/components/ui/dialog";
import { Field, Input } from "@/components/ui/field";
import { Notice, ProblemNotice } from "@/components/ui/states";
import { cn } from "@/lib/class-names";
import { AttemptKey } from "@/lib/identifiers";
import { parseMoney } from "@/lib/money";
import { useTopUp } from "./api";

const QUICK = ["10", "25", "100"];
const MIN_MICROS = 1_000_000;
const MAX_MICROS = 10_000_000_000;

export function TopUpDialog({ trigger }: { trigger: (open: () => void) => ReactNode }) {
  const [open, setOpen] = useState(false);
  const [text, setText] = useState("25");
  const [touched, setTouched] = useState(false);
  const topUp = useTopUp();
  const key = useRef(new AttemptKey());
  const money = useMoney();
  const micros = parseMoney(text);
  const wrong =
    micros === null
      ? "Enter an amount such as 25 or 12.50."
      : micros < MIN_MICROS || micros > MAX_MICROS
        ? `Between ${money(MIN_MICROS)} and ${money(MAX_MICROS)}.`
        : undefined;

  const submit = (event: FormEvent) => {
    event.preventDefault();
    setTouched(true);
    if (wrong || micros === null) return;
    topUp.mutate(
      { amountMicros: micros, key: key.current.for(micros) },
      {
        onSuccess: () => {
          key.current.renew();
          setOpen(false);
        },
      },
    );
  };

  return (
    <>
      {trigger(() => {
        topUp.reset();
        setTouched(false);
        setOpen(true);
      })}
      <Dialog
        open={open}
        onOpenChange={setOpen}
        title="Add money"
        description="Jobs are paid from the wallet, by the second."
      >
        <form onSubmit={submit} noValidate className="grid gap-4">
          <Notice tone="warn" icon={FlaskConical}>
            <span className="font-medium">Sandbox payment provider.</span> No card is asked for and no real
            money moves.
          </Notice>
          <Field label="Amount" error={touched ? wrong : undefined}>
            {(control) => (
              <Input
                {...control}
                inputMode="decimal"
                autoFocus
                className="figures"
                value={text}
                onChange={(event) => setText(event.target.value)}
              />
            )}
          </Field>
          <div className="flex gap-2">
            {QUICK.map((amount) => (
              <Button
                key={amount}
                size="sm"
                aria-pressed={text === amount}
                className={cn(text === amount && "border-accent-ink text-accent-ink")}
                onClick={() => setText(amount)}
              >
                {money(Number(amount) * 1_000_000)}
              </Button>
            ))}
          </div>
          <ProblemNotice error={topUp.error} />
          <Button type="submit" variant="primary" size="lg" busy={topUp.isPending}>
            {wrong || micros === null ? "Add money" : `Add ${money(micros)}`}
          </Button>
        </form>
      </Dialog>
      {topUp.isSuccess ? (
        <span role="status" className="inline-flex items-center gap-1 text-sm text-good">
          <CircleCheck className="size-4" aria-hidden /> Added
        </span>
      ) : null}
    </>
  );
}
