import { useState } from "react";
import { Ago } from "@/components/ago";
import { Button } from "@/components/ui/button";
import { Card, CardHeader } from "@/components/ui/card";
import { Confirm } from "@/components/ui/dialog";
import { Field, Select, Textarea } from "@/components/ui/field";
import { ProblemNotice } from "@/components/ui/states";
import { type Case, type Cause, useRule, useUndoRuling } from "./cases-api";
import { CAUSES, consequence } from "./record";

const REASON_MIN = 3;
const REASON_MAX = 500;
const isCause = (text: string): text is Cause => text in CAUSES;

/** An admin's word on whose doing it was. It wins over the evidence, and can be taken back. */
export function RulingForm({ incident }: { incident: Case }) {
  const rule = useRule(incident.id);
  const undo = useUndoRuling(incident.id);
  const [cause, setCause] = useState<Cause | "">("");
  const [reason, setReason] = useState("");
  const [asked, setAsked] = useState(false);
  const standing = incident.rulings.find(({ undone_at }) => undone_at === null);
  const fault = {
    cause: cause === "" ? "Choose one." : undefined,
    reason: reason.trim().length < REASON_MIN ? "A sentence; the owner reads it." : undefined,
  };
  return (
    <Card>
      <CardHeader
        title={standing ? "Ruled" : "Rule on it"}
        description={
          standing
            ? "A ruling stands. Another one takes its place."
            : "Your word wins over the evidence. The score follows at once."
        }
      />
      {standing ? (
        <div className="grid gap-3 border-b border-line p-4 sm:px-5">
          <p className="text-sm">
            <span className="font-medium">It was {CAUSES[standing.cause]}.</span> {standing.reason}
          </p>
          <p className="text-xs text-ink-3">
            {standing.by ? `${standing.by}, ` : ""}
            <Ago at={standing.at} />
            {incident.evidence_cause ? `; the evidence said ${CAUSES[incident.evidence_cause]}` : ""}
          </p>
          <ProblemNotice error={undo.error} />
          <div>
            <Confirm
              title="Take the ruling back?"
              description={<p>What the evidence says holds again, and the score follows it.</p>}
              confirmLabel="Take it back"
              tone="primary"
              onConfirm={() => undo.mutate()}
              trigger={
                <Button size="sm" busy={undo.isPending}>
                  Take the ruling back
                </Button>
              }
            />
          </div>
        </div>
      ) : null}
      <form
        noValidate
        aria-label="Ruling"
        className="grid gap-4 p-4 sm:px-5"
        onSubmit={(event) => {
          event.preventDefault();
          setAsked(true);
          if (cause === "" || fault.reason) return;
          rule.mutate(
            { cause, reason: reason.trim() },
            {
              onSuccess: () => {
                setAsked(false);
                setCause("");
                setReason("");
              },
            },
          );
        }}
      >
        <Field
          label="It was"
          error={asked ? fault.cause : undefined}
          hint={cause === "" ? undefined : consequence(cause, incident.kind)}
        >
          {(control) => (
            <Select
              {...control}
              value={cause}
              onChange={({ target }) => setCause(isCause(target.value) ? target.value : "")}
            >
              <option value="">Choose…</option>
              {Object.entries(CAUSES).map(([value, words]) => (
                <option key={value} value={value}>
                  {words}
                </option>
              ))}
            </Select>
          )}
        </Field>
        <Field label="Why" hint="The owner reads it." error={asked ? fault.reason : undefined}>
          {(control) => (
            <Textarea
              {...control}
              rows={3}
              maxLength={REASON_MAX}
              value={reason}
              onChange={({ target }) => setReason(target.value)}
            />
          )}
        </Field>
        <ProblemNotice error={rule.error} />
        <Button type="submit" variant="primary" busy={rule.isPending}>
          {standing ? "Rule anew" : "Rule"}
        </Button>
      </form>
    </Card>
  );
}
