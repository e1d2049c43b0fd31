import { Explain } from "@/components/ui/tooltip";
import { formatPercent } from "@/lib/units";

export const Reliability = ({ value }: { value: number }) => (
  <span className="figures whitespace-nowrap">{formatPercent(value)}</span>
);

export function ReliabilityExplained() {
  return (
    <Explain about="reliability">
      The chance that this node survives the next 24 hours: the mean of a Bayesian estimate over the node's
      own history. A new node starts at the estimate for unknown nodes and earns or loses from there. It is an
      estimate, not a promise; what happens when a node dies is Catalyst's part.
    </Explain>
  );
}
