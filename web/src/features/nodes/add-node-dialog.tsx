import { zodResolver } from "@hookform/resolvers/zod";
import { KeyRound, Plus } from "lucide-react";
import { useState } from "react";
import { useForm } from "react-hook-form";
import { z } from "zod";
import { Button } from "@/components/ui/button";
import { CodeLine } from "@/components/ui/copy";
import { Dialog } from "@/components/ui/dialog";
import { Field, Input } from "@/components/ui/field";
import { Notice, ProblemNotice } from "@/components/ui/states";
import { formatClock } from "@/lib/time";
import { useEnrolmentToken } from "./api";

const schema = z.object({
  region: z
    .string()
    .min(2, "At least 2 characters.")
    .max(32)
    .regex(/^[a-z0-9-]+$/, "Lower case letters, digits and - only."),
  node_name: z
    .string()
    .max(63)
    .regex(/^([a-z0-9]([a-z0-9-]*[a-z0-9])?)?$/, "Lower case letters, digits and - inside."),
});

export function AddNodeDialog() {
  const [open, setOpen] = useState(false);
  const token = useEnrolmentToken();
  const form = useForm({
    resolver: zodResolver(schema),
    defaultValues: { region: "eu-west", node_name: "" },
  });
  const { errors } = form.formState;
  return (
    <>
      <Button
        variant="primary"
        onClick={() => {
          token.reset();
          form.reset();
          setOpen(true);
        }}
      >
        <Plus aria-hidden /> Add a node
      </Button>
      <Dialog
        open={open}
        onOpenChange={setOpen}
        title={token.data ? "Run this on the machine" : "Add a node"}
        description={
          token.data
            ? "The agent dials out to this platform; no port needs to be opened."
            : "You get one command to run on the machine with the GPUs."
        }
        className="sm:max-w-xl"
      >
        {token.data ? (
          <div className="grid gap-4">
            <CodeLine text={token.data.command} prompt />
            <Notice icon={KeyRound} tone="warn">
              Shown this once. The token in it is good for one machine until{" "}
              {formatClock(token.data.expires_at)}.
            </Notice>
            <ol className="grid list-decimal gap-1 pl-5 text-sm text-ink-2">
              <li>The agent measures its hardware and enrols. The node appears in your list.</li>
              <li>Set a price, and it is searchable within a second.</li>
            </ol>
            <Button onClick={() => setOpen(false)}>Done</Button>
          </div>
        ) : (
          <form
            noValidate
            className="grid gap-4"
            onSubmit={form.handleSubmit(({ region, node_name }) =>
              token.mutate({ region, node_name: node_name === "" ? null : node_name }),
            )}
          >
            <Field label="Region" hint="Where it stands, for example eu-west." error={errors.region?.message}>
              {(control) => <Input {...control} {...form.register("region")} />}
            </Field>
            <Field
              label="Name"
              optional
              hint="Left empty, the platform chooses one."
              error={errors.node_name?.message}
            >
              {(control) => <Input {...control} {...form.register("node_name")} />}
            </Field>
            <ProblemNotice error={token.error} />
            <Button type="submit" variant="primary" size="lg" busy={token.isPending}>
              Make the command
            </Button>
          </form>
        )}
      </Dialog>
    </>
  );
}
