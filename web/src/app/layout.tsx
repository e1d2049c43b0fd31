import { useQuery } from "@tanstack/react-query";
import { WifiOff } from "lucide-react";
import { Suspense, useEffect, useRef, useSyncExternalStore } from "react";
import { Outlet, ScrollRestoration, useLocation, useNavigation } from "react-router";
import { CurrencyContext } from "@/components/money";
import { platformQuery } from "@/features/platform/api";
import { cn } from "@/lib/class-names";
import { Footer } from "./footer";
import { TopNav } from "./top-nav";

export function Layout() {
  const platform = useQuery(platformQuery);
  const navigation = useNavigation();
  const { pathname } = useLocation();
  const main = useRef<HTMLElement>(null);
  const entered = useRef(pathname);

  // A page change moves focus to the page, as a full load would; screen readers then start at its heading.
  useEffect(() => {
    if (entered.current !== pathname) main.current?.focus({ preventScroll: true });
    entered.current = pathname;
  }, [pathname]);

  return (
    <CurrencyContext value={platform.data?.currency ?? "USD"}>
      <a
        href="#main"
        className="fixed top-2 left-2 z-50 -translate-y-16 rounded-md bg-accent px-3 py-2 text-on-accent focus:translate-y-0"
      >
        Skip to content
      </a>
      <div
        aria-hidden
        className={cn(
          "fixed inset-x-0 top-0 z-50 h-0.5 origin-left bg-accent-ink transition-transform duration-500",
          navigation.state === "idle" ? "scale-x-0" : "scale-x-75",
        )}
      />
      <div className="flex min-h-dvh flex-col">
        <TopNav demo={platform.data?.demo ?? false} />
        <OfflineBanner />
        <main id="main" ref={main} tabIndex={-1} className="flex-1 pb-16 outline-none">
          <Suspense>
            <Outlet />
          </Suspense>
        </main>
        <Footer version={platform.data?.version} demo={platform.data?.demo ?? false} />
      </div>
      <ScrollRestoration />
    </CurrencyContext>
  );
}

const watchOnline = (listener: () => void) => {
  window.addEventListener("online", listener);
  window.addEventListener("offline", listener);
  return () => {
    window.removeEventListener("online", listener);
    window.removeEventListener("offline", listener);
  };
};

function OfflineBanner() {
  const online = useSyncExternalStore(watchOnline, () => navigator.onLine);
  if (online) return null;
  return (
    <div role="status" className="border-b border-warn/30 bg-warn-soft">
      <p className="page flex items-center gap-2 py-2 text-sm">
        <WifiOff className="size-4 shrink-0 text-warn" aria-hidden />
        You are offline. What you see may be old; your jobs run on without this page.
      </p>
    </div>
  );
}
