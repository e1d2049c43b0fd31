import { Explain } from "@/components/ui/tooltip";
import { formatPercent } from "@/lib/units";

interface Rated {
  reliability: number;
  reliability_low: number;
  reliability_high: number;
  record: string;
}

/** The figure, with its interval and what it rests on; `full` writes them out. */
export function Reliability({ of, full }: { of: Rated; full?: boolean }) {
  const interval = `${formatPercent(of.reliability_low)} to ${formatPercent(of.reliability_high)}`;
  if (!full)
    return (
      <span className="figures whitespace-nowrap" title={`${interval}; ${of.record}`}>
        {formatPercent(of.reliability)}
      </span>
    );
  return (
    <span className="figures">
      {formatPercent(of.reliability)}
      <span className="block text-xs text-ink-3">{interval}</span>
      <span className="block text-xs text-ink-3">{of.record}</span>
    </span>
  );
}

export function ReliabilityExplained() {
  return (
    <Explain about="reliability">
      The chance that this node survives the next 24 hours: the mean of a Bayesian estimate over the node's
      own history. A new node starts from the record of its owner's other nodes and of its GPU model. Only
      losses that evidence puts down to the machine count. It is an estimate, not a promise; what happens when
      a node dies is Catalyst's part.
    </Explain>
  );
}
