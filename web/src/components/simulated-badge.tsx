import { Badge } from "@/components/ui/badge";

/** Worn by everything whose GPU facts are invented. Real agents, real processes, no real GPU. */
export const SimulatedBadge = () => (
  <Badge tone="outline" title="A demo node: real agent, real processes, invented GPU facts">
    simulated
  </Badge>
);
