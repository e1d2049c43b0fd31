import {
  infiniteQueryOptions,
  keepPreviousData,
  queryOptions,
  useMutation,
  useQueryClient,
} from "@tanstack/react-query";
import { answered, api, type Schemas } from "@/api/client";
import type { Job, JobEvent } from "./types";

const path = (jobId: string) => ({ path: { job_id: jobId } });

export const jobsQuery = (states: readonly Schemas["JobState"][]) =>
  infiniteQueryOptions({
    queryKey: ["jobs", "list", states],
    queryFn: ({ pageParam, signal }) =>
      answered(
        api.GET("/api/v1/jobs", {
          signal,
          params: {
            query: {
              limit: 30,
              ...(states.length ? { state: [...states] } : {}),
              ...(pageParam ? { cursor: pageParam } : {}),
            },
          },
        }),
      ),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.next_cursor ?? null,
    refetchInterval: 3_000,
  });

export const jobQuery = (jobId: string) =>
  queryOptions({
    queryKey: ["jobs", "one", jobId],
    queryFn: ({ signal }): Promise<Job> =>
      answered(api.GET("/api/v1/jobs/{job_id}", { signal, params: path(jobId) })),
  });

const EVENTS_PAGE = 500;

/** The whole timeline, page by page. */
export const eventsQuery = (jobId: string) =>
  queryOptions({
    queryKey: ["jobs", "events", jobId],
    queryFn: async ({ signal }) => {
      const events: JobEvent[] = [];
      for (;;) {
        const query = { after: events.at(-1)?.id ?? 0, limit: EVENTS_PAGE };
        const page = await answered(
          api.GET("/api/v1/jobs/{job_id}/events", { signal, params: { ...path(jobId), query } }),
        );
        events.push(...page);
        if (page.length < EVENTS_PAGE) return events;
      }
    },
  });

export const logQuery = (jobId: string, offset: number) =>
  queryOptions({
    queryKey: ["jobs", "log", jobId, offset],
    queryFn: async ({ signal }) => ({
      from: offset,
      page: await answered(
        api.GET("/api/v1/jobs/{job_id}/log", { signal, params: { ...path(jobId), query: { offset } } }),
      ),
    }),
    gcTime: 0,
  });

export const decisionsQuery = (jobId: string, placements: number) =>
  queryOptions({
    queryKey: ["jobs", "decisions", jobId, placements],
    queryFn: ({ signal }) =>
      answered(api.GET("/api/v1/jobs/{job_id}/decisions", { signal, params: path(jobId) })),
  });

export const checkpointsQuery = (jobId: string) =>
  infiniteQueryOptions({
    queryKey: ["jobs", "checkpoints", jobId],
    queryFn: ({ pageParam, signal }) =>
      answered(
        api.GET("/api/v1/jobs/{job_id}/checkpoints", {
          signal,
          params: { ...path(jobId), query: { limit: 50, ...(pageParam ? { cursor: pageParam } : {}) } },
        }),
      ),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.next_cursor ?? null,
  });

/** Every byte the job has printed, page by page, for a download. */
export async function readWholeLog(jobId: string): Promise<string> {
  let offset = 0;
  const parts: string[] = [];
  for (;;) {
    const page = await answered(
      api.GET("/api/v1/jobs/{job_id}/log", {
        params: { ...path(jobId), query: { offset, limit_bytes: 1_048_576 } },
      }),
    );
    parts.push(page.text);
    if (page.next_offset <= offset) return parts.join("");
    offset = page.next_offset;
  }
}

export function useStopJob(jobId: string) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: () => answered(api.POST("/api/v1/jobs/{job_id}/stop", { params: path(jobId) })),
    onSuccess: (job) => {
      client.setQueryData(jobQuery(jobId).queryKey, job);
      return client.invalidateQueries({ queryKey: ["jobs", "list"] });
    },
  });
}

/**
 * Books a chosen offer and runs the job on it. The key makes a repeated click the same booking. `onBooked` belongs to
 * the mutation and not to one call of it: a booking takes the offer, which may remove the form before the answer is in.
 */
export function useBookOffer(onBooked: (booking: Schemas["BookingOut"]) => void) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: ({ body, key }: { body: Schemas["BookingIn"]; key: string }) =>
      answered(api.POST("/api/v1/bookings", { body, params: { header: { "Idempotency-Key": key } } })),
    onSuccess: onBooked,
    onSettled: () =>
      Promise.all([
        client.invalidateQueries({ queryKey: ["wallet"] }),
        client.invalidateQueries({ queryKey: ["offers"] }),
        client.invalidateQueries({ queryKey: ["jobs", "list"] }),
      ]),
  });
}

/** What the platform would promise this job; the last answer stands until the next one has come. */
export const promiseQuery = (spec: Schemas["JobSpec"]) =>
  queryOptions({
    queryKey: ["jobs", "promise", spec],
    queryFn: ({ signal }) => answered(api.POST("/api/v1/jobs/promise", { signal, body: spec })),
    staleTime: Number.POSITIVE_INFINITY,
    placeholderData: keepPreviousData,
  });
