import { type QueryClient, queryOptions, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { answered, api, done, rememberSession, type Schemas } from "@/api/client";
import { ApiProblem } from "@/api/problem";

export type Session = Schemas["SessionOut"];
export type Role = Schemas["Role"];

/** Who is signed in; null when nobody is. */
export const sessionQuery = queryOptions({
  queryKey: ["session"],
  queryFn: async ({ signal }): Promise<Session | null> => {
    try {
      const session = await answered(api.GET("/api/v1/auth/session", { signal }));
      rememberSession(session);
      return session;
    } catch (error) {
      if (error instanceof ApiProblem && error.status === 401) return null;
      throw error;
    }
  },
  staleTime: 60_000,
});

export function useSession() {
  const { data, isPending, isError, error, refetch } = useQuery(sessionQuery);
  const roles: readonly Role[] = data?.user.roles ?? [];
  return {
    user: data?.user ?? null,
    roles,
    isPending,
    isError,
    error,
    refetch,
    has: (...wanted: readonly Role[]) => wanted.some((role) => roles.includes(role)),
  };
}

/** Another person, another view: nothing of the former account's data may stay in the cache. */
function become(client: QueryClient, session: Session | null): void {
  rememberSession(session);
  client.removeQueries({
    predicate: ({ queryKey }) => queryKey[0] !== "session" && queryKey[0] !== "platform",
  });
  client.setQueryData(sessionQuery.queryKey, session);
}

export function useSignIn() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (body: Schemas["SignInIn"]) => answered(api.POST("/api/v1/auth/sign-in", { body })),
    onSuccess: (session) => become(client, session),
  });
}

export function useSignUp() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (body: Schemas["RegisterIn"]) => answered(api.POST("/api/v1/auth/register", { body })),
    onSuccess: (session) => become(client, session),
  });
}

/** Ends the session and starts over with a fresh page: nothing of the account stays in memory. */
export function useSignOut() {
  return useMutation({
    mutationFn: () => done(api.POST("/api/v1/auth/sign-out")),
    onSuccess: () => {
      rememberSession(null);
      window.location.assign("/");
    },
  });
}

export function forgetSession(client: QueryClient): void {
  become(client, null);
}
