import {
  infiniteQueryOptions,
  keepPreviousData,
  queryOptions,
  useMutation,
  useQueryClient,
} from "@tanstack/react-query";
import { answered, api, type Schemas } from "@/api/client";
import type { SearchState } from "./search-state";

export type Offer = Schemas["OfferOut"];
export type OfferPage = Schemas["OfferPageOut"];

/** Taken offers leave the page about this long after they are taken. */
const SEARCH_REFRESH_MS = 3_000;
const PAGE_SIZE = 50;

export const searchQuery = (state: SearchState) =>
  infiniteQueryOptions({
    queryKey: ["offers", "search", state],
    queryFn: ({ pageParam, signal }) =>
      answered(
        api.GET("/api/v1/offers", {
          signal,
          params: {
            query: {
              ...(state.q.trim() ? { q: state.q.trim() } : {}),
              ...(state.models.length ? { gpu_model: [...state.models] } : {}),
              ...(state.regions.length ? { region: [...state.regions] } : {}),
              ...(state.vramGbMin === null ? {} : { vram_gb_min: state.vramGbMin }),
              ...(state.gpusMin === null ? {} : { gpus_min: state.gpusMin }),
              ...(state.priceMicrosMax === null ? {} : { price_micros_max: state.priceMicrosMax }),
              ...(state.reliabilityMin === null ? {} : { reliability_min: state.reliabilityMin }),
              sort: state.sort,
              limit: PAGE_SIZE,
              ...(pageParam ? { cursor: pageParam } : {}),
            },
          },
        }),
      ),
    initialPageParam: null as string | null,
    getNextPageParam: (page: OfferPage) => page.next_cursor,
    placeholderData: keepPreviousData,
    refetchInterval: (query) => (query.state.status === "error" ? false : SEARCH_REFRESH_MS),
  });

/** The landing page's strip: what can be booked this moment, cheapest first. */
export const stripQuery = queryOptions({
  queryKey: ["offers", "strip"],
  queryFn: ({ signal }) =>
    answered(api.GET("/api/v1/offers", { signal, params: { query: { sort: "price", limit: 12 } } })),
  refetchInterval: 5_000,
});

export const offerQuery = (offerId: string) =>
  queryOptions({
    queryKey: ["offers", "one", offerId],
    queryFn: ({ signal }) =>
      answered(api.GET("/api/v1/offers/{offer_id}", { signal, params: { path: { offer_id: offerId } } })),
    refetchInterval: 4_000,
  });

export const gpuModelsQuery = queryOptions({
  queryKey: ["gpu-models"],
  queryFn: ({ signal }) => answered(api.GET("/api/v1/gpu-models", { signal })),
  staleTime: 60 * 60_000,
});

export const myOffersQuery = queryOptions({
  queryKey: ["offers", "mine"],
  queryFn: ({ signal }) =>
    answered(api.GET("/api/v1/offers/mine", { signal, params: { query: { limit: 200 } } })),
  refetchInterval: 5_000,
});

export function useChangeOffer() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: ({ offerId, patch }: { offerId: string; patch: Schemas["OfferPatch"] }) =>
      answered(
        api.PATCH("/api/v1/offers/{offer_id}", { params: { path: { offer_id: offerId } }, body: patch }),
      ),
    onSettled: () => client.invalidateQueries({ queryKey: ["offers"] }),
  });
}

export function useListOffer() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (body: Schemas["OfferIn"]) => answered(api.POST("/api/v1/offers", { body })),
    onSettled: () => client.invalidateQueries({ queryKey: ["offers"] }),
  });
}
