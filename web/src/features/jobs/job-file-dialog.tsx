import { FileText } from "lucide-react";
import { type FormEvent, useId, useState } from "react";
import { Button } from "@/components/ui/button";
import { Dialog } from "@/components/ui/dialog";
import { Field, Textarea } from "@/components/ui/field";
import { Notice } from "@/components/ui/states";
import { JOB_FILE_BYTES_MAX, type JobFile, type Mistake, readJobFile } from "./job-file";

/** Pasted or chosen: a job.yaml fills the form. What is wrong with it is said before anything changes. */
export function JobFileDialog({ onRead }: { onRead: (file: JobFile) => void }) {
  const [open, setOpen] = useState(false);
  const [text, setText] = useState("");
  const [mistakes, setMistakes] = useState<readonly Mistake[]>([]);
  const chooserId = useId();

  const apply = async (event: FormEvent) => {
    event.preventDefault();
    // A form inside a dialog inside a form: React lets it bubble through the portal.
    event.stopPropagation();
    const file = await readJobFile(text);
    setMistakes(file.mistakes);
    if (file.mistakes.length > 0) return;
    onRead(file);
    setOpen(false);
  };

  return (
    <>
      <Button
        size="sm"
        onClick={() => {
          setMistakes([]);
          setOpen(true);
        }}
      >
        <FileText aria-hidden /> From a job.yaml
      </Button>
      <Dialog open={open} onOpenChange={setOpen} title="Fill the form from a job.yaml">
        <form noValidate className="grid gap-4" onSubmit={(event) => void apply(event)}>
          <Field label="Job file" hint="The same file that gp4u run takes.">
            {(control) => (
              <Textarea
                {...control}
                rows={12}
                spellCheck={false}
                placeholder={"name: digits\ncommand: python train.py\nresources: {gpus: 1}"}
                className="font-mono text-sm sm:text-xs"
                value={text}
                onChange={(event) => setText(event.target.value)}
              />
            )}
          </Field>
          <div className="flex flex-wrap items-center justify-between gap-3">
            <span className="text-sm">
              <input
                id={chooserId}
                type="file"
                accept=".yaml,.yml,text/yaml"
                className="peer sr-only"
                onChange={async (event) => {
                  const [file] = event.target.files ?? [];
                  event.target.value = "";
                  if (!file) return;
                  if (file.size > JOB_FILE_BYTES_MAX) {
                    setMistakes([{ field: "", message: "the file is larger than 256 KiB" }]);
                    return;
                  }
                  setMistakes([]);
                  setText(await file.text());
                }}
              />
              <label
                htmlFor={chooserId}
                className="cursor-pointer rounded-sm font-medium text-accent-ink underline underline-offset-4 peer-focus-visible:outline-2 peer-focus-visible:outline-accent-ink"
              >
                Choose a file
              </label>
            </span>
            <Button type="submit" variant="primary" disabled={text.trim() === ""}>
              Fill the form
            </Button>
          </div>
          <Mistakes mistakes={mistakes} />
        </form>
      </Dialog>
    </>
  );
}

export function Mistakes({ mistakes }: { mistakes: readonly Mistake[] }) {
  if (mistakes.length === 0) return null;
  return (
    <Notice tone="bad">
      <ul className="grid gap-1">
        {mistakes.map(({ field, message, suggestion }) => (
          <li key={`${field}${message}`} className="[overflow-wrap:anywhere]">
            {field ? <span className="font-mono text-xs">{field}: </span> : null}
            {message}
            {suggestion ? (
              <>
                . Did you mean <span className="font-mono text-xs">{suggestion}</span>?
              </>
            ) : null}
          </li>
        ))}
      </ul>
    </Notice>
  );
}
