import { useQuery } from "@tanstack/react-query";
import { LogOut, Menu as MenuIcon, Monitor, Moon, Settings, Sun } from "lucide-react";
import { useState } from "react";
import { Link, NavLink, useLocation, useNavigate } from "react-router";
import { Money } from "@/components/money";
import { Badge } from "@/components/ui/badge";
import { Button } from "@/components/ui/button";
import { Dialog } from "@/components/ui/dialog";
import {
  Menu,
  MenuItem,
  MenuLabel,
  MenuRadioGroup,
  MenuRadioItem,
  MenuSeparator,
} from "@/components/ui/menu";
import { Tooltip } from "@/components/ui/tooltip";
import { walletQuery } from "@/features/billing/api";
import { type Role, useSession, useSignOut } from "@/features/session/api";
import { cn } from "@/lib/class-names";
import { Mark } from "./brand";
import { signInPath } from "./return-path";
import { chooseTheme, type ThemeChoice, useThemeChoice } from "./theme";

interface Room {
  readonly to: string;
  readonly label: string;
  /** Who sees it: everybody, whoever is signed in, or holders of a role. */
  readonly roles: "all" | "signed-in" | readonly Role[];
}

const ROOMS: readonly Room[] = [
  { to: "/search", label: "Search", roles: "all" },
  { to: "/jobs", label: "Jobs", roles: "signed-in" },
  { to: "/fleet", label: "Fleet", roles: ["operator"] },
  { to: "/nodes", label: "Nodes", roles: ["owner", "operator"] },
  { to: "/earnings", label: "Earnings", roles: ["owner", "operator"] },
  { to: "/wallet", label: "Wallet", roles: "signed-in" },
  { to: "/admin", label: "Admin", roles: ["admin"] },
];

export function TopNav({ demo }: { demo: boolean }) {
  const session = useSession();
  const [open, setOpen] = useState(false);
  const rooms = ROOMS.filter(
    ({ roles }) =>
      roles === "all" || (session.user !== null && (roles === "signed-in" || session.has(...roles))),
  );
  return (
    <header className="sticky top-0 z-40 border-b border-line bg-bg/85 backdrop-blur-md">
      <div className="page flex h-(--nav-height) items-center gap-2">
        <Link
          to="/"
          className="flex items-center gap-2 rounded-md pr-1 font-semibold tracking-tight"
          aria-label="GP4U home"
        >
          <Mark />
          <span className="text-base">GP4U</span>
        </Link>
        {demo ? (
          <Tooltip label="Simulated GPUs and sandbox money; everything else is real">
            <Badge tone="outline" tabIndex={0}>
              demo
            </Badge>
          </Tooltip>
        ) : null}
        <nav aria-label="Main" className="ml-3 hidden items-center gap-0.5 md:flex">
          {rooms.map(({ to, label }) => (
            <RoomLink key={to} to={to} label={label} />
          ))}
        </nav>
        <div className="ml-auto flex items-center gap-1.5">
          {session.user ? <Balance /> : null}
          <ThemeMenu />
          <Account />
          <Button
            variant="ghost"
            size="icon"
            className="md:hidden"
            aria-label="Open the menu"
            onClick={() => setOpen(true)}
          >
            <MenuIcon aria-hidden />
          </Button>
        </div>
      </div>
      <Dialog open={open} onOpenChange={setOpen} title="Menu">
        <nav aria-label="Main, small screens" className="-mx-2 grid">
          {rooms.map(({ to, label }) => (
            <NavLink
              key={to}
              to={to}
              onClick={() => setOpen(false)}
              className={({ isActive }) =>
                cn("rounded-md px-3 py-3 text-base", isActive ? "bg-hover font-medium" : "text-ink-2")
              }
            >
              {label}
            </NavLink>
          ))}
        </nav>
      </Dialog>
    </header>
  );
}

function RoomLink({ to, label }: { to: string; label: string }) {
  return (
    <NavLink
      to={to}
      className={({ isActive }) =>
        cn(
          "rounded-md px-2.5 py-1.5 text-sm font-medium transition-colors duration-(--fast)",
          isActive ? "bg-hover text-ink" : "text-ink-2 hover:text-ink",
        )
      }
    >
      {label}
    </NavLink>
  );
}

function Balance() {
  const { data } = useQuery(walletQuery);
  if (!data) return null;
  return (
    <Link
      to="/wallet"
      className="hidden rounded-md px-2 py-1.5 text-sm font-medium text-ink-2 transition-colors hover:bg-hover hover:text-ink sm:block"
    >
      <span className="sr-only">Wallet balance </span>
      <Money micros={data.available_micros} />
    </Link>
  );
}

function ThemeMenu() {
  const choice = useThemeChoice();
  const Icon = { system: Monitor, light: Sun, dark: Moon }[choice];
  return (
    <Menu
      trigger={
        <Button variant="ghost" size="icon" aria-label={`Theme: ${choice}`}>
          <Icon aria-hidden />
        </Button>
      }
    >
      <MenuRadioGroup value={choice} onValueChange={(value) => chooseTheme(value as ThemeChoice)}>
        <MenuRadioItem value="system">
          <Monitor aria-hidden /> System
        </MenuRadioItem>
        <MenuRadioItem value="light">
          <Sun aria-hidden /> Light
        </MenuRadioItem>
        <MenuRadioItem value="dark">
          <Moon aria-hidden /> Dark
        </MenuRadioItem>
      </MenuRadioGroup>
    </Menu>
  );
}

function Account() {
  const session = useSession();
  const signOut = useSignOut();
  const navigate = useNavigate();
  const { pathname, search } = useLocation();
  if (session.isPending) return <span className="block size-9" aria-hidden />;
  if (!session.user) {
    if (pathname === "/sign-in" || pathname === "/sign-up") return null;
    return (
      <Button asChild variant="primary" size="sm">
        <Link to={pathname === "/" ? "/sign-in" : signInPath(pathname + search)}>Sign in</Link>
      </Button>
    );
  }
  const { user } = session;
  return (
    <Menu
      trigger={
        <Button variant="ghost" size="icon" className="rounded-full" aria-label="Your account">
          <span className="grid size-7 place-items-center rounded-full bg-accent-soft text-xs font-semibold text-accent-ink uppercase">
            {(user.name || user.email).charAt(0)}
          </span>
        </Button>
      }
    >
      <MenuLabel>
        <span className="block max-w-56 truncate text-sm font-medium text-ink">
          {user.name || user.email}
        </span>
        <span className="block max-w-56 truncate">{user.email}</span>
        <span className="mt-1.5 flex flex-wrap gap-1">
          {user.roles.map((role) => (
            <Badge key={role}>{role}</Badge>
          ))}
        </span>
      </MenuLabel>
      <MenuSeparator />
      <MenuItem onSelect={() => navigate("/settings")}>
        <Settings aria-hidden /> Settings
      </MenuItem>
      <MenuItem onSelect={() => signOut.mutate()}>
        <LogOut aria-hidden /> Sign out
      </MenuItem>
    </Menu>
  );
}
