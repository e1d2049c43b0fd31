import { Plus, X } from "lucide-react";
import { type UseFormReturn, useFieldArray } from "react-hook-form";
import { Button } from "@/components/ui/button";
import { Input } from "@/components/ui/field";
import type { BookValues } from "./book-spec";

/** The job's environment variables, a row each. */
export function EnvironmentFields({ form }: { form: UseFormReturn<BookValues> }) {
  const environment = useFieldArray({ control: form.control, name: "environment" });
  const { errors } = form.formState;
  return (
    <fieldset className="grid gap-2">
      <legend className="mb-1.5 text-sm font-medium">Environment</legend>
      {environment.fields.map((field, index) => (
        <div key={field.id} className="grid grid-cols-[1fr_1.5fr_auto] items-start gap-2">
          <div>
            <Input
              aria-label={`Name of variable ${index + 1}`}
              aria-invalid={errors.environment?.[index]?.name ? true : undefined}
              placeholder="NAME"
              spellCheck={false}
              className="font-mono"
              {...form.register(`environment.${index}.name`)}
            />
            {errors.environment?.[index]?.name ? (
              <p role="alert" className="mt-1 text-xs text-bad">
                {errors.environment[index].name.message}
              </p>
            ) : null}
          </div>
          <Input
            aria-label={`Value of variable ${index + 1}`}
            placeholder="value"
            spellCheck={false}
            className="font-mono"
            {...form.register(`environment.${index}.value`)}
          />
          <Button
            variant="ghost"
            size="icon"
            aria-label={`Remove variable ${index + 1}`}
            onClick={() => environment.remove(index)}
          >
            <X aria-hidden />
          </Button>
        </div>
      ))}
      <div>
        <Button size="sm" onClick={() => environment.append({ name: "", value: "" })}>
          <Plus aria-hidden /> Add a variable
        </Button>
      </div>
    </fieldset>
  );
}
