import { useQuery } from "@tanstack/react-query";
import { ArrowRight } from "lucide-react";
import type { ReactNode } from "react";
import { Link } from "react-router";
import { Button } from "@/components/ui/button";
import { CodeLine } from "@/components/ui/copy";
import { OfferStrip } from "@/features/market/offer-strip";
import { platformQuery } from "@/features/platform/api";
import { useSession } from "@/features/session/api";
import { CatalystDiagram } from "../catalyst-diagram";
import { useTitle } from "../use-title";

export function Landing() {
  useTitle(null);
  const { data: platform } = useQuery(platformQuery);
  const { user } = useSession();
  return (
    <>
      <section className="page grid items-center gap-x-12 gap-y-10 pt-12 pb-14 lg:grid-cols-[minmax(0,1fr)_minmax(0,1.05fr)] lg:pt-20 lg:pb-20">
        <div>
          <h1 className="text-3xl leading-[1.1] font-semibold tracking-[-0.03em] sm:text-5xl">
            Rent a GPU.
            <br />
            If its node dies,
            <br />
            <span className="text-accent-ink">your job goes on.</span>
          </h1>
          <p className="mt-5 max-w-lg text-base text-ink-2">
            Owners list GPUs and earn. Renters book them by the second. The Catalyst Network watches every
            node, checkpoints every job, and resumes it elsewhere from its last checkpoint.
          </p>
          <div className="mt-7 flex flex-wrap gap-3">
            <Button asChild variant="primary" size="lg">
              <Link to="/search">
                Search GPUs <ArrowRight aria-hidden />
              </Link>
            </Button>
            {user ? (
              <Button asChild size="lg">
                <Link to="/jobs">Your jobs</Link>
              </Button>
            ) : (
              <Button asChild size="lg">
                <Link to="/sign-up">Create an account</Link>
              </Button>
            )}
          </div>
          {platform?.demo && !user ? (
            <p className="mt-5 text-sm text-ink-2">
              This is a demo.{" "}
              <Link to="/sign-in" className="text-accent-ink underline underline-offset-4">
                Sign in with one click
              </Link>{" "}
              as a renter, run a training job, and kill the node under it.
            </p>
          ) : null}
        </div>
        <CatalystDiagram />
      </section>

      <section className="border-y border-line bg-sunken py-8">
        <div className="page">
          <OfferStrip />
        </div>
      </section>

      <section className="page py-14 lg:py-20" aria-labelledby="how">
        <h2 id="how" className="text-2xl font-semibold tracking-[-0.02em]">
          What happens when a node dies
        </h2>
        <p className="mt-2 max-w-2xl text-base text-ink-2">
          Nothing you were told was saved is lost, and at most one run of a job counts. The work since the
          last checkpoint is lost, and it is not charged.
        </p>
        <ol className="mt-8 grid gap-x-8 gap-y-7 sm:grid-cols-2 lg:grid-cols-4">
          <Step number={1} title="Heartbeat">
            Each node renews a short lease
            {platform ? <> of {platform.heartbeat_ttl_s} seconds</> : null}. A shim beside the job holds its
            deadline and freezes the job when the lease can't be proven.
          </Step>
          <Step number={2} title="Checkpoint">
            The job's files are cut into chunks, deduplicated, encrypted and stored. A checkpoint exists once
            it is committed, never before.
          </Step>
          <Step number={3} title="Node lost">
            No beat for a whole lease: the placement is fenced, and whatever the old node still sends is
            refused.
          </Step>
          <Step number={4} title="Resumed">
            The router picks another node, every byte is verified on restore, and the job goes on. You see
            each step with its milliseconds.
          </Step>
        </ol>
      </section>

      <section className="border-t border-line" aria-labelledby="host">
        <div className="page grid items-center gap-x-12 gap-y-6 py-14 lg:grid-cols-2">
          <div>
            <h2 id="host" className="text-2xl font-semibold tracking-[-0.02em]">
              Host it yourself
            </h2>
            <p className="mt-2 max-w-lg text-base text-ink-2">
              The whole marketplace starts with two commands and needs git, make and Python. One data folder
              holds all of its state; deleting it is the reset.
            </p>
          </div>
          <div className="grid min-w-0 grid-cols-[minmax(0,1fr)] gap-2">
            <CodeLine prompt text="git clone <your copy of GP4U> gp4u && cd gp4u" />
            <CodeLine prompt text="make up" />
          </div>
        </div>
      </section>
    </>
  );
}

function Step({ number, title, children }: { number: number; title: string; children: ReactNode }) {
  return (
    <li className="border-t-2 border-line pt-4">
      <p className="figures text-xs font-medium text-accent-ink">{number}</p>
      <h3 className="mt-1 text-base font-semibold">{title}</h3>
      <p className="mt-1.5 text-ink-2">{children}</p>
    </li>
  );
}
