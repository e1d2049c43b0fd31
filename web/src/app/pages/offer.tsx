import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams } from "react-router";
import { ApiProblem } from "@/api/problem";
import { Ago } from "@/components/ago";
import { Money } from "@/components/money";
import { SimulatedBadge } from "@/components/simulated-badge";
import { Badge } from "@/components/ui/badge";
import { Button } from "@/components/ui/button";
import { Card, CardHeader } from "@/components/ui/card";
import { Fact } from "@/components/ui/stat";
import { Failed, Notice, Skeleton } from "@/components/ui/states";
import { walletQuery } from "@/features/billing/api";
import { TopUpDialog } from "@/features/billing/top-up-dialog";
import { BookForm } from "@/features/jobs/book-form";
import { type Offer, offerQuery } from "@/features/market/api";
import { Reliability, ReliabilityExplained } from "@/features/market/reliability";
import { useSession } from "@/features/session/api";
import { formatSpan } from "@/lib/time";
import { formatCount, formatNumber } from "@/lib/units";
import { NotFound } from "../not-found";
import { signInPath } from "../return-path";
import { useTitle } from "../use-title";

export function OfferPage() {
  const { offerId = "" } = useParams();
  const navigate = useNavigate();
  const session = useSession();
  const offer = useQuery(offerQuery(offerId));
  const wallet = useQuery({ ...walletQuery, enabled: session.user !== null });
  useTitle(offer.data ? `${offer.data.gpu_name} on ${offer.data.node_name}` : "Offer");

  if (offer.isError && !offer.data) {
    if (offer.error instanceof ApiProblem && offer.error.status === 404) return <NotFound />;
    return <Failed error={offer.error} onRetry={() => void offer.refetch()} className="py-24" />;
  }
  if (!offer.data) return <OfferSkeleton />;

  const { data } = offer;
  const taken = data.gpus_free < 1 || data.state !== "listed";
  return (
    <div className="page">
      <header className="pt-6 pb-5">
        <nav aria-label="Breadcrumb" className="mb-2 text-sm text-ink-3">
          <Link to="/search" className="underline-offset-4 hover:text-ink hover:underline">
            Search
          </Link>
          <span aria-hidden> / </span>
          <span>{data.node_name}</span>
        </nav>
        <div className="flex flex-wrap items-end justify-between gap-x-6 gap-y-2">
          <div className="flex flex-wrap items-center gap-x-3 gap-y-1.5">
            <h1 className="text-xl font-semibold">{data.gpu_name}</h1>
            {data.simulated ? <SimulatedBadge /> : null}
            {taken ? (
              <Badge tone="warn">{data.state === "listed" ? "taken" : data.state}</Badge>
            ) : (
              <Badge tone="good" dot="live">
                {data.gpus_free} free
              </Badge>
            )}
          </div>
          <p className="text-lg font-semibold">
            <Money micros={data.price_per_gpu_hour_micros} precision="rate" />
            <span className="text-sm font-normal text-ink-2"> per GPU-hour</span>
          </p>
        </div>
      </header>
      <div className="grid items-start gap-4 lg:grid-cols-[minmax(0,1fr)_20rem] xl:grid-cols-[minmax(0,1fr)_22rem]">
        <Card className="min-w-0">
          <CardHeader title="Book it" description="What you choose here runs on this node." />
          {taken ? (
            <div className="p-4 sm:p-5">
              <Notice
                tone="warn"
                actions={
                  <Button asChild size="sm">
                    <Link to={`/search?gpu_model=${encodeURIComponent(data.gpu_model)}`}>Others like it</Link>
                  </Button>
                }
              >
                {data.state === "listed"
                  ? "All of its GPUs are taken at the moment. This page notices when one is free again."
                  : "Its owner has paused this offer."}
              </Notice>
            </div>
          ) : (
            <BookForm
              offer={data}
              availableMicros={wallet.data?.available_micros ?? null}
              topUp={
                <TopUpDialog
                  trigger={(open) => (
                    <Button size="sm" onClick={open}>
                      Add money
                    </Button>
                  )}
                />
              }
              submitInstead={
                session.user || session.isPending ? undefined : (
                  <Button asChild variant="primary" size="lg">
                    <Link to={signInPath(`/offers/${data.id}`)}>Sign in to book</Link>
                  </Button>
                )
              }
              onBooked={(booking) => void navigate(`/jobs/${booking.job_id}`)}
            />
          )}
        </Card>
        <OfferFacts offer={data} />
      </div>
    </div>
  );
}

function OfferFacts({ offer }: { offer: Offer }) {
  return (
    <div className="grid gap-4">
      <Card>
        <CardHeader title="The node" />
        <dl className="divide-y divide-line px-4 sm:px-5 py-2">
          <Fact label="Name">{offer.node_name}</Fact>
          <Fact label="Owner">{offer.owner_name || "–"}</Fact>
          <Fact label="Region">{offer.region}</Fact>
          <Fact
            label={
              <>
                Reliability <ReliabilityExplained />
              </>
            }
          >
            <Reliability of={offer} full />
          </Fact>
          <Fact label="CPU cores">{formatCount(offer.cpus)}</Fact>
          <Fact label="Main memory">{formatCount(offer.memory_gb)} GB</Fact>
          <Fact label="Bookings">
            {formatSpan(offer.duration_s_min)} to {formatSpan(offer.duration_s_max)}
          </Fact>
          {offer.interruptible_floor_micros === null ? null : (
            <Fact label="Interruptible from">
              <Money micros={offer.interruptible_floor_micros} precision="rate" />
            </Fact>
          )}
          <Fact label="Listed">
            <Ago at={offer.listed_at} />
          </Fact>
        </dl>
      </Card>
      <Card>
        <CardHeader title="Each GPU" description="The maker's published figures for this model." />
        <dl className="divide-y divide-line px-4 sm:px-5 py-2">
          <Fact label="GPUs in the node">{offer.gpus_total}</Fact>
          <Fact label="Memory">{offer.vram_gb} GB</Fact>
          <Fact label="fp16">{formatNumber(offer.fp16_tflops)} TFLOPS</Fact>
          <Fact label="fp32">{formatNumber(offer.fp32_tflops)} TFLOPS</Fact>
          <Fact label="Memory bandwidth">{formatCount(offer.memory_bandwidth_gb_s)} GB/s</Fact>
          <Fact label="fp16 TFLOPS per $">{formatCount(offer.perf_per_dollar)}</Fact>
        </dl>
        {offer.simulated ? (
          <p className="border-t border-line px-4 sm:px-5 py-3 text-xs text-ink-3">
            This node is simulated: a real agent runs real processes on this machine's CPU, and its GPU is
            invented.
          </p>
        ) : null}
      </Card>
    </div>
  );
}

function OfferSkeleton() {
  return (
    <div className="page pt-6" role="status" aria-label="Loading the offer">
      <Skeleton className="w-32" />
      <Skeleton className="mt-3 h-7 w-72" />
      <div className="mt-6 grid gap-4 lg:grid-cols-[minmax(0,1fr)_20rem]">
        <Skeleton className="h-96 rounded-lg" />
        <Skeleton className="h-96 rounded-lg" />
      </div>
    </div>
  );
}
