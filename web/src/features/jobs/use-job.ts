import { useQuery } from "@tanstack/react-query";
import { useEffect } from "react";
import { eventsQuery, jobQuery, logQuery } from "./api";
import { isFinal } from "./types";
import { useJobStream } from "./use-job-stream";

const POLL_MS = 2_000;

/** One job, its timeline, log and readings: pushed while the stream lives, polled while it does not. */
export function useJob(jobId: string) {
  const [stream, dispatch] = useJobStream(jobId);
  const job = useQuery({
    ...jobQuery(jobId),
    refetchInterval: ({ state }) => {
      if (stream.connection === "live" || stream.connection === "ended") return false;
      return state.data && isFinal(state.data.state) ? false : POLL_MS;
    },
  });
  const polling =
    stream.connection === "waiting" && !(job.data && isFinal(job.data.state) && stream.logEnded);
  const events = useQuery({ ...eventsQuery(jobId), refetchInterval: polling ? POLL_MS : false });
  const log = useQuery({
    ...logQuery(jobId, stream.logOffset),
    enabled: polling,
    refetchInterval: polling ? POLL_MS : false,
  });

  useEffect(() => {
    if (events.data) dispatch({ type: "timeline", events: events.data });
  }, [events.data, dispatch]);
  useEffect(() => {
    if (log.data) dispatch({ type: "log", ...log.data });
  }, [log.data, dispatch]);

  return { job, stream, eventsLoading: events.isPending && stream.events.length === 0 };
}
