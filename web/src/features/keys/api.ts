import { queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";
import { answered, api, done, type Schemas } from "@/api/client";

export type ApiKey = Schemas["ApiKeyOut"];

export const keysQuery = queryOptions({
  queryKey: ["api-keys"],
  queryFn: ({ signal }) =>
    answered(api.GET("/api/v1/api-keys", { signal, params: { query: { limit: 200 } } })),
});

export function useCreateKey() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (body: Schemas["ApiKeyIn"]) => answered(api.POST("/api/v1/api-keys", { body })),
    onSuccess: () => client.invalidateQueries({ queryKey: ["api-keys"] }),
  });
}

export function useRevokeKey() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (keyId: string) =>
      done(api.DELETE("/api/v1/api-keys/{key_id}", { params: { path: { key_id: keyId } } })),
    onSuccess: () => client.invalidateQueries({ queryKey: ["api-keys"] }),
  });
}
