import { Button } from "@/components/ui/button";
import { Meter } from "@/components/ui/stat";
import type { Progress } from "./send";

export function SendingProgress({ progress, onStop }: { progress: Progress; onStop: () => void }) {
  const label = progress.stage === "reading" ? "Reading the folder" : "Sending the folder";
  return (
    <div className="flex items-center gap-3">
      <div className="min-w-0 flex-1">
        <p className="figures mb-1 flex justify-between text-xs text-ink-2">
          <span>{label}</span>
          <span>{Math.floor(progress.share * 100)} %</span>
        </p>
        <Meter value={progress.share} max={1} label={label} />
      </div>
      <Button size="sm" onClick={onStop}>
        Stop
      </Button>
    </div>
  );
}
