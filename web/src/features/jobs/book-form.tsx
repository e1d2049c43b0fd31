import { zodResolver } from "@hookform/resolvers/zod";
import { ChevronDown, GraduationCap, Terminal } from "lucide-react";
import { type ReactNode, useRef, useState } from "react";
import { useForm, useWatch } from "react-hook-form";
import type { Schemas } from "@/api/client";
import { ApiProblem } from "@/api/problem";
import { Money, useMoney } from "@/components/money";
import { Badge } from "@/components/ui/badge";
import { Button } from "@/components/ui/button";
import { Field, Input, Select, Textarea } from "@/components/ui/field";
import { Notice, ProblemNotice } from "@/components/ui/states";
import { cn } from "@/lib/class-names";
import { AttemptKey } from "@/lib/identifiers";
import { costOf } from "@/lib/money";
import { formatDuration, formatSpan } from "@/lib/time";
import { plural } from "@/lib/units";
import { useBookOffer } from "./api";
import { type BookValues, bookSchema, promisedSpec, specOf } from "./book-spec";
import { CheckpointFields, choice, ProtectionFields } from "./checkpoint-fields";
import { EnvironmentFields } from "./environment-fields";
import { DIGITS_COMMAND, OWN_COMMAND } from "./examples";
import { FolderField } from "./folder/folder-field";
import type { Folder } from "./folder/select";
import { SendingProgress } from "./folder/sending-progress";
import { useSending } from "./folder/use-sending";
import { type Extras, extrasInWords, filledFrom, NO_EXTRAS } from "./from-file";
import { type JobFile, type Mistake, readJobFile } from "./job-file";
import { JobFileDialog, Mistakes } from "./job-file-dialog";
import { PromiseAhead } from "./promise";

const DURATIONS = [600, 1_800, 3_600, 4 * 3_600, 12 * 3_600, 86_400, 3 * 86_400, 7 * 86_400];

interface BookFormProps {
  offer: Schemas["OfferOut"];
  /** What the wallet has free; null while unknown or signed out. */
  availableMicros: number | null;
  /** Signed out: the form is shown, and submitting leads to signing in. */
  submitInstead?: ReactNode;
  topUp: ReactNode;
  onBooked: (booking: Schemas["BookingOut"]) => void;
}

