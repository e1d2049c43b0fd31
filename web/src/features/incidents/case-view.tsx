import { useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { Link } from "react-router";
import { Ago } from "@/components/ago";
import { Badge } from "@/components/ui/badge";
import { Card, CardHeader } from "@/components/ui/card";
import { Fact, Stat } from "@/components/ui/stat";
import { Failed, SkeletonRows } from "@/components/ui/states";
import { formatDuration, formatInstant } from "@/lib/time";
import { formatPercent, plural } from "@/lib/units";
import type { Case } from "./cases-api";
import { Evidence } from "./evidence";
import { CAUSES, scoreEffect, sideOf } from "./record";
import { scoreChangesQuery, scoreQuery } from "./record-api";
import { SIDE_TONES } from "./record-panel";
import { RulingForm } from "./ruling-form";

/** One incident as an admin judges it: what happened, what speaks for what, what it did, and the ruling. */
export function CaseView({ incident, linkTo }: { incident: Case; linkTo: (incidentId: string) => string }) {
  return (
    <div className="grid items-start gap-4 lg:grid-cols-[minmax(0,1fr)_22rem]">
      <div className="grid min-w-0 gap-4">
        <Card>
          <CardHeader
            title="What is known"
            actions={
              <Badge tone={SIDE_TONES[sideOf(incident)]} className="max-w-full whitespace-normal">
                {incident.summary}
              </Badge>
            }
          />
          <div className="grid gap-4 p-4 sm:px-5">
            {incident.sentence ? <p className="text-sm">{incident.sentence}</p> : null}
            <Evidence evidence={incident.evidence} />
          </div>
        </Card>
        <ScoreCard incident={incident} linkTo={linkTo} />
      </div>
      <div className="grid min-w-0 gap-4">
        <RulingForm key={incident.id} incident={incident} />
        <History incident={incident} />
        <Facts incident={incident} />
      </div>
    </div>
  );
}

function Facts({ incident }: { incident: Case }) {
  const lines: [string, ReactNode][] = [
    [
      "Node",
      <Link
        key="node"
        to={`/admin/incidents?node=${incident.node_id}`}
        className="underline decoration-line-strong underline-offset-2 hover:decoration-current"
        title="Everything that happened on this node"
      >
        {incident.node_name}
      </Link>,
    ],
    [
      "Owner",
      <span key="owner" className="[overflow-wrap:anywhere]">
        {incident.owner_email}
      </span>,
    ],
    ["Began", formatInstant(incident.began_at)],
    ["Back", incident.returned_at ? formatInstant(incident.returned_at) : null],
    ["Decided", incident.settled_at ? formatInstant(incident.settled_at) : "not yet"],
    ["Ended by", incident.reason],
  ];
  return (
    <Card>
      <dl className="divide-y divide-line px-4 py-2 sm:px-5">
        {lines.map(([label, value]) =>
          value === null ? null : (
            <Fact key={label} label={label}>
              {value}
            </Fact>
          ),
        )}
        {incident.job_ids.length > 0 ? (
          <Fact label={plural(incident.runs_hit, "run", "runs")}>
            <ul className="grid gap-0.5">
              {incident.job_ids.map((jobId) => (
                <li key={jobId}>
                  <Link
                    to={`/jobs/${jobId}`}
                    className="font-mono text-xs underline decoration-line-strong underline-offset-2 hover:decoration-current"
                  >
                    {jobId}
                  </Link>
                </li>
              ))}
            </ul>
          </Fact>
        ) : null}
      </dl>
    </Card>
  );
}

function History({ incident }: { incident: Case }) {
  const undone = incident.rulings.filter(({ undone_at }) => undone_at !== null).toReversed();
  if (undone.length === 0) return null;
  return (
    <Card>
      <CardHeader title="Earlier rulings" />
      <ul className="divide-y divide-line px-4 text-sm sm:px-5">
        {undone.map((ruling) => (
          <li key={ruling.at} className="grid gap-1 py-3">
            <p>
              <span className="font-medium">It was {CAUSES[ruling.cause]}.</span> {ruling.reason}
            </p>
            <p className="text-xs text-ink-3">
              {ruling.by ? `${ruling.by}, ` : ""}
              <Ago at={ruling.at} />, taken back {ruling.undone_at ? <Ago at={ruling.undone_at} /> : null}
            </p>
          </li>
        ))}
      </ul>
    </Card>
  );
}

/** What it did to the node's score, among the newest changes of that score. */
function ScoreCard({ incident, linkTo }: { incident: Case; linkTo: (incidentId: string) => string }) {
  const score = useQuery(scoreQuery(incident.node_id));
  const changes = useQuery(scoreChangesQuery(incident.node_id));
  const effect = scoreEffect(incident);
  return (
    <Card id="score">
      <CardHeader title={`Score of ${incident.node_name}`} />
      <dl className="grid grid-cols-2 gap-x-6 gap-y-3 p-4 sm:grid-cols-3 sm:px-5">
        <Stat
          label="This incident"
          value={
            effect ? `${formatPercent(effect.before)} → ${formatPercent(effect.after)}` : "score untouched"
          }
          note={incident.away_s > 0 ? `${formatDuration(incident.away_s)} against its uptime` : undefined}
        />
        <Stat
          label="Survives a day"
          value={score.data ? formatPercent(score.data.reliability) : "–"}
          note={
            score.data
              ? `${formatPercent(score.data.reliability_low)} to ${formatPercent(score.data.reliability_high)}`
              : undefined
          }
        />
        <Stat
          label="Uptime"
          value={score.data ? (score.data.record.split(", ")[0] ?? "–") : "–"}
          note={score.data?.record.split(", ")[1]}
        />
      </dl>
      {changes.isPending ? (
        <SkeletonRows rows={2} />
      ) : !changes.data ? (
        <Failed error={changes.error} onRetry={() => void changes.refetch()} />
      ) : changes.data.items.length > 0 ? (
        <ul aria-label="Changes of the score" className="divide-y divide-line border-t border-line">
          {changes.data.items.map((change) => (
            <li
              key={change.id}
              className="flex flex-wrap items-baseline gap-x-3 gap-y-1 px-4 py-2.5 text-sm sm:px-5"
            >
              <span className="figures w-40 shrink-0 text-ink-2">
                {formatPercent(change.before)} → {formatPercent(change.after)}
              </span>
              <span className="min-w-0 flex-1 basis-40">
                {change.incident_id === incident.id ? (
                  <span className="font-medium">{change.reason}</span>
                ) : change.incident_id ? (
                  <Link
                    to={linkTo(change.incident_id)}
                    className="underline decoration-line-strong underline-offset-2 hover:decoration-current"
                  >
                    {change.reason}
                  </Link>
                ) : (
                  change.reason
                )}
              </span>
              <span className="text-xs text-ink-3">
                <Ago at={change.at} />
              </span>
            </li>
          ))}
        </ul>
      ) : null}
    </Card>
  );
}
