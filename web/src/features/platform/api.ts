import { queryOptions } from "@tanstack/react-query";
import { answered, api, type Schemas } from "@/api/client";

export type Platform = Schemas["PlatformOut"];

/** What every page needs to know once. */
export const platformQuery = queryOptions({
  queryKey: ["platform"],
  queryFn: ({ signal }) => answered(api.GET("/api/v1/platform", { signal })),
  staleTime: 10 * 60_000,
});
