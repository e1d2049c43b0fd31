import "./catalyst-diagram.css";

const STAGES = [
  { key: "heartbeat", label: "Heartbeat" },
  { key: "checkpoint", label: "Checkpoint" },
  { key: "lost", label: "Node lost" },
  { key: "resumed", label: "Resumed" },
] as const;

/**
 * How a failover goes, as a loop of pure CSS over an SVG. It is an illustration and says so; the times of real
 * failovers are on the job pages. With reduced motion it stands still at the end of the story.
 */
export function CatalystDiagram() {
  return (
    <figure className="catalyst-diagram min-w-0 rounded-xl border border-line bg-surface p-4 shadow-2 sm:p-6">
      <svg
        viewBox="0 0 560 336"
        role="img"
        aria-label="Node A sends heartbeats to Catalyst and checkpoints to the store. Node A dies and falls silent. Catalyst tells node B to take over; it restores the checkpoint from the store and the job goes on there."
        className="w-full"
      >
        <g className="wires" fill="none">
          <path d="M116 124 C116 80 150 44 212 42" />
          <path d="M444 124 C444 80 410 44 348 42" />
          <path d="M116 212 C116 262 150 292 204 294" />
          <path d="M444 212 C444 262 410 292 356 294" />
        </g>

        <g className="beats-a">
          <circle className="dot beat" r="4" />
        </g>
        <g className="beats-b">
          <circle className="dot beat" r="4" />
        </g>
        <rect className="packet save-1" x="-6" y="-6" width="12" height="12" rx="3" />
        <rect className="packet save-2" x="-6" y="-6" width="12" height="12" rx="3" />
        <circle className="dot order" r="4" />
        <rect className="packet restore" x="-6" y="-6" width="12" height="12" rx="3" />

        <g className="catalyst">
          <rect className="box" x="212" y="16" width="136" height="52" rx="12" />
          <text x="280" y="47" textAnchor="middle" className="name">
            Catalyst
          </text>
        </g>

        <g className="node node-a">
          <rect className="box" x="20" y="124" width="192" height="88" rx="12" />
          <text x="38" y="151" className="name">
            Node A
          </text>
          <text x="194" y="151" textAnchor="end" className="state alive">
            alive
          </text>
          <text x="194" y="151" textAnchor="end" className="state dead">
            lost
          </text>
          <g className="job job-a">
            <rect x="36" y="166" width="160" height="30" rx="7" />
            <text x="48" y="185.5">
              your job
            </text>
            <rect className="track" x="112" y="178" width="72" height="6" rx="3" />
            <rect className="fill fill-a" x="112" y="178" width="72" height="6" rx="3" />
          </g>
        </g>

        <g className="node node-b">
          <rect className="box" x="348" y="124" width="192" height="88" rx="12" />
          <text x="366" y="151" className="name">
            Node B
          </text>
          <text x="522" y="151" textAnchor="end" className="state alive">
            alive
          </text>
          <g className="job job-b">
            <rect x="364" y="166" width="160" height="30" rx="7" />
            <text x="376" y="185.5">
              your job
            </text>
            <rect className="track" x="440" y="178" width="72" height="6" rx="3" />
            <rect className="fill fill-b" x="440" y="178" width="72" height="6" rx="3" />
          </g>
        </g>

        <g className="store">
          <rect className="box" x="204" y="270" width="152" height="50" rx="12" />
          <text x="280" y="300" textAnchor="middle" className="name">
            Checkpoints
          </text>
        </g>
      </svg>
      <ol className="stages mt-4 grid grid-cols-2 gap-x-3 gap-y-2 sm:grid-cols-4" aria-hidden>
        {STAGES.map(({ key, label }) => (
          <li key={key} className={`stage stage-${key} text-xs`}>
            <span className="bar" />
            {label}
          </li>
        ))}
      </ol>
      <figcaption className="mt-3 text-xs text-ink-3">
        An illustration. Real failovers are measured and shown, step by step, on each job's page.
      </figcaption>
    </figure>
  );
}
