import { Money } from "@/components/money";
import { Card, CardHeader } from "@/components/ui/card";
import { CopyButton } from "@/components/ui/copy";
import { Fact } from "@/components/ui/stat";
import { formatSpan } from "@/lib/time";
import type { Job } from "./types";

export function JobSpecPanel({ spec }: { spec: Job["spec"] }) {
  const { resources, checkpoint, budget } = spec;
  const environment = Object.entries(spec.environment ?? {});
  return (
    <div className="grid items-start gap-4 lg:grid-cols-[minmax(0,1fr)_22rem]">
      <Card className="min-w-0">
        <CardHeader title="Command" actions={<CopyButton text={spec.command} label="Copy the command" />} />
        <pre tabIndex={0} className="max-h-[30rem] overflow-auto p-4 font-mono text-xs leading-5 sm:px-5">
          {spec.command}
        </pre>
        {environment.length > 0 ? (
          <dl className="divide-y divide-line border-t border-line px-4 sm:px-5 py-2 font-mono">
            {environment.map(([name, value]) => (
              <Fact key={name} label={name}>
                <span className="[overflow-wrap:anywhere]">{value}</span>
              </Fact>
            ))}
          </dl>
        ) : null}
      </Card>
      <Card>
        <dl className="divide-y divide-line px-4 sm:px-5 py-2">
          <Fact label="GPUs">{resources?.gpus ?? 1}</Fact>
          <Fact label="Models">{resources?.gpu_models?.join(", ") || "any"}</Fact>
          <Fact label="Memory per GPU">
            {resources?.vram_gb_min ? `≥ ${resources.vram_gb_min} GB` : "any"}
          </Fact>
          <Fact label="Regions">{resources?.regions?.join(", ") || "any"}</Fact>
          <Fact label="CPU cores">{resources?.cpus ?? 1}</Fact>
          <Fact label="Main memory">{resources?.memory_gb ?? 2} GB</Fact>
          <Fact label="Disk">{resources?.disk_gb ?? 5} GB</Fact>
          <Fact label="Network">{resources?.network ? "allowed" : "off"}</Fact>
          <Fact label="Checkpoint folder">
            <code className="font-mono text-xs">{checkpoint?.path ?? "checkpoints"}</code>
          </Fact>
          <Fact label="A checkpoint saves">
            {
              {
                application: "the folder",
                transparent: "the whole job",
                auto: "the whole job where possible",
              }[checkpoint?.source ?? "application"]
            }
          </Fact>
          <Fact label="Checkpoint every">{checkpoint?.every_s ?? 60} s</Fact>
          <Fact label="At most">{formatSpan(spec.duration_s_max ?? 86_400)}</Fact>
          <Fact label="Budget">
            {budget?.total_micros_max ? <Money micros={budget.total_micros_max} /> : "no ceiling"}
          </Fact>
          <Fact label="Rate ceiling">
            {budget?.per_hour_micros_max ? (
              <Money micros={budget.per_hour_micros_max} precision="rate" />
            ) : (
              "none"
            )}
          </Fact>
          <Fact label="Booking">{(spec.kind ?? "on_demand").replaceAll("_", "-")}</Fact>
          <Fact label="Protection">{spec.protection ?? "catalyst"}</Fact>
        </dl>
      </Card>
    </div>
  );
}
