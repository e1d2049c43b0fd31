import { infiniteQueryOptions, queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";
import { answered, api, type Schemas } from "@/api/client";

export type Overview = Schemas["AdminOverviewOut"];
export type Failovers = Schemas["FailoversOut"];
export type Verification = Schemas["BooksVerificationOut"];
export type Person = Schemas["AdminUserOut"];
export type DrainHold = Schemas["DrainHoldOut"];
export type ListedNode = Schemas["AdminNodeOut"];

export const overviewQuery = queryOptions({
  queryKey: ["admin", "overview"],
  queryFn: ({ signal }) => answered(api.GET("/api/v1/admin/overview", { signal })),
  refetchInterval: 3_000,
});

export const failoversQuery = queryOptions({
  queryKey: ["admin", "failovers"],
  queryFn: ({ signal }) =>
    answered(api.GET("/api/v1/admin/failovers", { signal, params: { query: { newest: 8 } } })),
  refetchInterval: 10_000,
});

/** What each part of the platform answers right now. A part that is down is an answer here, not a failure. */
export const readinessQuery = queryOptions({
  queryKey: ["admin", "readiness"],
  queryFn: async ({ signal }) => {
    const answer = await fetch("/readiness", { signal });
    return (await answer.json()) as Schemas["ReadinessOut"];
  },
  refetchInterval: 5_000,
});

export const verificationQuery = queryOptions({
  queryKey: ["admin", "verification"],
  queryFn: ({ signal }) => answered(api.GET("/api/v1/admin/ledger/verification", { signal })),
});

export function useVerifyBooks() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: () => answered(api.POST("/api/v1/admin/ledger/verification")),
    onSuccess: (last) => client.setQueryData(verificationQuery.queryKey, { last }),
    onError: () => client.invalidateQueries({ queryKey: verificationQuery.queryKey }),
  });
}

export const drainHoldsQuery = queryOptions({
  queryKey: ["admin", "drain-holds"],
  queryFn: ({ signal }) =>
    answered(api.GET("/api/v1/admin/drain-holds", { signal, params: { query: { limit: 5 } } })),
  refetchInterval: 10_000,
});

export function useDecideDrainHold() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: ({ holdId, ...body }: { holdId: string } & Schemas["HoldDecisionIn"]) =>
      answered(
        api.PUT("/api/v1/admin/drain-holds/{hold_id}/decision", {
          params: { path: { hold_id: holdId } },
          body,
        }),
      ),
    onSettled: () => client.invalidateQueries({ queryKey: drainHoldsQuery.queryKey }),
  });
}

const PAGE_SIZE = 50;

export const peopleQuery = (email: string) =>
  infiniteQueryOptions({
    queryKey: ["admin", "people", email],
    queryFn: ({ pageParam, signal }) =>
      answered(
        api.GET("/api/v1/admin/users", {
          signal,
          params: {
            query: {
              limit: PAGE_SIZE,
              ...(email ? { email } : {}),
              ...(pageParam ? { cursor: pageParam } : {}),
            },
          },
        }),
      ),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.next_cursor ?? null,
  });

export const allNodesQuery = infiniteQueryOptions({
  queryKey: ["admin", "nodes"],
  queryFn: ({ pageParam, signal }) =>
    answered(
      api.GET("/api/v1/admin/nodes", {
        signal,
        params: { query: { limit: PAGE_SIZE, ...(pageParam ? { cursor: pageParam } : {}) } },
      }),
    ),
  initialPageParam: null as string | null,
  getNextPageParam: (page) => page.next_cursor ?? null,
  refetchInterval: 5_000,
});
