import { queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";
import { answered, api, done, type Schemas } from "@/api/client";

export type Node = Schemas["NodeOut"];

export const nodesQuery = queryOptions({
  queryKey: ["nodes"],
  queryFn: ({ signal }) => answered(api.GET("/api/v1/nodes", { signal, params: { query: { limit: 200 } } })),
  refetchInterval: 2_000,
});

export function useEnrolmentToken() {
  return useMutation({
    mutationFn: (body: Schemas["EnrolmentTokenIn"]) =>
      answered(api.POST("/api/v1/enrolment-tokens", { body })),
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
