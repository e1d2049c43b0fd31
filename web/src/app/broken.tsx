import { Bug } from "lucide-react";
import { isRouteErrorResponse, useRouteError } from "react-router";
import { Button } from "@/components/ui/button";
import { Empty } from "@/components/ui/states";
import { NotFound } from "./not-found";

/** A page that fell over. A release may have replaced the files it wanted; loading anew mends that as well. */
export function Broken() {
  const error = useRouteError();
  if (isRouteErrorResponse(error) && error.status === 404) return <NotFound />;
  return (
    <>
      <h1 className="sr-only">This page broke</h1>
      <Empty
        icon={Bug}
        title="This page broke"
        className="py-28"
        actions={
          <Button variant="primary" onClick={() => window.location.reload()}>
            Load it again
          </Button>
        }
      >
        <p>Your jobs are not affected. If it happens again, this is the message to report:</p>
        <p className="mt-2 font-mono text-xs break-words">
          {error instanceof Error ? error.message : "unknown error"}
        </p>
      </Empty>
    </>
  );
}
