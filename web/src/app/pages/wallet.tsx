import { useQuery } from "@tanstack/react-query";
import { Plus } from "lucide-react";
import { Money } from "@/components/money";
import { Button } from "@/components/ui/button";
import { Card } from "@/components/ui/card";
import { PageHeader } from "@/components/ui/page-header";
import { Stat } from "@/components/ui/stat";
import { Failed, SkeletonRows, Stale } from "@/components/ui/states";
import { Explain } from "@/components/ui/tooltip";
import { walletQuery } from "@/features/billing/api";
import { TopUpDialog } from "@/features/billing/top-up-dialog";
import { WalletEntries } from "@/features/billing/wallet-entries";
import { useTitle } from "../use-title";

export function WalletPage() {
  useTitle("Wallet");
  const { data, isPending, isError, error, refetch } = useQuery(walletQuery);
  return (
    <div className="page">
      <PageHeader
        title="Wallet"
        description="Jobs are paid from here, by the second of confirmed running time."
        actions={
          <TopUpDialog
            trigger={(open) => (
              <Button variant="primary" onClick={open}>
                <Plus aria-hidden /> Add money
              </Button>
            )}
          />
        }
      />
      <div className="grid gap-4">
        {isError && data ? <Stale error={error} onRetry={() => void refetch()} /> : null}
        <Card>
          {isPending ? (
            <SkeletonRows rows={1} />
          ) : !data ? (
            <Failed error={error} onRetry={() => void refetch()} />
          ) : (
            <dl className="grid grid-cols-2 gap-4 px-4 py-4 sm:grid-cols-3 sm:px-5">
              <Stat label="Available" value={<Money micros={data.available_micros} precision="rate" />} />
              <Stat
                label={
                  <>
                    Set aside
                    <Explain about="the money set aside">
                      Held for running bookings, so that a job never outruns the wallet. What a job does not
                      use comes back when it ends.
                    </Explain>
                  </>
                }
                value={<Money micros={data.held_micros} precision="rate" />}
              />
              <Stat
                label="Spent in 30 days"
                value={<Money micros={data.spent_30d_micros} precision="rate" />}
              />
            </dl>
          )}
        </Card>
        <WalletEntries />
      </div>
    </div>
  );
}
