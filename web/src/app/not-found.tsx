import { Compass } from "lucide-react";
import { Link } from "react-router";
import { Button } from "@/components/ui/button";
import { Empty } from "@/components/ui/states";
import { useTitle } from "./use-title";

export function NotFound() {
  useTitle("Not found");
  return (
    <>
      <h1 className="sr-only">Not found</h1>
      <Empty
        icon={Compass}
        title="There is no page here"
        className="py-28"
        actions={
          <Button asChild variant="primary">
            <Link to="/search">Search GPUs</Link>
          </Button>
        }
      >
        The address may be mistyped, or what it named is gone.
      </Empty>
    </>
  );
}
