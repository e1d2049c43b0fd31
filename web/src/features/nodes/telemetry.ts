import { queryOptions } from "@tanstack/react-query";
import { answered, api, type Schemas } from "@/api/client";
import { refreshMs } from "./readings";

export type Series = Schemas["SeriesOut"];
export type DeviceEvent = Schemas["DeviceEventOut"];

export const telemetryQuery = (nodeId: string, seconds: number) =>
  queryOptions({
    queryKey: ["nodes", nodeId, "telemetry", seconds],
    queryFn: ({ signal }) =>
      answered(
        api.GET("/api/v1/nodes/{node_id}/telemetry", {
          signal,
          params: {
            path: { node_id: nodeId },
            query: { from: new Date(Date.now() - seconds * 1000).toISOString() },
          },
        }),
      ),
    refetchInterval: refreshMs(seconds),
  });

export const deviceEventsQuery = (nodeId: string) =>
  queryOptions({
    queryKey: ["nodes", nodeId, "events"],
    queryFn: ({ signal }) =>
      answered(
        api.GET("/api/v1/nodes/{node_id}/events", {
          signal,
          params: { path: { node_id: nodeId }, query: { limit: 200 } },
        }),
      ),
    refetchInterval: 5_000,
  });
