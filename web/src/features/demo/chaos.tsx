import { useQuery } from "@tanstack/react-query";
import { Cable, Unplug, Zap } from "lucide-react";
import { Button } from "@/components/ui/button";
import { Confirm } from "@/components/ui/dialog";
import { Notice, ProblemNotice } from "@/components/ui/states";
import { demoNodesQuery, useDemoControls } from "./api";

interface ChaosProps {
  nodeName: string | null;
  /** Whether the job runs there now, so that killing it shows something. */
  armed: boolean;
}

/** Real faults for the node under a job. Only in the demo, and only for simulated nodes. */
export function useChaos({ nodeName, armed }: ChaosProps) {
  const { kill, link } = useDemoControls();
  const { data } = useQuery({ ...demoNodesQuery, enabled: nodeName !== null });
  const cutNode = data?.find(
    (node) => node.link === "cut" && (node.name === nodeName || node.name === link.variables?.name),
  );
  const onFleet = data?.some(({ name }) => name === nodeName) ?? false;

  const buttons =
    nodeName && armed && onFleet ? (
      <>
        <Button
          busy={link.isPending}
          disabled={cutNode !== undefined}
          onClick={() => link.mutate({ name: nodeName, mode: "cut" })}
        >
          <Unplug aria-hidden /> Cut its link
        </Button>
        <Confirm
          title={`Kill ${nodeName}?`}
          description={
            <>
              <p>
                This is a real <code className="font-mono text-sm text-ink">kill -9</code> of the node's
                agent, its shim and this job's process. Nothing is saved first.
              </p>
              <p>
                Catalyst notices the missing heartbeats and goes on from the last committed checkpoint on
                another node. The demo starts this node again half a minute later.
              </p>
            </>
          }
          confirmLabel="Kill it"
          onConfirm={() => kill.mutate(nodeName)}
          trigger={
            <Button variant="danger" busy={kill.isPending} data-testid="kill-node">
              <Zap aria-hidden /> Kill this node
            </Button>
          }
        />
      </>
    ) : null;

  const notices = (
    <>
      {cutNode ? (
        <Notice
          tone="warn"
          icon={Unplug}
          actions={
            <Button
              size="sm"
              busy={link.isPending}
              onClick={() => link.mutate({ name: cutNode.name, mode: "up" })}
            >
              <Cable aria-hidden /> Heal the link
            </Button>
          }
        >
          The link of <span className="font-medium">{cutNode.name}</span> is cut: nothing it sends arrives.
          Heal it soon and the job thaws where it is; wait, and it moves.
        </Notice>
      ) : null}
      <ProblemNotice error={kill.error ?? link.error} />
    </>
  );

  return { buttons, notices };
}
