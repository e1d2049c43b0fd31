/** A random key for one attempt at creating something. Also works on plain http, where randomUUID is missing. */
export function newKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The same body keeps its key (a retry), a changed body gets a new one (a new attempt). */
export class AttemptKey {
  #body = "";
  #key = newKey();

  for(body: unknown): string {
    const text = JSON.stringify(body);
    if (this.#body !== "" && this.#body !== text) this.#key = newKey();
    this.#body = text;
    return this.#key;
  }

  /** After success: whatever comes next is a new attempt, even with the same body. */
  renew(): void {
    this.#body = "";
    this.#key = newKey();
  }
}
