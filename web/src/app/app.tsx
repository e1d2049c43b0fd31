import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { StrictMode, useEffect } from "react";
import { RouterProvider } from "react-router";
import { onSignedOut } from "@/api/client";
import { ApiProblem } from "@/api/problem";
import { TooltipProvider } from "@/components/ui/tooltip";
import { forgetSession } from "@/features/session/api";
import { router } from "./router";

const RETRIES_MAX = 2;

const client = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 2_000,
      // What the platform refused stays refused; only silence and its own failures are worth another try.
      retry: (count, error) =>
        count < RETRIES_MAX && (!(error instanceof ApiProblem) || error.status === 0 || error.status >= 500),
      retryDelay: (attempt) => Math.min(4_000, 400 * 2 ** attempt),
    },
  },
});

export function App() {
  useEffect(() => onSignedOut(() => forgetSession(client)), []);
  return (
    <StrictMode>
      <QueryClientProvider client={client}>
        <TooltipProvider>
          <RouterProvider router={router} />
        </TooltipProvider>
      </QueryClientProvider>
    </StrictMode>
  );
}
