import { queryOptions } from "@tanstack/react-query";
import { answered, api } from "@/api/client";

export const scoreQuery = (nodeId: string) =>
  queryOptions({
    queryKey: ["nodes", nodeId, "score"],
    queryFn: ({ signal }) =>
      answered(api.GET("/api/v1/nodes/{node_id}/score", { signal, params: { path: { node_id: nodeId } } })),
    refetchInterval: 15_000,
  });

export const scoreChangesQuery = (nodeId: string) =>
  queryOptions({
    queryKey: ["nodes", nodeId, "score", "changes"],
    queryFn: ({ signal }) =>
      answered(
        api.GET("/api/v1/nodes/{node_id}/score/changes", {
          signal,
          params: { path: { node_id: nodeId }, query: { limit: 10 } },
        }),
      ),
    refetchInterval: 15_000,
  });

export const incidentsQuery = (nodeId: string) =>
  queryOptions({
    queryKey: ["nodes", nodeId, "incidents"],
    queryFn: ({ signal }) =>
      answered(
        api.GET("/api/v1/nodes/{node_id}/incidents", {
          signal,
          params: { path: { node_id: nodeId }, query: { limit: 50 } },
        }),
      ),
    refetchInterval: 5_000,
  });
