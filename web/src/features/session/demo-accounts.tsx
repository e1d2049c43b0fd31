import { ChevronRight, Gauge, HardDrive, ShieldCheck, UserRound } from "lucide-react";
import { ProblemNotice } from "@/components/ui/states";
import { useSignIn } from "./api";

/** They exist only on a platform started with --demo, which answers on loopback alone. */
const DEMO_PASSWORD = "demo-gp4u";
const ACCOUNTS = [
  { role: "renter", icon: UserRound, does: "searches, books and runs jobs" },
  { role: "owner", icon: HardDrive, does: "lists GPUs and earns" },
  { role: "operator", icon: Gauge, does: "an owner in the Catalyst programme" },
  { role: "admin", icon: ShieldCheck, does: "keeps the market in order" },
] as const;

export function DemoAccounts() {
  const signIn = useSignIn();
  return (
    <div className="grid gap-2">
      {ACCOUNTS.map(({ role, icon: Icon, does }) => (
        <button
          key={role}
          type="button"
          disabled={signIn.isPending}
          onClick={() => signIn.mutate({ email: `${role}@gp4u.demo`, password: DEMO_PASSWORD })}
          className="group flex items-center gap-3 rounded-md border border-line bg-surface px-3 py-2.5 text-left shadow-1 transition-colors hover:border-line-strong hover:bg-hover disabled:opacity-60"
        >
          <Icon className="size-4 text-ink-3" aria-hidden />
          <span className="min-w-0 flex-1">
            <span className="block text-sm font-medium">Sign in as demo {role}</span>
            <span className="block text-xs text-ink-2">{does}</span>
          </span>
          <ChevronRight
            className="size-4 text-ink-3 transition-transform group-hover:translate-x-0.5"
            aria-hidden
          />
        </button>
      ))}
      <ProblemNotice error={signIn.error} />
    </div>
  );
}
