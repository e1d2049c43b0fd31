import { useQuery } from "@tanstack/react-query";
import { ChevronDown, ShieldCheck } from "lucide-react";
import { useState } from "react";
import { Link } from "react-router";
import { Ago } from "@/components/ago";
import { Badge, type Tone } from "@/components/ui/badge";
import { Card, CardHeader } from "@/components/ui/card";
import { Stat } from "@/components/ui/stat";
import { Empty, Failed, SkeletonRows } from "@/components/ui/states";
import { cn } from "@/lib/class-names";
import { formatDuration } from "@/lib/time";
import { formatPercent, plural } from "@/lib/units";
import { Evidence } from "./evidence";
import { happened, type Incident, type Score, scoreEffect, sideOf } from "./record";
import { incidentsQuery, scoreQuery } from "./record-api";

export const SIDE_TONES: Record<ReturnType<typeof sideOf>, Tone> = {
  host: "bad",
  others: "neutral",
  open: "warn",
};

interface RecordPanelProps {
  nodeId: string;
  /** For whoever may judge an incident: where that is done. */
  linkTo?: ((incidentId: string) => string) | undefined;
}

/** How reliable the node was, and each thing that went wrong: what it is attributed to, why, and what that did. */
export function RecordPanel({ nodeId, linkTo }: RecordPanelProps) {
  const score = useQuery(scoreQuery(nodeId));
  const incidents = useQuery(incidentsQuery(nodeId));
  return (
    <Card id="record">
      <CardHeader
        title="Record"
        description="Only what two independent kinds of evidence put down to this machine or its link counts against it. What the platform, a job or nobody is known to have caused does not."
      />
      {score.data ? (
        <ScoreFigures score={score.data} />
      ) : score.isError ? (
        <Failed error={score.error} onRetry={() => void score.refetch()} />
      ) : (
        <SkeletonRows rows={2} />
      )}
      {incidents.data === undefined ? (
        incidents.isError ? (
          <Failed error={incidents.error} onRetry={() => void incidents.refetch()} />
        ) : (
          <SkeletonRows rows={3} />
        )
      ) : incidents.data.items.length === 0 ? (
        <Empty icon={ShieldCheck} title="Nothing went wrong so far" />
      ) : (
        <ul aria-label="Incidents" className="border-t border-line">
          {incidents.data.items.map((incident) => (
            <IncidentRow key={incident.id} incident={incident} judgeAt={linkTo?.(incident.id)} />
          ))}
        </ul>
      )}
    </Card>
  );
}

function ScoreFigures({ score }: { score: Score }) {
  const [uptime, sample] = score.record.split(", ");
  return (
    <dl className="grid grid-cols-2 gap-x-6 gap-y-3 p-4 sm:px-5 lg:grid-cols-4">
      <Stat
        label="Survives a day"
        value={formatPercent(score.reliability)}
        note={`${formatPercent(score.reliability_low)} to ${formatPercent(score.reliability_high)} (${Math.round(score.interval * 100)} %)`}
      />
      <Stat label="Uptime" value={uptime} note={sample} />
      <Stat
        label="Counted losses"
        value={`${score.host_losses} by the host`}
        note={`${score.network_losses} by its network, ${score.losses} in all`}
      />
      <Stat
        label="Expected unseen"
        value={formatPercent(score.expected)}
        note={`${plural(Math.round(score.owner.online_h), "hour")} of your other nodes, ${plural(Math.round(score.fleet.online_h), "hour")} of this model elsewhere`}
      />
    </dl>
  );
}

function IncidentRow({ incident, judgeAt }: { incident: Incident; judgeAt: string | undefined }) {
  const [open, setOpen] = useState(false);
  const effect = scoreEffect(incident);
  const ruling = incident.rulings.find(({ undone_at }) => undone_at === null);
  return (
    <li className="border-b border-line last:border-0" data-cause={incident.cause ?? "open"}>
      <button
        type="button"
        aria-expanded={open}
        onClick={() => setOpen(!open)}
        className="flex w-full flex-wrap items-center gap-x-3 gap-y-1 px-4 py-3 text-left text-sm hover:bg-hover sm:px-5"
      >
        <ChevronDown
          aria-hidden
          className={cn("size-3.5 shrink-0 text-ink-3 transition-transform", !open && "-rotate-90")}
        />
        <span className="min-w-0 flex-1 basis-48">
          {happened(incident)}
          {incident.runs_hit > 1 ? `, with ${plural(incident.runs_hit, "job")}` : ""}
        </span>
        <Badge tone={SIDE_TONES[sideOf(incident)]} className="h-auto min-h-5 max-w-full whitespace-normal">
          {incident.summary}
        </Badge>
        <span className="figures text-xs text-ink-2">
          {effect ? `${formatPercent(effect.before)} → ${formatPercent(effect.after)}` : "score untouched"}
        </span>
        <span className="text-xs text-ink-3">
          <Ago at={incident.began_at} />
        </span>
      </button>
      {open ? (
        <div className="grid gap-3 px-4 pb-4 text-sm sm:px-5 sm:pl-11">
          {incident.sentence ? <p>{incident.sentence}</p> : null}
          {ruling ? <p className="text-ink-2">An admin ruled: {ruling.reason}</p> : null}
          <Evidence evidence={incident.evidence} />
          {incident.away_s > 0 ? (
            <p className="text-xs text-ink-3">
              Counts {formatDuration(incident.away_s)} against its uptime
              {incident.counts_as_network_loss ? "; a link that was gone does not lower the reliability" : ""}
              .
            </p>
          ) : null}
          {judgeAt ? (
            <p>
              <Link
                to={judgeAt}
                className="text-sm underline decoration-line-strong underline-offset-2 hover:decoration-current"
              >
                Rule on it
              </Link>
            </p>
          ) : null}
        </div>
      ) : null}
    </li>
  );
}
