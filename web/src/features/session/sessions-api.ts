import { infiniteQueryOptions, useMutation, useQueryClient } from "@tanstack/react-query";
import { answered, api, done, type Schemas } from "@/api/client";

export type OpenSession = Schemas["OpenSessionOut"];

// Not below "session", which is who is signed in here and outlives a change of the account.
export const sessionsQuery = infiniteQueryOptions({
  queryKey: ["open-sessions"],
  queryFn: ({ pageParam, signal }) =>
    answered(
      api.GET("/api/v1/sessions", {
        signal,
        params: { query: { limit: 20, ...(pageParam ? { cursor: pageParam } : {}) } },
      }),
    ),
  initialPageParam: null as string | null,
  getNextPageParam: (page) => page.next_cursor ?? null,
});

export function useEndSession() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (sessionId: string) =>
      done(api.DELETE("/api/v1/sessions/{session_id}", { params: { path: { session_id: sessionId } } })),
    // Also when it failed: a session that had ended already is not in the list any more.
    onSettled: () => client.invalidateQueries({ queryKey: sessionsQuery.queryKey }),
  });
}
