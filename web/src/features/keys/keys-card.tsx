import { zodResolver } from "@hookform/resolvers/zod";
import { useQuery } from "@tanstack/react-query";
import { KeyRound, Plus } from "lucide-react";
import { useState } from "react";
import { useForm } from "react-hook-form";
import { z } from "zod";
import { Ago } from "@/components/ago";
import { Badge } from "@/components/ui/badge";
import { Button } from "@/components/ui/button";
import { Card, CardHeader } from "@/components/ui/card";
import { CodeLine } from "@/components/ui/copy";
import { Confirm, Dialog } from "@/components/ui/dialog";
import { Field, Input } from "@/components/ui/field";
import { Empty, Failed, Notice, ProblemNotice, SkeletonRows } from "@/components/ui/states";
import { type ApiKey, keysQuery, useCreateKey, useRevokeKey } from "./api";

export function KeysCard({ mayAdmin }: { mayAdmin: boolean }) {
  const { data, isPending, error, refetch } = useQuery(keysQuery);
  const revoke = useRevokeKey();
  const keys = data?.items.filter(({ revoked_at }) => revoked_at === null) ?? [];
  return (
    <Card>
      <CardHeader
        title="API keys"
        description="For programs: the REST API, the Python SDK and CI. The gp4u command signs in by itself."
        actions={<CreateKeyDialog mayAdmin={mayAdmin} />}
      />
      {revoke.error ? (
        <div className="p-4">
          <ProblemNotice error={revoke.error} />
        </div>
      ) : null}
      {isPending ? (
        <SkeletonRows rows={2} />
      ) : !data ? (
        <Failed error={error} onRetry={() => void refetch()} />
      ) : keys.length === 0 ? (
        <Empty icon={KeyRound} title="No keys" className="py-10">
          A key is shown once, when it is made.
        </Empty>
      ) : (
        <ul className="divide-y divide-line">
          {keys.map((key) => (
            <KeyRow
              key={key.id}
              apiKey={key}
              busy={revoke.isPending}
              onRevoke={() => revoke.mutate(key.id)}
            />
          ))}
        </ul>
      )}
    </Card>
  );
}

function KeyRow({ apiKey, busy, onRevoke }: { apiKey: ApiKey; busy: boolean; onRevoke: () => void }) {
  return (
    <li className="flex flex-wrap items-center gap-x-4 gap-y-1 px-4 py-3 sm:px-5">
      <div className="min-w-0 flex-1 basis-48">
        <p className="flex flex-wrap items-center gap-2 font-medium">
          {apiKey.name}
          {apiKey.scopes.map((scope) => (
            <Badge key={scope}>{scope}</Badge>
          ))}
        </p>
        <p className="mt-0.5 text-xs text-ink-3">
          <code className="font-mono">{apiKey.prefix}…</code> · made <Ago at={apiKey.created_at} /> ·{" "}
          {apiKey.last_used_at ? (
            <>
              used <Ago at={apiKey.last_used_at} />
            </>
          ) : (
            "never used"
          )}
        </p>
      </div>
      <Confirm
        title={`Revoke ${apiKey.name}?`}
        description={<p>It stops working at once, everywhere. This cannot be undone.</p>}
        confirmLabel="Revoke the key"
        onConfirm={onRevoke}
        trigger={
          <Button size="sm" disabled={busy}>
            Revoke
          </Button>
        }
      />
    </li>
  );
}

const SCOPES = ["read", "write", "admin"] as const;
const schema = z.object({
  name: z.string().trim().min(1, "Give it a name to know it by.").max(100),
  scopes: z.array(z.enum(SCOPES)).min(1, "Choose at least one scope."),
});

const SCOPE_NOTES: Record<(typeof SCOPES)[number], string> = {
  read: "see what you see",
  write: "book, run, stop, list",
  admin: "what only admins may do",
};

function CreateKeyDialog({ mayAdmin }: { mayAdmin: boolean }) {
  const [open, setOpen] = useState(false);
  const create = useCreateKey();
  const form = useForm<z.infer<typeof schema>>({
    resolver: zodResolver(schema),
    defaultValues: { name: "", scopes: ["read", "write"] },
  });
  const { errors } = form.formState;
  return (
    <>
      <Button
        onClick={() => {
          create.reset();
          form.reset();
          setOpen(true);
        }}
      >
        <Plus aria-hidden /> New key
      </Button>
      <Dialog open={open} onOpenChange={setOpen} title={create.data ? "Your new key" : "New API key"}>
        {create.data ? (
          <div className="grid gap-4">
            <CodeLine text={create.data.key} />
            <Notice tone="warn" icon={KeyRound}>
              Copy it now: it is shown this once and stored only as a hash.
            </Notice>
            <Button onClick={() => setOpen(false)}>Done</Button>
          </div>
        ) : (
          <form
            noValidate
            className="grid gap-4"
            onSubmit={form.handleSubmit((values) => create.mutate(values))}
          >
            <Field label="Name" error={errors.name?.message}>
              {(control) => <Input {...control} placeholder="nightly training" {...form.register("name")} />}
            </Field>
            <fieldset className="grid gap-1.5">
              <legend className="mb-1.5 text-sm font-medium">What it may do</legend>
              {SCOPES.filter((scope) => scope !== "admin" || mayAdmin).map((scope) => (
                <label key={scope} className="flex items-center gap-2.5 text-sm">
                  <input
                    type="checkbox"
                    value={scope}
                    className="size-4 accent-(--accent)"
                    {...form.register("scopes")}
                  />
                  {scope} <span className="text-ink-3">{SCOPE_NOTES[scope]}</span>
                </label>
              ))}
              {errors.scopes ? (
                <p role="alert" className="text-xs text-bad">
                  {errors.scopes.message}
                </p>
              ) : null}
            </fieldset>
            <ProblemNotice error={create.error} />
            <Button type="submit" variant="primary" size="lg" busy={create.isPending}>
              Make the key
            </Button>
          </form>
        )}
      </Dialog>
    </>
  );
}
