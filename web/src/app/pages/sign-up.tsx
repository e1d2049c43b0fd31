import { Link, Navigate, useSearchParams } from "react-router";
import { Card } from "@/components/ui/card";
import { useSession } from "@/features/session/api";
import { SignUpForm } from "@/features/session/sign-up-form";
import { safeReturnPath } from "../return-path";
import { useTitle } from "../use-title";

export function SignUpPage() {
  useTitle("Create an account");
  const { user } = useSession();
  const [params] = useSearchParams();
  if (user) return <Navigate to={safeReturnPath(params.get("next"))} replace />;
  return (
    <div className="page grid grid-cols-[minmax(0,32rem)] justify-center pt-10 sm:pt-16">
      <Card className="p-6 sm:p-7">
        <h1 className="text-xl font-semibold">Create an account</h1>
        <p className="mt-1 mb-5 text-ink-2">
          Have one already?{" "}
          <Link
            to={{ pathname: "/sign-in", search: params.toString() }}
            className="text-accent-ink underline underline-offset-4"
          >
            Sign in
          </Link>
        </p>
        <SignUpForm />
      </Card>
    </div>
  );
}
