import { LogOut } from "lucide-react";
import { Badge } from "@/components/ui/badge";
import { Button } from "@/components/ui/button";
import { Card, CardHeader } from "@/components/ui/card";
import { PageHeader } from "@/components/ui/page-header";
import { Fact } from "@/components/ui/stat";
import { ProblemNotice } from "@/components/ui/states";
import { KeysCard } from "@/features/keys/keys-card";
import { useSession, useSignOut } from "@/features/session/api";
import { SessionsCard } from "@/features/session/sessions-card";
import { formatDate } from "@/lib/time";
import { useTitle } from "../use-title";

export function SettingsPage() {
  useTitle("Settings");
  const { user, has } = useSession();
  const signOut = useSignOut();
  if (!user) return null;
  return (
    <div className="page">
      <PageHeader title="Settings" />
      <div className="grid items-start gap-4 lg:grid-cols-[minmax(0,1fr)_22rem]">
        <div className="grid min-w-0 gap-4">
          <KeysCard mayAdmin={has("admin")} />
          <SessionsCard />
        </div>
        <Card>
          <CardHeader title="Account" />
          <dl className="divide-y divide-line px-4 sm:px-5 py-2">
            <Fact label="Name">{user.name || "–"}</Fact>
            <Fact label="E-mail">
              <span className="[overflow-wrap:anywhere]">{user.email}</span>
            </Fact>
            <Fact label="Roles">
              <span className="flex flex-wrap justify-end gap-1">
                {user.roles.map((role) => (
                  <Badge key={role}>{role}</Badge>
                ))}
              </span>
            </Fact>
            <Fact label="Since">{formatDate(user.created_at)}</Fact>
          </dl>
          <div className="grid gap-3 border-t border-line px-4 sm:px-5 py-4">
            <Button busy={signOut.isPending} onClick={() => signOut.mutate()}>
              <LogOut aria-hidden /> Sign out of this session
            </Button>
            <ProblemNotice error={signOut.error} />
          </div>
        </Card>
      </div>
    </div>
  );
}
