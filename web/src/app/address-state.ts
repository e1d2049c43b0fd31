import { useCallback, useEffect, useRef, useState } from "react";
import { useLocation, useNavigate, useNavigationType } from "react-router";

interface Landing {
  type: "POP" | "PUSH" | "REPLACE";
  /** The number of the question that the new address answers; null when it answers none of ours. */
  landed: number | null;
  newest: number;
}

/** Whether the address is again the truth: it answers the newest question, or the visitor went elsewhere. */
export function settles({ type, landed, newest }: Landing): boolean {
  return type === "POP" || landed === null || landed >= newest;
}

/** Numbers are unique in this page's life; an entry of history keeps the one of the question that made it. */
let questions = 0;

const questionOf = (state: unknown): number | null =>
  typeof state === "object" && state !== null && "question" in state && typeof state.question === "number"
    ? state.question
    : null;

interface AskOptions {
  /** Take the place of the current entry of history instead of adding one. */
  replace?: boolean;
}

/**
 * The address's search parameters as state that answers at once.
 *
 * A navigation is a transition: on a slow machine it is done a while after the click, and a control that shows only the
 * address springs back meanwhile. So what was asked is shown until the address says the same, and the next question
 * builds on it: of two quick clicks none is lost.
 */
export function useAddressParams() {
  const location = useLocation();
  const type = useNavigationType();
  const navigate = useNavigate();
  const [asked, setAsked] = useState<string | null>(null);
  const newest = useRef<{ question: number; search: string } | null>(null);

  // biome-ignore lint/correctness/useExhaustiveDependencies: the key tells of every landing, also on an equal address
  useEffect(() => {
    const waiting = newest.current;
    if (waiting && settles({ type, landed: questionOf(location.state), newest: waiting.question })) {
      newest.current = null;
      setAsked(null);
    }
  }, [location.key, location.state, type]);

  const ask = useCallback(
    (change: (current: URLSearchParams) => URLSearchParams, { replace = false }: AskOptions = {}) => {
      const search = change(
        new URLSearchParams(newest.current ? newest.current.search : location.search),
      ).toString();
      questions += 1;
      newest.current = { question: questions, search };
      setAsked(search);
      void navigate({ search }, { replace, preventScrollReset: true, state: { question: questions } });
    },
    [location.search, navigate],
  );

  return [new URLSearchParams(asked ?? location.search), ask] as const;
}
