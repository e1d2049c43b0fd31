import { useQuery } from "@tanstack/react-query";
import { Link, Navigate, useSearchParams } from "react-router";
import { Card } from "@/components/ui/card";
import { platformQuery } from "@/features/platform/api";
import { useSession } from "@/features/session/api";
import { DemoAccounts } from "@/features/session/demo-accounts";
import { SignInForm } from "@/features/session/sign-in-form";
import { cn } from "@/lib/class-names";
import { safeReturnPath } from "../return-path";
import { useTitle } from "../use-title";

export function SignInPage() {
  useTitle("Sign in");
  const { user } = useSession();
  const [params] = useSearchParams();
  const { data: platform } = useQuery(platformQuery);
  if (user) return <Navigate to={safeReturnPath(params.get("next"))} replace />;
  const demo = platform?.demo ?? false;
  return (
    <div className="page grid justify-center pt-10 sm:pt-16">
      <div className={cn("grid w-full gap-6", demo ? "md:w-[52rem] md:grid-cols-2" : "sm:w-[26rem]")}>
        <Card className="p-6 sm:p-7">
          <h1 className="text-xl font-semibold">Sign in</h1>
          <p className="mt-1 mb-5 text-ink-2">
            New here?{" "}
            <Link
              to={{ pathname: "/sign-up", search: params.toString() }}
              className="text-accent-ink underline underline-offset-4"
            >
              Create an account
            </Link>
          </p>
          <SignInForm />
        </Card>
        {demo ? (
          <Card className="border-dashed bg-transparent p-6 shadow-none sm:p-7">
            <h2 className="font-semibold">Look around in the demo</h2>
            <p className="mt-1 mb-5 text-ink-2">
              This platform runs with demo accounts. Choose one; the wallet is sandbox money.
            </p>
            <DemoAccounts />
          </Card>
        ) : null}
      </div>
    </div>
  );
}
