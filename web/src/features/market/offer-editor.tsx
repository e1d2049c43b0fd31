import { Check, Pause, Pencil, Play, Tag, X } from "lucide-react";
import { type FormEvent, type ReactNode, useState } from "react";
import { Money } from "@/components/money";
import { Badge } from "@/components/ui/badge";
import { Button } from "@/components/ui/button";
import { Input } from "@/components/ui/field";
import { ProblemNotice } from "@/components/ui/states";
import { moneyInput, parseMoney } from "@/lib/money";
import { formatSpan } from "@/lib/time";
import { type Offer, useChangeOffer, useListOffer } from "./api";

const PRICE_MIN = 1_000;
const PRICE_MAX = 1_000_000_000;

const priceFault = (micros: number | null): string | null =>
  micros === null || micros < PRICE_MIN || micros > PRICE_MAX
    ? "A price between 0.001 and 1000 per GPU-hour."
    : null;

/** An owner's terms, changed where they stand. Running bookings keep the terms they were made with. */
export function OfferEditor({
  offer,
  nodeId,
  nodeName,
}: {
  offer: Offer | undefined;
  nodeId: string;
  nodeName: string;
}) {
  const [editing, setEditing] = useState(false);
  const change = useChangeOffer();
  const list = useListOffer();
  const error = change.error ?? list.error;

  if (!offer || offer.state === "withdrawn") {
    return (
      <div className="grid gap-2">
        <PriceForm
          label={`Price of ${nodeName}`}
          initial=""
          submit="List it"
          busy={list.isPending}
          onSubmit={(micros) =>
            list.mutate({
              node_id: nodeId,
              price_per_gpu_hour_micros: micros,
              duration_s_min: 60,
              duration_s_max: 604_800,
            })
          }
          lead={
            <span className="flex items-center gap-1.5 text-sm text-ink-2">
              <Tag className="size-4 text-ink-3" aria-hidden /> Not listed. Set a price per GPU-hour:
            </span>
          }
        />
        <ProblemNotice error={error} />
      </div>
    );
  }

  const paused = offer.state === "paused";
  return (
    <div className="grid gap-2">
      <div className="flex flex-wrap items-center gap-x-4 gap-y-2">
        {editing ? (
          <PriceForm
            label={`Price of ${nodeName}`}
            initial={moneyInput(offer.price_per_gpu_hour_micros)}
            submit="Save"
            busy={change.isPending}
            onCancel={() => setEditing(false)}
            onSubmit={(micros) =>
              change.mutate(
                { offerId: offer.id, patch: { price_per_gpu_hour_micros: micros } },
                { onSuccess: () => setEditing(false) },
              )
            }
          />
        ) : (
          <span className="flex items-center gap-1.5">
            <span className="font-semibold">
              <Money micros={offer.price_per_gpu_hour_micros} precision="rate" />
            </span>
            <span className="text-sm text-ink-3">per GPU-hour</span>
            <Button
              variant="ghost"
              size="icon-sm"
              aria-label={`Change the price of ${nodeName}`}
              onClick={() => {
                change.reset();
                setEditing(true);
              }}
            >
              <Pencil aria-hidden />
            </Button>
          </span>
        )}
        <Badge tone={paused ? "warn" : "good"}>{paused ? "paused" : "listed"}</Badge>
        <span className="text-xs text-ink-3">
          {formatSpan(offer.duration_s_min)} to {formatSpan(offer.duration_s_max)}
          {offer.interruptible_floor_micros === null ? null : (
            <>
              {" · interruptible from "}
              <Money micros={offer.interruptible_floor_micros} precision="rate" />
            </>
          )}
        </span>
        <Button
          size="sm"
          className="ml-auto"
          busy={change.isPending && !editing}
          onClick={() => change.mutate({ offerId: offer.id, patch: { state: paused ? "listed" : "paused" } })}
        >
          {paused ? <Play aria-hidden /> : <Pause aria-hidden />}
          {paused ? "List again" : "Pause"}
        </Button>
      </div>
      <ProblemNotice error={error} />
    </div>
  );
}

interface PriceFormProps {
  label: string;
  initial: string;
  submit: string;
  busy: boolean;
  lead?: ReactNode;
  onSubmit: (micros: number) => void;
  onCancel?: () => void;
}

function PriceForm({ label, initial, submit, busy, lead, onSubmit, onCancel }: PriceFormProps) {
  const [text, setText] = useState(initial);
  const [fault, setFault] = useState<string | null>(null);
  const send = (event: FormEvent) => {
    event.preventDefault();
    const micros = parseMoney(text);
    const wrong = priceFault(micros);
    setFault(wrong);
    if (!wrong && micros !== null) onSubmit(micros);
  };
  return (
    <form onSubmit={send} noValidate className="flex flex-wrap items-center gap-2">
      {lead}
      <Input
        aria-label={label}
        aria-invalid={fault ? true : undefined}
        inputMode="decimal"
        autoFocus={onCancel !== undefined}
        placeholder="0.45"
        className="figures h-8 w-24"
        value={text}
        onChange={(event) => setText(event.target.value)}
        onKeyDown={(event) => {
          if (event.key === "Escape") onCancel?.();
        }}
      />
      <Button type="submit" size="sm" variant="primary" busy={busy}>
        <Check aria-hidden /> {submit}
      </Button>
      {onCancel ? (
        <Button size="icon-sm" variant="ghost" aria-label="Keep the old price" onClick={onCancel}>
          <X aria-hidden />
        </Button>
      ) : null}
      {fault ? (
        <span role="alert" className="text-xs text-bad">
          {fault}
        </span>
      ) : null}
    </form>
  );
}
