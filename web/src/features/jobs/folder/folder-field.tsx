import { FileText, FolderOpen, X } from "lucide-react";
import { type DragEvent, useId, useState } from "react";
import { Button } from "@/components/ui/button";
import { Notice } from "@/components/ui/states";
import { cn } from "@/lib/class-names";
import { formatBytes, plural } from "@/lib/units";
import { fromChooser, fromDrop, type Picked } from "./pick";
import { type Folder, folderFault, folderOf } from "./select";

interface FolderFieldProps {
  folder: Folder | null;
  disabled: boolean;
  onChange: (folder: Folder | null) => void;
  /** Fills the form from the job file that lies in the folder. */
  onJobFile: (file: File) => void;
}

/** The folder that is sent with the job: chosen, or dropped here. */
export function FolderField({ folder, disabled, onChange, onJobFile }: FolderFieldProps) {
  const [over, setOver] = useState(false);
  const [fault, setFault] = useState<string | null>(null);
  const folderId = useId();
  const filesId = useId();

  const take = async (picking: Picked | Promise<Picked>) => {
    setFault(null);
    try {
      const { name, files } = await picking;
      const chosen = await folderOf(name, files);
      const wrong = folderFault(chosen);
      setFault(wrong);
      onChange(wrong ? null : chosen);
    } catch {
      setFault("It could not be read. Choose it once more.");
    }
  };
  const drop = (event: DragEvent) => {
    event.preventDefault();
    setOver(false);
    if (!disabled) void take(fromDrop(event.dataTransfer.items));
  };

  return (
    <fieldset
      disabled={disabled}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={drop}
    >
      <legend className="mb-1.5 flex w-full items-baseline justify-between text-sm font-medium">
        Folder <span className="text-xs font-normal text-ink-3">optional</span>
      </legend>
      {folder ? (
        <div
          data-folder={folder.name}
          className="flex items-center gap-3 rounded-md border border-line-strong p-3 text-sm"
        >
          <FolderOpen className="size-4 shrink-0 text-ink-3" aria-hidden />
          <div className="min-w-0 flex-1">
            <p className="truncate font-medium" title={folder.name}>
              {folder.name}
            </p>
            <p className="figures text-xs text-ink-2">
              {plural(folder.files.length, "file")}, {formatBytes(folder.bytes)}
              {folder.ignored > 0 ? ` · ${folder.ignored.toLocaleString("en-US")} left out` : ""}
            </p>
          </div>
          {folder.jobFile ? (
            <Button size="sm" onClick={() => folder.jobFile && onJobFile(folder.jobFile)}>
              <FileText aria-hidden /> Use its job.yaml
            </Button>
          ) : null}
          <Button variant="ghost" size="icon-sm" aria-label="Send no folder" onClick={() => onChange(null)}>
            <X aria-hidden />
          </Button>
        </div>
      ) : (
        <div
          className={cn(
            "flex flex-wrap items-center justify-center gap-x-1.5 gap-y-2 rounded-md border border-dashed border-line-strong px-3 py-4 text-sm text-ink-2 transition-colors",
            over && "border-accent-ink bg-accent-soft",
          )}
        >
          <FolderOpen className="size-4 text-ink-3" aria-hidden />
          <span>Drop a folder or files here, or choose</span>
          <Chooser id={folderId} label="a folder" directory onPick={(list) => void take(fromChooser(list))} />
          <span>or</span>
          <Chooser id={filesId} label="files" onPick={(list) => void take(fromChooser(list))} />
        </div>
      )}
      <p className="mt-1.5 text-xs text-ink-3">
        The job starts in it. <code className="font-mono">.gp4uignore</code> is honoured; at most 1 GiB. A
        browser cannot see which files are executable: start scripts by <code className="font-mono">sh</code>{" "}
        or <code className="font-mono">python</code>.
      </p>
      {fault ? (
        <div className="mt-2">
          <Notice tone="bad">{fault}</Notice>
        </div>
      ) : null}
    </fieldset>
  );
}

interface ChooserProps {
  id: string;
  label: string;
  directory?: boolean;
  onPick: (list: FileList) => void;
}

function Chooser({ id, label, directory, onPick }: ChooserProps) {
  return (
    <>
      <input
        id={id}
        aria-label={`Choose ${label}`}
        type="file"
        multiple
        className="peer sr-only"
        // React has no name for this attribute; browsers have had it for a decade.
        {...(directory ? { webkitdirectory: "" } : {})}
        onChange={(event) => {
          if (event.target.files?.length) onPick(event.target.files);
          event.target.value = "";
        }}
      />
      <label
        htmlFor={id}
        className="cursor-pointer rounded-sm font-medium text-accent-ink underline underline-offset-4 peer-focus-visible:outline-2 peer-focus-visible:outline-accent-ink"
      >
        {label}
      </label>
    </>
  );
}
