import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useReducer, useRef } from "react";
import { jobQuery } from "./api";
import { EMPTY_STREAM, parseMessage, streamReducer } from "./stream-state";

const EVENTS = ["job", "timeline", "log", "metrics", "end"] as const;
const RETRY_MS_FIRST = 500;
const RETRY_MS_MAX = 10_000;

/**
 * Follows a job by server-sent events. Reconnects by itself with growing, jittered pauses and goes on from the log
 * offset it has; while `connection` is "waiting" the page's queries poll instead.
 */
export function useJobStream(jobId: string) {
  const client = useQueryClient();
  const [state, dispatch] = useReducer(streamReducer, EMPTY_STREAM);
  const logOffset = useRef(0);
  logOffset.current = state.logOffset;

  useEffect(() => {
    let source: EventSource | null = null;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let pauseMs = RETRY_MS_FIRST;
    let over = false;

    const connect = () => {
      let logFrom = logOffset.current;
      const address = `/api/v1/jobs/${encodeURIComponent(jobId)}/stream?log_offset=${logFrom}`;
      source = new EventSource(address, { withCredentials: true });
      source.onopen = () => {
        pauseMs = RETRY_MS_FIRST;
        dispatch({ type: "connected" });
      };
      source.onerror = () => {
        source?.close();
        if (over) return;
        dispatch({ type: "disconnected" });
        // Reading the job also renews a session that has run out, which EventSource alone cannot.
        void client.invalidateQueries({ queryKey: jobQuery(jobId).queryKey });
        timer = setTimeout(connect, pauseMs * (0.5 + Math.random()));
        pauseMs = Math.min(pauseMs * 2, RETRY_MS_MAX);
      };
      for (const name of EVENTS) {
        source.addEventListener(name, (event: MessageEvent<string>) => {
          const message = parseMessage(name, event.data, logFrom);
          if (!message) return;
          if (message.type === "job") client.setQueryData(jobQuery(jobId).queryKey, message.job);
          if (message.type === "log") logFrom = message.page.next_offset;
          if (message.type === "end") {
            over = true;
            source?.close();
          }
          dispatch(message);
        });
      }
    };

    connect();
    return () => {
      over = true;
      clearTimeout(timer);
      source?.close();
    };
  }, [jobId, client]);

  return [state, dispatch] as const;
}
