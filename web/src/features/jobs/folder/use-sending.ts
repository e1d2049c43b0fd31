import { useEffect, useRef, useState } from "react";
import type { Folder } from "./select";
import type { Progress } from "./send";

/** Sends a folder and tells how far it is. The same folder is sent once, however often it is booked with. */
export function useSending() {
  const [progress, setProgress] = useState<Progress | null>(null);
  const [error, setError] = useState<unknown>(null);
  const abort = useRef<AbortController | null>(null);
  const sent = useRef<{ folder: Folder; uploadId: string } | null>(null);

  useEffect(() => () => abort.current?.abort(), []);

  const send = async (folder: Folder): Promise<{ uploadId: string } | null> => {
    setError(null);
    if (sent.current?.folder === folder) return sent.current;
    const controller = new AbortController();
    abort.current = controller;
    setProgress({ stage: "reading", share: 0 });
    try {
      const { sendFolder } = await import("./send");
      const uploadId = await sendFolder(folder, { signal: controller.signal, onProgress: setProgress });
      sent.current = { folder, uploadId };
      return sent.current;
    } catch (failure) {
      if (!controller.signal.aborted) setError(failure);
      return null;
    } finally {
      setProgress(null);
    }
  };

  return { send, progress, error, stop: () => abort.current?.abort() };
}
