"""A job is told that it has to leave: the file, the signal it asked for, and that it may stay after all."""

import json
from datetime import UTC, datetime

from gp4u_protocol.messages import ActualState, DesiredRun, Notice

from tests.integration.agent.conftest import AgentProcess
from tests.integration.agent.peer import Peer

JOB = """\
trap '' TERM
python - <<'END'
import gp4u_job, signal, time
signal.signal(signal.SIGUSR1, lambda *_: print('signalled', flush=True))
signal.signal(signal.SIGTERM, signal.default_int_handler)
assert gp4u_job.notice() is None
print('up', flush=True)
try:
    while (said := gp4u_job.notice()) is None:
        time.sleep(0.02)
    print('told', said['reason'], 30 < said['seconds_left'] <= 90, abs(said['deadline'] - time.time() - 90) < 60, flush=True)
    while gp4u_job.notice() is not None:
        time.sleep(0.02)
    print('stays', flush=True)
    while True:
        time.sleep(0.02)
except KeyboardInterrupt:
    print('bye', flush=True)
END
"""


async def test_a_job_has_notice_a_signal_and_may_stay_after_all(peer: Peer, node: AgentProcess) -> None:
    spec = peer.spec(JOB)
    await peer.want(spec)
    await peer.until(lambda: "up" in peer.log(peer.first), "the job runs")
    notice = Notice(
        reason="maintenance",
        sentence="A new fan.",
        deadline_at=datetime(2026, 1, 1, tzinfo=UTC),  # whatever the platform's clock says
        seconds_left=90.0,
        signal="SIGUSR1",
    )
    await peer.want(spec.model_copy(update={"notice": notice}))
    await peer.until(lambda: "told maintenance True True" in peer.log(peer.first), "the job reads it")
    # The shell around it has no handler, and would have died of the signal.
    await peer.until(lambda: "signalled" in peer.log(peer.first), "the job was signalled")
    document = json.loads((node.folder().control / "notice.json").read_text())
    assert (document["reason"], document["sentence"]) == ("maintenance", "A new fan.")
    await peer.want(spec.model_copy(update={"notice": notice.model_copy(update={"seconds_left": 5.0})}))
    await peer.want(spec)
    await peer.until(lambda: "stays" in peer.log(peer.first), "the notice is taken back")
    assert peer.log(peer.first).count("signalled") == 1
    await peer.want(
        spec.model_copy(update={"notice": notice, "desired": DesiredRun.STOP, "stop_reason": "moving"})
    )
    report = await peer.until(lambda: peer.report(peer.first, ActualState.STOPPED), "the job ends")
    assert (report.exit_code, report.reason) == (0, "moving"), "an exit 0 after SIGTERM is no result"


async def test_an_end_with_everything_saved_says_so(peer: Peer, node: AgentProcess) -> None:
    await peer.want(
        peer.spec("mkdir -p $GP4U_CHECKPOINT_DIR && echo 1 > $GP4U_CHECKPOINT_DIR/result; sleep 0.4")
    )
    report = await peer.until(lambda: peer.report(peer.first, ActualState.EXITED), "the job ends")
    assert (report.exit_code, report.saved) == (0, True)
    assert peer.checkpoints[-1]["trigger"] == "final"
