"""The lease on one node, with real processes: freeze strictly before replace, whoever is paused, cut or killed.

The job itself is the witness: it writes the instant of each of its steps, by the machine's own clock.
"""

import asyncio
import os
import signal
import time

import pytest
from gp4u_agent.runtime import processes
from gp4u_protocol.lease import replace_after_s
from gp4u_protocol.messages import ActualState

from tests.integration.agent.conftest import AgentProcess, paused
from tests.integration.agent.peer import Peer

WITNESS = (
    "python -u -c 'import time\n"
    'f = open("beats", "a", buffering=1)\n'
    "while True:\n"
    '  f.write(f"{time.clock_gettime(time.CLOCK_BOOTTIME)}\\n"); time.sleep(0.01)\''
)


def now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def last_step_at(node: AgentProcess) -> float:
    """When the job last did something."""
    lines = (node.folder().job / "beats").read_text().splitlines()
    return float(lines[-2]) if len(lines) > 1 else 0.0


async def started(peer: Peer, node: AgentProcess) -> None:
    await peer.want(peer.spec(WITNESS))
    await peer.until(lambda: peer.report(peer.first, ActualState.RUNNING), "the job runs")
    await peer.until(lambda: now() - last_step_at(node) < 0.5, "the witness writes")


async def stands_still(node: AgentProcess, peer: Peer) -> None:
    await peer.until(lambda: now() - last_step_at(node) > 0.7, "the job stands still")


async def goes_on(node: AgentProcess, peer: Peer) -> None:
    await peer.until(lambda: now() - last_step_at(node) < 0.3, "the job goes on")


@pytest.mark.parametrize("fault", ["agent paused", "agent killed", "link cut", "link half open"])
async def test_h2_the_job_is_frozen_before_the_server_may_replace_it(
    peer: Peer, node: AgentProcess, fault: str
) -> None:
    await started(peer, node)
    if fault == "agent paused":
        node.signal(signal.SIGSTOP)
    elif fault == "agent killed":
        node.signal(signal.SIGKILL)
    elif fault == "link cut":
        await peer.cut()
    else:
        peer.silent = True
    await asyncio.sleep(0.1)
    may_replace_at = peer.last_beat_at + replace_after_s(peer.ttl_s)
    await peer.until(lambda: now() > may_replace_at + 0.5, "the server may replace it")
    assert last_step_at(node) < may_replace_at
    assert node.folder().shim_alive(), (
        f"frozen, not dead: the link may come back\n{node.log()}\n{sorted(p.name for p in node.folder().path.iterdir())}"
    )
    if fault == "agent paused":
        node.signal(signal.SIGCONT)


async def test_h2_a_thawed_job_lost_nothing_and_started_nothing_twice(peer: Peer, node: AgentProcess) -> None:
    await started(peer, node)
    shim = node.shim_pid()
    with paused(node):
        await stands_still(node, peer)
    await goes_on(node, peer)
    assert node.shim_pid() == shim
    assert peer.states(peer.first).count(ActualState.RUNNING) == 1


async def test_h2_a_half_open_link_is_noticed_and_dialled_again(peer: Peer, node: AgentProcess) -> None:
    await started(peer, node)
    sessions = peer.sessions
    peer.silent = True
    await peer.until(lambda: peer.sessions > sessions, "the agent dials again")
    peer.silent = False
    await goes_on(node, peer)


async def test_a_restarted_gateway_is_found_within_the_lease(peer: Peer, node: AgentProcess) -> None:
    await started(peer, node)
    await peer.cut()
    await asyncio.sleep(0.5)
    peer.closed = False
    sessions = peer.sessions
    await peer.until(lambda: peer.sessions > sessions, "the agent is back", within_s=peer.ttl_s)
    await goes_on(node, peer)


async def test_h2_the_shim_killed_takes_the_job_along(peer: Peer, node: AgentProcess) -> None:
    await started(peer, node)
    tree = [found.pid for found in processes.descendants(node.shim_pid())]
    assert tree
    os.kill(node.shim_pid(), signal.SIGKILL)
    await peer.until(
        lambda: all((found := processes.read_stat(pid)) is None or found.state == "Z" for pid in tree),
        "everything of the job is gone",
    )
    report = await peer.until(lambda: peer.report(peer.first, ActualState.EXITED), "the end is reported")
    assert report.reason == "shim_lost"


async def test_h2_a_shim_that_stands_still_beyond_the_lease_is_ended_with_its_job(
    peer: Peer, node: AgentProcess
) -> None:
    await started(peer, node)
    shim = node.shim_pid()
    tree = [found.pid for found in processes.descendants(shim)]
    os.kill(shim, signal.SIGSTOP)
    await peer.cut()
    await peer.until(
        lambda: all((found := processes.read_stat(pid)) is None or found.state == "Z" for pid in tree),
        "everything of the job is gone",
        within_s=30,
    )


async def test_h2_the_shim_killed_while_the_agent_is_away_is_reported_at_its_return(
    peer: Peer, node: AgentProcess
) -> None:
    await started(peer, node)
    shim = node.shim_pid()
    node.signal(signal.SIGKILL)
    os.kill(shim, signal.SIGKILL)
    node.start()
    report = await peer.until(lambda: peer.report(peer.first, ActualState.EXITED), "the end is reported")
    assert report.reason == "shim_lost"


async def test_h2_a_killed_agent_takes_its_running_job_up_again(peer: Peer, node: AgentProcess) -> None:
    await started(peer, node)
    shim = node.shim_pid()
    claims = len(peer.claims)
    node.signal(signal.SIGKILL)
    await stands_still(node, peer)
    node.start()
    await goes_on(node, peer)
    assert node.shim_pid() == shim
    assert len(peer.claims) > claims, "claimed again: the data key lived in memory only"
    assert peer.states(peer.first).count(ActualState.RUNNING) == 1
    await peer.stop(peer.first)
    await peer.until(lambda: peer.report(peer.first, ActualState.STOPPED), "it still obeys")


