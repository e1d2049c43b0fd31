import { zodResolver } from "@hookform/resolvers/zod";
import { useForm } from "react-hook-form";
import { z } from "zod";
import { ApiProblem } from "@/api/problem";
import { Button } from "@/components/ui/button";
import { Field, Input } from "@/components/ui/field";
import { ProblemNotice } from "@/components/ui/states";
import { useSignUp } from "./api";

const schema = z.object({
  name: z.string().max(200),
  email: z.email("Enter an e-mail address."),
  password: z.string().min(8, "Use at least 8 characters.").max(1024),
  use: z.enum(["renter", "owner", "both"]),
});

const USES = [
  { value: "renter", label: "Rent GPUs", note: "Run jobs and pay by the second" },
  { value: "owner", label: "Earn with mine", note: "List your machine's GPUs" },
  { value: "both", label: "Both", note: "One account for either" },
] as const;

export function SignUpForm() {
  const signUp = useSignUp();
  const form = useForm({
    resolver: zodResolver(schema),
    defaultValues: { name: "", email: "", password: "", use: "renter" as const },
  });
  const { errors } = form.formState;
  const refused = signUp.error instanceof ApiProblem ? signUp.error : null;
  const emailTaken = refused?.code === "email_taken" ? refused.detail : undefined;
  const passwordRefused = refused?.code === "password_refused" ? refused.detail : undefined;
  return (
    <form
      noValidate
      className="grid gap-4"
      aria-label="Create an account"
      onSubmit={form.handleSubmit(({ use, ...values }) =>
        signUp.mutate({ ...values, roles: use === "both" ? ["renter", "owner"] : [use] }),
      )}
    >
      <fieldset className="grid gap-1.5">
        <legend className="mb-1.5 text-sm font-medium">What brings you here?</legend>
        <div className="grid gap-2 sm:grid-cols-3">
          {USES.map(({ value, label, note }) => (
            <label
              key={value}
              className="cursor-pointer rounded-md border border-line-strong bg-surface p-3 shadow-1 transition-colors hover:bg-hover has-checked:border-accent-ink has-checked:bg-accent-soft has-focus-visible:outline-2 has-focus-visible:outline-accent-ink"
            >
              <input type="radio" value={value} className="sr-only" {...form.register("use")} />
              <span className="block text-sm font-medium">{label}</span>
              <span className="block text-xs text-ink-2">{note}</span>
            </label>
          ))}
        </div>
      </fieldset>
      <Field label="Name" optional error={errors.name?.message}>
        {(control) => <Input autoComplete="name" {...control} {...form.register("name")} />}
      </Field>
      <Field label="E-mail" error={errors.email?.message ?? emailTaken}>
        {(control) => <Input type="email" autoComplete="username" {...control} {...form.register("email")} />}
      </Field>
      <Field
        label="Password"
        hint="At least 8 characters."
        error={errors.password?.message ?? passwordRefused}
      >
        {(control) => (
          <Input type="password" autoComplete="new-password" {...control} {...form.register("password")} />
        )}
      </Field>
      {emailTaken || passwordRefused ? null : <ProblemNotice error={signUp.error} />}
      <Button type="submit" variant="primary" size="lg" busy={signUp.isPending}>
        Create account
      </Button>
    </form>
  );
}
