import { infiniteQueryOptions, queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";
import { answered, api, type Schemas } from "@/api/client";

export type Wallet = Schemas["WalletOut"];
export type WalletEntry = Schemas["WalletEntryOut"];
export type Booking = Schemas["BookingOut"];
export type Receipt = Schemas["ReceiptOut"];
export type Earnings = Schemas["EarningsOut"];

export const walletQuery = queryOptions({
  queryKey: ["wallet"],
  queryFn: ({ signal }) => answered(api.GET("/api/v1/wallet", { signal })),
  refetchInterval: 15_000,
});

export const entriesQuery = infiniteQueryOptions({
  queryKey: ["wallet", "entries"],
  queryFn: ({ pageParam, signal }) =>
    answered(
      api.GET("/api/v1/wallet/entries", {
        signal,
        params: { query: { limit: 30, ...(pageParam ? { cursor: pageParam } : {}) } },
      }),
    ),
  initialPageParam: null as string | null,
  getNextPageParam: (page) => page.next_cursor ?? null,
});

export function useTopUp() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: ({ amountMicros, key }: { amountMicros: number; key: string }) =>
      answered(
        api.POST("/api/v1/wallet/top-ups", {
          body: { amount_micros: amountMicros },
          headers: { "Idempotency-Key": key },
        }),
      ),
    onSuccess: () => client.invalidateQueries({ queryKey: ["wallet"] }),
  });
}

/** The bookings of one job, oldest first; a failover makes another one. */
export const jobBookingsQuery = (jobId: string) =>
  queryOptions({
    queryKey: ["bookings", "of-job", jobId],
    queryFn: async ({ signal }) => {
      const page = await answered(
        api.GET("/api/v1/bookings", { signal, params: { query: { job_id: jobId, limit: 200 } } }),
      );
      return page.items.toReversed();
    },
  });

export const bookingQuery = (bookingId: string) =>
  queryOptions({
    queryKey: ["bookings", "one", bookingId],
    queryFn: ({ signal }) =>
      answered(
        api.GET("/api/v1/bookings/{booking_id}", { signal, params: { path: { booking_id: bookingId } } }),
      ),
  });

export const receiptQuery = (bookingId: string) =>
  queryOptions({
    queryKey: ["bookings", "receipt", bookingId],
    queryFn: ({ signal }) =>
      answered(
        api.GET("/api/v1/bookings/{booking_id}/receipt", {
          signal,
          params: { path: { booking_id: bookingId } },
        }),
      ),
  });

export const earningsQuery = queryOptions({
  queryKey: ["earnings"],
  queryFn: ({ signal }) => answered(api.GET("/api/v1/earnings", { signal })),
  refetchInterval: 15_000,
});