async def test_a_job_that_ended_while_the_agent_was_away_is_reported(peer: Peer, node: AgentProcess) -> None:
    await peer.want(peer.spec("echo 1 > $GP4U_CHECKPOINT_DIR/n; sleep 1.5; echo finished"))
    await peer.until(lambda: peer.report(peer.first, ActualState.RUNNING), "the job runs")
    node.signal(signal.SIGKILL)
    await peer.until(lambda: not node.folder().shim_alive(), "the job ends")
    node.start()
    report = await peer.until(lambda: peer.report(peer.first, ActualState.EXITED), "the end is reported")
    assert report.exit_code == 0
    assert "finished" in peer.log(peer.first)
    assert [row["trigger"] for row in peer.checkpoints] == ["final"]


async def test_h2_a_superseded_job_is_killed_not_thawed_when_the_link_is_back(
    peer: Peer, node: AgentProcess
) -> None:
    await started(peer, node)
    shim = node.shim_pid()
    await peer.cut()
    await stands_still(node, peer)
    last = last_step_at(node)
    await peer.supersede(peer.first)
    peer.closed = False
    await peer.until(lambda: (f := processes.read_stat(shim)) is None or f.state == "Z", "the job is killed")
    path = node.folder().job / "beats"
    assert not path.exists() or last_step_at(node) <= last


async def test_h2_nothing_starts_without_a_grant(peer: Peer, node: AgentProcess) -> None:
    stale = peer.spec(WITNESS)
    peer.epochs[peer.job_id] = 2
    peer.desired[peer.first] = stale
    await peer.tell_desired()
    await peer.until(lambda: len(peer.claims) >= 1, "it is claimed")
    await asyncio.sleep(0.5)
    assert not (node.folder().job / "beats").exists()
    assert peer.states(peer.first) == []


async def test_a_newer_epoch_on_the_same_node_waits_for_the_end_of_the_older(
    peer: Peer, node: AgentProcess
) -> None:
    await started(peer, node)
    shim = node.shim_pid()
    del peer.desired[peer.first]
    await peer.want(peer.spec(WITNESS, placement_id=peer.second, epoch=2))
    await peer.until(lambda: peer.report(peer.second, ActualState.RUNNING), "the new epoch runs")
    found = processes.read_stat(shim)
    assert found is None or found.state == "Z"


async def test_the_lifeline_ends_agent_shim_and_job_together(peer: Peer, node: AgentProcess) -> None:
    node.signal(signal.SIGKILL)
    read_end, write_end = os.pipe()
    node.lifeline = read_end
    node.start()
    os.close(read_end)
    await started(peer, node)
    shim = node.shim_pid()
    tree = [found.pid for found in processes.descendants(shim)]
    os.close(write_end)
    for pid in [shim, *tree]:
        await peer.until(
            lambda pid=pid: (f := processes.read_stat(pid)) is None or f.state == "Z",
            f"{pid} ends",
        )
    assert node.process is not None
    await peer.until(lambda: node.process and node.process.poll() is not None, "the agent ends")


async def test_an_agent_with_a_wrong_key_stops_and_says_what_to_do(peer: Peer, node: AgentProcess) -> None:
    node.signal(signal.SIGKILL)
    (node.state / "key.pem").unlink()
    other = node.state.parent / "other"
    again = AgentProcess(peer, other)
    peer.token = "second"
    key_before = peer.public_key
    assert (await again.join()).returncode == 0
    (other / "key.pem").rename(node.state / "key.pem")
    peer.public_key = key_before
    node.start()
    await peer.until(lambda: node.process and node.process.poll() is not None, "the agent gives up")
    assert node.process is not None
    assert node.process.returncode == 3
    assert "join again" in node.log()


async def test_h6_an_agent_whose_clock_is_a_day_off_works_all_the_same(
    peer: Peer, node: AgentProcess
) -> None:
    node.signal(signal.SIGKILL)
    site = node.state.parent / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import datetime, time\n"
        "real = time.time\n"
        "time.time = lambda: real() + 86400\n"
        "class Off(datetime.datetime):\n"
        "    @classmethod\n"
        "    def now(cls, tz=None):\n"
        "        return super().now(tz) + datetime.timedelta(days=1)\n"
        "datetime.datetime = Off\n"
    )
    node.environment["PYTHONPATH"] = str(site)
    node.start()
    await started(peer, node)
    await peer.stop(peer.first)
    await peer.until(lambda: peer.report(peer.first, ActualState.STOPPED), "it runs and stops like any other")


async def test_h21_the_same_token_twice_is_refused_with_a_clear_message(
    peer: Peer, node: AgentProcess
) -> None:
    other = AgentProcess(peer, node.state.parent / "other")
    peer.token, used = "fresh", peer.token
    done = await asyncio.to_thread(
        other.command, "join", peer.url, "--token", used, "--state", str(other.state)
    )
    assert done.returncode == 3
    assert "used or expired" in done.stderr
    assert "gp4u nodes" in done.stderr


async def test_join_says_what_is_wrong_with_the_address(peer: Peer, node: AgentProcess) -> None:
    other = AgentProcess(peer, node.state.parent / "other")
    for url, code in (("http://127.0.0.1:9", 7), ("not-a-url", 2), (f"{peer.url}/wrong", 4)):
        done = await asyncio.to_thread(
            other.command, "join", url, "--token", "t", "--state", str(other.state)
        )
        assert done.returncode == code, done.stderr
