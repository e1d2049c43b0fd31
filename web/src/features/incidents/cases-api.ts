import { infiniteQueryOptions, queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";
import { answered, api, type Schemas } from "@/api/client";
import type { CaseFilter } from "./case-filter";

export type Case = Schemas["CaseOut"];
export type Cause = Schemas["Cause"];

const PAGE_SIZE = 30;

export const casesQuery = ({ cause, kind, ruled, nodeId }: CaseFilter) =>
  infiniteQueryOptions({
    queryKey: ["incidents", "all", { cause, kind, ruled, nodeId }],
    queryFn: ({ pageParam, signal }) =>
      answered(
        api.GET("/api/v1/admin/incidents", {
          signal,
          params: {
            query: {
              limit: PAGE_SIZE,
              ...(cause ? { cause } : {}),
              ...(kind ? { kind } : {}),
              ...(ruled === null ? {} : { ruled }),
              ...(nodeId ? { node_id: nodeId } : {}),
              ...(pageParam ? { cursor: pageParam } : {}),
            },
          },
        }),
      ),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.next_cursor ?? null,
    refetchInterval: 10_000,
  });

export const caseQuery = (incidentId: string) =>
  queryOptions({
    queryKey: ["incidents", "one", incidentId],
    queryFn: ({ signal }) =>
      answered(
        api.GET("/api/v1/admin/incidents/{incident_id}", {
          signal,
          params: { path: { incident_id: incidentId } },
        }),
      ),
    refetchInterval: 5_000,
  });

/** Every score and list may follow a ruling. */
function useAfterRuling(incidentId: string) {
  const client = useQueryClient();
  return async () => {
    await client.invalidateQueries({ queryKey: caseQuery(incidentId).queryKey });
    void client.invalidateQueries({ queryKey: ["incidents"] });
    void client.invalidateQueries({ queryKey: ["nodes"] });
  };
}

export function useRule(incidentId: string) {
  const after = useAfterRuling(incidentId);
  return useMutation({
    mutationFn: (body: Schemas["RulingIn"]) =>
      answered(
        api.PUT("/api/v1/incidents/{incident_id}/ruling", {
          params: { path: { incident_id: incidentId } },
          body,
        }),
      ),
    onSuccess: after,
  });
}

export function useUndoRuling(incidentId: string) {
  const after = useAfterRuling(incidentId);
  return useMutation({
    mutationFn: () =>
      answered(
        api.DELETE("/api/v1/incidents/{incident_id}/ruling", {
          params: { path: { incident_id: incidentId } },
        }),
      ),
    onSuccess: after,
  });
}
