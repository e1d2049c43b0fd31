/** Where to go after signing in. Only paths of this site: "//elsewhere.example" would lead away from it. */
export function safeReturnPath(next: string | null): string {
  if (!next?.startsWith("/") || next.startsWith("//") || next.includes("\\")) return "/search";
  return next;
}

export const signInPath = (from: string): string => `/sign-in?next=${encodeURIComponent(from)}`;
