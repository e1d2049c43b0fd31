import { Badge } from "@/components/ui/badge";
import { plural } from "@/lib/units";
import { CAUSES, type Incident, witnessesOf } from "./record";

const wraps = "h-auto min-h-5 max-w-full py-0.5 whitespace-normal";

/** What each kind of evidence says, side by side: a cause stands only where two of them agree. */
export function Evidence({ evidence }: { evidence: Incident["evidence"] }) {
  const kinds = witnessesOf(evidence);
  if (kinds.length === 0) return <p className="text-sm text-ink-3">No evidence has arrived yet.</p>;
  return (
    <div className="grid min-w-0 gap-2">
      <p className="text-xs text-ink-3">
        {plural(kinds.length, "independent kind")} of evidence
        {kinds.length === 1 ? "; it takes two" : ""}
      </p>
      <ul className="grid gap-2 sm:grid-cols-2" aria-label="Evidence">
        {kinds.map(({ witness, name, findings }) => (
          <li
            key={witness}
            className="grid min-w-0 content-start gap-2 rounded-md border border-line bg-sunken p-3"
          >
            <h4 className="text-xs font-medium text-ink-3">{name}</h4>
            {findings.map((finding) => (
              <div key={finding.code} className="grid justify-items-start gap-1.5">
                <p className="text-sm text-ink-2">{finding.sentence}</p>
                {finding.points_at ? (
                  <Badge tone="outline" className={wraps}>
                    points at {CAUSES[finding.points_at]}
                  </Badge>
                ) : (
                  <Badge className={wraps}>
                    fits {finding.fits.map((cause) => CAUSES[cause]).join(", ")}
                  </Badge>
                )}
              </div>
            ))}
          </li>
        ))}
      </ul>
    </div>
  );
}
