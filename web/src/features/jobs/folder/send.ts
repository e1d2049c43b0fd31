/** Hash, announce, upload: the folder of a job on its way to the platform. */
import { blake3 } from "@noble/hashes/blake3.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { answered, api } from "@/api/client";
import { ApiProblem } from "@/api/problem";
import { archiveOf } from "./archive";
import type { Folder } from "./select";

export interface Progress {
  stage: "reading" | "sending";
  /** 0 to 1. */
  share: number;
}

interface SendOptions {
  signal: AbortSignal;
  onProgress: (progress: Progress) => void;
}

async function hashed(archive: Blob, { signal, onProgress }: SendOptions): Promise<string> {
  const hash = blake3.create();
  const reader = archive.stream().getReader();
  let read = 0;
  for (;;) {
    signal.throwIfAborted();
    const { done, value } = await reader.read();
    if (done) return bytesToHex(hash.digest());
    hash.update(value);
    read += value.byteLength;
    onProgress({ stage: "reading", share: read / archive.size });
  }
}

/** XMLHttpRequest and not fetch: only it tells how much of a body has left. */
function put(url: string, headers: Record<string, string>, body: Blob, options: SendOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const stop = () => request.abort();
    const refused = (detail: string) =>
      reject(new ApiProblem({ status: request.status, code: "upload_failed", detail }));
    request.open("PUT", url);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = ({ loaded }) =>
      options.onProgress({ stage: "sending", share: Math.min(1, loaded / body.size) });
    // 412: somebody put these very bytes there meanwhile.
    request.onload = () =>
      request.status < 300 || request.status === 412
        ? resolve()
        : refused(`The store refused the folder (${request.status}).`);
    request.onerror = () =>
      refused("The folder could not be sent: the connection broke, or a file changed meanwhile.");
    request.onabort = () => reject(new DOMException("stopped", "AbortError"));
    request.onloadend = () => options.signal.removeEventListener("abort", stop);
    options.signal.addEventListener("abort", stop);
    request.send(body);
  });
}

/** Answers the upload's id. Raises ApiProblem; AbortError when it was stopped. */
export async function sendFolder(folder: Folder, options: SendOptions): Promise<string> {
  const archive = archiveOf(folder.files);
  let blake3Hex: string;
  try {
    blake3Hex = await hashed(archive, options);
  } catch (error) {
    if (error instanceof DOMException && error.name !== "AbortError") {
      throw new ApiProblem({
        status: 0,
        code: "folder_unreadable",
        detail: "A file of the folder changed or went away since it was chosen; choose the folder again.",
      });
    }
    throw error;
  }
  const upload = await answered(
    api.POST("/api/v1/uploads", {
      body: { blake3: blake3Hex, size_bytes: archive.size },
      signal: options.signal,
    }),
  );
  // Content-addressed: what the store has already is not sent again.
  if (upload.put_url) await put(upload.put_url, upload.headers ?? {}, archive, options);
  return upload.id;
}