export function BookForm({ offer, availableMicros, submitInstead, topUp, onBooked }: BookFormProps) {
  const book = useBookOffer(onBooked);
  const sending = useSending();
  const attempt = useRef(new AttemptKey());
  const [folder, setFolder] = useState<Folder | null>(null);
  const [extras, setExtras] = useState<Extras>(NO_EXTRAS);
  const [doubts, setDoubts] = useState<readonly Mistake[]>([]);
  const money = useMoney();
  const [more, setMore] = useState(false);
  const durations = DURATIONS.filter((s) => s >= offer.duration_s_min && s <= offer.duration_s_max);
  const form = useForm<BookValues>({
    resolver: zodResolver(bookSchema),
    defaultValues: {
      kind: "digits",
      name: "digits",
      command: OWN_COMMAND,
      gpus: 1,
      durationS: durations.find((s) => s >= 3_600) ?? durations.at(-1) ?? offer.duration_s_max,
      checkpointPath: "ckpt",
      checkpointEveryS: 5,
      checkpointAuto: false,
      checkpointVerify: false,
      keepLast: "",
      keepHourly: "",
      checkpointSource: "application",
      checkpointLazy: "",
      budget: "",
      protection: "catalyst",
      environment: [],
    },
  });
  const { errors } = form.formState;
  const [kind, gpus, durationS] = useWatch({ control: form.control, name: ["kind", "gpus", "durationS"] });
  const promised = promisedSpec(useWatch({ control: form.control }), extras);

  const rate = offer.price_per_gpu_hour_micros * gpus;
  const most = costOf(rate, durationS);
  const lastsS = availableMicros === null || rate === 0 ? null : (availableMicros / rate) * 3600;
  const free = offer.gpus_free;
  const problem = book.error instanceof ApiProblem ? book.error : null;

  const fill = (file: JobFile) => {
    const filled = filledFrom(file, {
      gpusFree: free,
      durationSMin: offer.duration_s_min,
      durationSMax: offer.duration_s_max,
      gpuModel: offer.gpu_model,
      vramGb: offer.vram_gb,
      region: offer.region,
    });
    form.reset({ ...form.getValues(), ...filled.values });
    setExtras(filled.extras);
    setDoubts([
      ...filled.misfits,
      ...(file.files !== null && folder === null
        ? [{ field: "files", message: `it wants ${file.files} to be sent: choose that folder here` }]
        : []),
    ]);
    setMore(true);
  };
  const fillFrom = async (file: File) => {
    const read = await readJobFile(await file.text());
    if (read.mistakes.length > 0) setDoubts(read.mistakes);
    else fill(read);
  };

  const submit = form.handleSubmit(
    async (values) => {
      book.reset();
      const own = values.kind === "own" ? folder : null;
      const sent = own ? await sending.send(own) : { uploadId: null };
      if (!sent) return; // stopped, or failed and said so
      const body = {
        offer_id: offer.id,
        job: specOf(values, { extras, uploadId: sent.uploadId, folderBytes: own?.bytes ?? 0 }),
        // What this page shows is what is agreed to: a price that rose meanwhile is refused.
        rate_per_hour_micros_max: offer.price_per_gpu_hour_micros * values.gpus,
      };
      book.mutate({ body, key: attempt.current.for(body) });
    },
    () => setMore(true),
  ); // a field that is refused must be seen

  return (
    <form noValidate onSubmit={submit} aria-label="Book this offer" className="grid gap-5 px-4 py-5 sm:px-5">
      <fieldset className="grid gap-2">
        <legend className="mb-1.5 text-sm font-medium">What runs</legend>
        <div className="grid gap-2 sm:grid-cols-2">
          <label className={choice}>
            <input
              type="radio"
              value="digits"
              className="sr-only"
              {...form.register("kind", { onChange: () => form.setValue("name", "digits") })}
            />
            <GraduationCap className="mt-0.5 size-4 shrink-0 text-ink-3" aria-hidden />
            <span>
              <span className="block text-sm font-medium">Handwritten digits training</span>
              <span className="block text-xs text-ink-2">
                A real training run in NumPy that checkpoints itself. A few minutes long.
              </span>
            </span>
          </label>
          <label className={choice}>
            <input
              type="radio"
              value="own"
              className="sr-only"
              {...form.register("kind", { onChange: () => form.setValue("name", "my-job") })}
            />
            <Terminal className="mt-0.5 size-4 shrink-0 text-ink-3" aria-hidden />
            <span>
              <span className="block text-sm font-medium">My own command</span>
              <span className="block text-xs text-ink-2">
                Anything <code className="font-mono">/bin/sh</code> can start, with a folder of yours.
              </span>
            </span>
          </label>
        </div>
      </fieldset>

      {kind === "own" ? (
        <>
          <div className="-mt-2 flex flex-wrap items-center gap-2">
            <JobFileDialog onRead={fill} />
            {extrasInWords(extras).length > 0 ? (
              <Button variant="ghost" size="sm" onClick={() => setExtras(NO_EXTRAS)}>
                Forget what the file adds
              </Button>
            ) : null}
          </div>
          {extrasInWords(extras).length > 0 ? (
            <ul aria-label="Also from the job file" className="-mt-2 flex flex-wrap gap-1.5">
              {extrasInWords(extras).map((words) => (
                <li key={words}>
                  <Badge className="font-mono">{words}</Badge>
                </li>
              ))}
            </ul>
          ) : null}
          <Mistakes mistakes={doubts} />
          <FolderField
            folder={folder}
            disabled={sending.progress !== null || book.isPending}
            onChange={(chosen) => {
              setFolder(chosen);
              setDoubts((old) => old.filter(({ field }) => field !== "files"));
            }}
            onJobFile={(file) => void fillFrom(file)}
          />
          <Field
            label="Command"
            error={errors.command?.message}
            hint="Run by /bin/sh -c in the job's folder."
          >
            {(control) => (
              <Textarea
                {...control}
                rows={9}
                spellCheck={false}
                className="font-mono text-sm sm:text-xs"
                {...form.register("command")}
              />
            )}
          </Field>
        </>
      ) : (
        <details className="group rounded-md border border-line">
          <summary className="flex items-center justify-between gap-2 rounded-md px-3 py-2 text-sm text-ink-2 select-none hover:text-ink">
            See the command
            <ChevronDown
              className="size-4 text-ink-3 transition-transform group-open:rotate-180"
              aria-hidden
            />
          </summary>
          <pre
            tabIndex={0}
            className="max-h-64 overflow-auto border-t border-line bg-sunken p-3 font-mono text-xs leading-5"
          >
            {DIGITS_COMMAND}
          </pre>
        </details>
      )}

      <div className="grid gap-4 sm:grid-cols-3">
        <Field label="Name" error={errors.name?.message}>
          {(control) => <Input {...control} spellCheck={false} {...form.register("name")} />}
        </Field>
        <Field label="GPUs" hint={`${free} of ${offer.gpus_total} free`} error={errors.gpus?.message}>
          {(control) => (
            <Select {...control} {...form.register("gpus", { valueAsNumber: true })}>
              {Array.from({ length: Math.max(1, free) }, (_, index) => index + 1).map((count) => (
                <option key={count} value={count}>
                  {count}
                </option>
              ))}
            </Select>
          )}
        </Field>
        <Field label="At most" hint="It stops after this long." error={errors.durationS?.message}>
          {(control) => (
            <Select {...control} {...form.register("durationS", { valueAsNumber: true })}>
              {[...new Set([...(durations.length ? durations : [offer.duration_s_max]), durationS])]
                .toSorted((a, b) => a - b)
                .map((seconds) => (
                  <option key={seconds} value={seconds}>
                    {formatSpan(seconds)}
                  </option>
                ))}
            </Select>
          )}
        </Field>
      </div>

      <ProtectionFields form={form} />
      <PromiseAhead spec={promised} />

      <div>
        <button
          type="button"
          aria-expanded={more}
          onClick={() => setMore(!more)}
          className="flex items-center gap-1.5 rounded-sm text-sm font-medium text-ink-2 hover:text-ink"
        >
          <ChevronDown className={cn("size-4 transition-transform", !more && "-rotate-90")} aria-hidden />
          Checkpoints, budget, environment
        </button>
        <div hidden={!more} className={cn(more && "mt-4 grid gap-4")}>
          <CheckpointFields form={form} />
          <Field label="Budget" optional hint="Stops gracefully at this." error={errors.budget?.message}>
            {(control) => (
              <Input
                {...control}
                inputMode="decimal"
                placeholder="5.00"
                className="figures sm:max-w-40"
                {...form.register("budget")}
              />
            )}
          </Field>
          <EnvironmentFields form={form} />
        </div>
      </div>

      <div className="grid gap-3 border-t border-line pt-4">
        <dl className="grid gap-1.5 text-sm">
          <Line label={`${plural(gpus, "GPU")} per hour`}>
            <Money micros={rate} precision="rate" className="font-semibold" />
          </Line>
          <Line label={`at most, for ${formatSpan(durationS)}`}>
            <Money micros={most} precision="rate" />
          </Line>
          {availableMicros === null ? null : (
            <Line label="in your wallet">
              <Money micros={availableMicros} />
            </Line>
          )}
        </dl>
        {lastsS !== null && lastsS < durationS ? (
          <Notice tone={lastsS < 300 ? "warn" : "info"} actions={topUp}>
            {lastsS < 1
              ? "Your wallet is empty."
              : `At this rate your wallet lasts for ${formatDuration(lastsS)}; the job then stops gracefully, with a final checkpoint.`}
          </Notice>
        ) : null}
        {problem?.code === "offer_taken" ? (
          <Notice tone="warn">{problem.detail} Nothing was charged; choose another offer.</Notice>
        ) : (
          <ProblemNotice
            error={book.error}
            actions={problem?.code === "insufficient_funds" ? topUp : undefined}
          />
        )}
        <ProblemNotice error={sending.error} />
        {sending.progress ? <SendingProgress progress={sending.progress} onStop={sending.stop} /> : null}
        {submitInstead ?? (
          <Button
            type="submit"
            variant="primary"
            size="lg"
            busy={book.isPending || sending.progress !== null}
            disabled={free < 1}
          >
            {free < 1 ? "Taken" : `Book and run for ${money(rate, "rate")} an hour`}
          </Button>
        )}
        <p className="text-center text-xs text-ink-3">
          Billed by the second of confirmed running time. Starting and restoring are free.
        </p>
      </div>
    </form>
  );
}

function Line({ label, children }: { label: ReactNode; children: ReactNode }) {
  return (
    <div className="flex items-baseline justify-between gap-4">
      <dt className="text-ink-2">{label}</dt>
      <dd className="figures">{children}</dd>
    </div>
  );
}
