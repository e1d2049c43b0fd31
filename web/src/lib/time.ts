/** Instants and durations as text, in one place. */

const MINUTE = 60;
const HOUR = 3600;
const DAY = 86_400;

/** "850 ms", "4.2 s", "3 min 05 s", "2 h 10 min", "3 d 4 h". */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds)) return "–";
  const s = Math.max(0, seconds);
  if (s < 1) return `${Math.round(s * 1000)} ms`;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < MINUTE) return `${Math.floor(s)} s`;
  if (s < HOUR) return `${Math.floor(s / MINUTE)} min ${pad(Math.floor(s % MINUTE))} s`;
  if (s < DAY) return `${Math.floor(s / HOUR)} h ${pad(Math.floor((s % HOUR) / MINUTE))} min`;
  return `${Math.floor(s / DAY)} d ${Math.floor((s % DAY) / HOUR)} h`;
}

/** A length somebody chose, told without idle zeros: "10 minutes", "1 hour", "7 days". */
export function formatSpan(seconds: number): string {
  const [size, name] =
    seconds % DAY === 0 ? [DAY, "day"] : seconds % HOUR === 0 ? [HOUR, "hour"] : [MINUTE, "minute"];
  const count = Math.round(seconds / size);
  return `${count} ${name}${count === 1 ? "" : "s"}`;
}

/** Milliseconds that were measured: "36 ms", "4,210 ms". */
export const formatMs = (ms: number): string => `${Math.round(ms).toLocaleString("en-US")} ms`;

/** A clock since a start: "+00:04.2", "+01:12:09". */
export function formatOffset(seconds: number): string {
  const s = Math.max(0, seconds);
  const hours = Math.floor(s / HOUR);
  const minutes = Math.floor((s % HOUR) / MINUTE);
  if (hours > 0) return `+${pad(hours)}:${pad(minutes)}:${pad(Math.floor(s % MINUTE))}`;
  const tenths = Math.floor((s % MINUTE) * 10) / 10;
  return `+${pad(minutes)}:${tenths.toFixed(1).padStart(4, "0")}`;
}

/** "just now", "12 s ago", "5 min ago", "3 h ago", then the date. */
export function formatAgo(iso: string, nowMs: number): string {
  const seconds = (nowMs - Date.parse(iso)) / 1000;
  if (Number.isNaN(seconds)) return "–";
  if (seconds < 2) return "just now";
  if (seconds < MINUTE) return `${Math.floor(seconds)} s ago`;
  if (seconds < HOUR) return `${Math.floor(seconds / MINUTE)} min ago`;
  if (seconds < DAY) return `${Math.floor(seconds / HOUR)} h ago`;
  if (seconds < 7 * DAY) return `${Math.floor(seconds / DAY)} d ago`;
  return formatDate(iso);
}

const dateFormat = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
const instantFormat = new Intl.DateTimeFormat("en-GB", {
  day: "numeric",
  month: "short",
  year: "numeric",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  timeZoneName: "short",
});
const clockFormat = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
});

export const formatDate = (iso: string): string => dateFormat.format(new Date(iso));
export const formatInstant = (iso: string): string => instantFormat.format(new Date(iso));
export const formatClock = (iso: string): string => clockFormat.format(new Date(iso));

const pad = (value: number): string => String(value).padStart(2, "0");
