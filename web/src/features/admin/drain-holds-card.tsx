import { useQuery } from "@tanstack/react-query";
import { ShieldCheck } from "lucide-react";
import { useState } from "react";
import { Ago } from "@/components/ago";
import { Badge } from "@/components/ui/badge";
import { Button } from "@/components/ui/button";
import { Card, CardHeader } from "@/components/ui/card";
import { Field, Input } from "@/components/ui/field";
import { Empty, Failed, ProblemNotice, SkeletonRows, Stale } from "@/components/ui/states";
import { plural } from "@/lib/units";
import { type DrainHold, drainHoldsQuery, useDecideDrainHold } from "./api";

const TONES = { held: "warn", confirmed: "bad", dismissed: "good", lapsed: "neutral" } as const;

/** Signs of failing that too many nodes showed at once: nothing moves until an admin has looked. */
export function DrainHoldsCard() {
  const { data, isPending, isError, error, refetch } = useQuery(drainHoldsQuery);
  return (
    <Card className="overflow-hidden">
      <CardHeader
        title="Held drains"
        description="A sign of failing that much of the fleet shows at once is more likely an update of the driver: it moves nobody before an admin has looked."
      />
      {isPending ? (
        <SkeletonRows rows={2} />
      ) : !data ? (
        <Failed error={error} onRetry={() => void refetch()} />
      ) : data.items.length === 0 ? (
        <Empty icon={ShieldCheck} title="No drain is held" className="py-10">
          A single GPU that shows signs of failing is drained by itself.
        </Empty>
      ) : (
        <>
          {isError ? (
            <div className="p-4">
              <Stale error={error} onRetry={() => void refetch()} />
            </div>
          ) : null}
          <ul className="divide-y divide-line">
            {data.items.map((hold) => (
              <li key={hold.id} className="grid gap-2 px-4 py-3 text-sm sm:px-5" data-hold={hold.state}>
                <Hold hold={hold} />
              </li>
            ))}
          </ul>
        </>
      )}
    </Card>
  );
}

function Hold({ hold }: { hold: DrainHold }) {
  return (
    <>
      <p className="flex flex-wrap items-center gap-2">
        <span className="font-medium">
          {hold.kind === "xid" ? "XID" : hold.kind} {hold.code}
        </span>
        <Badge tone={TONES[hold.state]}>{hold.state}</Badge>
        <span className="text-xs text-ink-3">
          {plural(hold.nodes_held, "node")} held · began <Ago at={hold.began_at} />
        </span>
      </p>
      <p className="text-ink-2 [overflow-wrap:anywhere]">{hold.reason}</p>
      {hold.decided_reason ? <p className="text-xs text-ink-3">{hold.decided_reason}</p> : null}
      {hold.state === "held" ? <Decision holdId={hold.id} /> : null}
    </>
  );
}

function Decision({ holdId }: { holdId: string }) {
  const [reason, setReason] = useState("");
  const decide = useDecideDrainHold();
  const said = reason.trim();
  const say = (decision: "confirmed" | "dismissed") => decide.mutate({ holdId, decision, reason: said });
  return (
    <div className="grid gap-2">
      <Field
        label="Why"
        hint="Kept with the decision, which goes for a day for whatever else shows the sign."
      >
        {(control) => (
          <Input
            {...control}
            value={reason}
            maxLength={500}
            onChange={(event) => setReason(event.target.value)}
          />
        )}
      </Field>
      <div className="flex flex-wrap gap-2">
        <Button size="sm" disabled={!said} busy={decide.isPending} onClick={() => say("dismissed")}>
          No failure: they stay
        </Button>
        <Button
          size="sm"
          variant="danger"
          disabled={!said}
          busy={decide.isPending}
          onClick={() => say("confirmed")}
        >
          They fail: drain them
        </Button>
      </div>
      <ProblemNotice error={decide.error} />
    </div>
  );
}
