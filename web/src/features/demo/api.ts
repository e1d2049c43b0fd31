import { queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";
import { answered, api, type Schemas } from "@/api/client";

export type DemoNode = Schemas["DemoNodeOut"];

export const demoNodesQuery = queryOptions({
  queryKey: ["demo", "nodes"],
  queryFn: ({ signal }) => answered(api.GET("/api/v1/demo/nodes", { signal })),
  refetchInterval: 3_000,
});

const byName = (name: string) => ({ params: { path: { name } } });

export function useDemoControls() {
  const client = useQueryClient();
  const onSettled = () => client.invalidateQueries({ queryKey: ["demo"] });
  const kill = useMutation({
    mutationFn: (name: string) => answered(api.POST("/api/v1/demo/nodes/{name}/kill", byName(name))),
    onSettled,
  });
  const revive = useMutation({
    mutationFn: (name: string) => answered(api.POST("/api/v1/demo/nodes/{name}/revive", byName(name))),
    onSettled,
  });
  const link = useMutation({
    mutationFn: ({ name, mode }: { name: string; mode: "up" | "cut" }) =>
      answered(
        api.POST("/api/v1/demo/nodes/{name}/link", {
          ...byName(name),
          body: { mode, delay_ms: 0, loss_percent: 0 },
        }),
      ),
    onSettled,
  });
  return { kill, revive, link };
}
