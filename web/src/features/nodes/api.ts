import { queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";
import { answered, api, done, type Schemas } from "@/api/client";

export type Node = Schemas["NodeOut"];

export const nodesQuery = queryOptions({
  queryKey: ["nodes"],
  queryFn: ({ signal }) => answered(api.GET("/api/v1/nodes", { signal, params: { query: { limit: 200 } } })),
  refetchInterval: 2_000,
});

export const nodeQuery = (nodeId: string) =>
  queryOptions({
    queryKey: ["nodes", nodeId],
    queryFn: ({ signal }) =>
      answered(api.GET("/api/v1/nodes/{node_id}", { signal, params: { path: { node_id: nodeId } } })),
    refetchInterval: 2_000,
  });

export function useEnrolmentToken() {
  return useMutation({
    mutationFn: (body: Schemas["EnrolmentTokenIn"]) =>
      answered(api.POST("/api/v1/enrolment-tokens", { body })),
  });
}

/** Out of service: its jobs move, and it may be switched off then. Or back in. */
export function useDrainNode() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: ({ nodeId, drain }: { nodeId: string; drain: boolean }) =>
      answered(
        drain
          ? api.POST("/api/v1/nodes/{node_id}/drain", { params: { path: { node_id: nodeId } }, body: {} })
          : api.POST("/api/v1/nodes/{node_id}/undrain", { params: { path: { node_id: nodeId } } }),
      ),
    onSettled: () => client.invalidateQueries({ queryKey: ["nodes"] }),
  });
}

export function usePlanMaintenance(nodeId: string) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (body: Schemas["MaintenanceIn"]) =>
      answered(
        api.POST("/api/v1/nodes/{node_id}/maintenance", { params: { path: { node_id: nodeId } }, body }),
      ),
    onSuccess: () => client.invalidateQueries({ queryKey: ["nodes"] }),
  });
}

export function useCancelMaintenance(nodeId: string) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (windowId: string) =>
      done(
        api.DELETE("/api/v1/nodes/{node_id}/maintenance/{window_id}", {
          params: { path: { node_id: nodeId, window_id: windowId } },
        }),
      ),
    onSettled: () => client.invalidateQueries({ queryKey: ["nodes"] }),
  });
}

/** The replacement pool: only jobs that lost their node, and those before the market. */
export function useReplacementPool(nodeId: string) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (joins: boolean) => {
      const params = { params: { path: { node_id: nodeId } } };
      return answered(
        joins
          ? api.PUT("/api/v1/nodes/{node_id}/pool", params)
          : api.DELETE("/api/v1/nodes/{node_id}/pool", params),
      );
    },
    onSettled: () => client.invalidateQueries({ queryKey: ["nodes"] }),
  });
}

export function useRemoveNode() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (nodeId: string) =>
      done(api.DELETE("/api/v1/nodes/{node_id}", { params: { path: { node_id: nodeId } } })),
    onSuccess: () => client.invalidateQueries({ queryKey: ["nodes"] }),
  });
}
