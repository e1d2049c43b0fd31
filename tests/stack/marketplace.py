"""A whole marketplace for tests: started with `gp4u up`, used through its API, its command and its chaos controls."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from gp4u.api import ApiClient
from gp4u.config import Credentials
from gp4u.sdk import Client, Job

GP4U = str(Path(sys.executable).with_name("gp4u"))
PASSWORD = "demo-gp4u"
Answer = TypeVar("Answer")


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(ask: Callable[[], Answer | None], *, within_s: float, what: str) -> Answer:
    """The first truthy answer. Fails with `what` when there was none in time."""
    deadline = time.monotonic() + within_s
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {what}")
        time.sleep(0.1)


@dataclass
class Marketplace:
    """A running stack."""

    url: str
    data: Path

    def gp4u(
        self, *arguments: str, check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the command against this stack."""
        done = subprocess.run(
            [GP4U, *arguments],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=300,
            check=False,
            env={
                **os.environ,
                "GP4U_URL": self.url,
                "GP4U_DATA": str(self.data),
                "GP4U_CONFIG": str(self.data / "test-credentials.json"),
                **environment,
            },
        )
        assert not check or done.returncode == 0, (
            f"gp4u {arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done

    def client(self, who: str = "renter") -> Client:
        """An SDK client signed in as one of the demo accounts."""
        with ApiClient(Credentials(url=self.url)) as api:
            tokens = api.post("/auth/token", {"email": f"{who}@gp4u.demo", "password": PASSWORD})
        client = Client.__new__(Client)
        client.api = ApiClient(
            Credentials(self.url, tokens["user"]["email"], tokens["access_token"], tokens["refresh_token"])
        )
        return client

    def processes(self) -> dict[str, int]:
        """Name → pid of the stack's processes."""
        status = json.loads(self.gp4u("status", "--json", check=False).stdout)
        return {process["name"]: process["pid"] for process in status["processes"] if process.get("pid")}

    def kill(self, name: str) -> int:
        """kill -9 of one of the stack's processes; returns the pid that died."""
        pid = self.processes()[name]
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait_until_restarted(self, name: str, old_pid: int) -> None:
        """Return when the supervisor has a new process of that name."""
        eventually(
            lambda: self.processes().get(name) not in {None, old_pid},
            within_s=30,
            what=f"{name} is running again",
        )

    def assert_ledger_verifies(self) -> None:
        """`gp4u admin ledger verify` finds nothing wrong."""
        done = self.gp4u("admin", "ledger", "verify", check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def demo(self, path: str, body: Any = None) -> Any:
        """One of the chaos controls."""
        return self.client("admin").api.post(f"/demo{path}", body)

    def demo_nodes(self) -> dict[str, dict[str, Any]]:
        """The demo fleet by name."""
        return {node["name"]: node for node in self.client("admin").api.get("/demo/nodes")}

    @contextmanager
    def whole_fleet(self) -> Iterator[None]:
        """Leave every demo node alive and connected, whatever the test did to it."""
        try:
            yield
        finally:
            nodes, player = self.demo_nodes(), self.client("admin").api
            for name, node in nodes.items():
                if node["link"] != "up":
                    player.post(f"/demo/nodes/{name}/link", {"mode": "up"})

            def whole() -> bool:
                offered = {offer["node_name"] for offer in player.pages("/offers")}
                for name in nodes.keys() - offered:  # dead, or quarantined for dying too often
                    player.post(f"/demo/nodes/{name}/revive")
                return nodes.keys() <= offered

            eventually(whole, within_s=90, what="every demo node can be booked")

    def wait_for_offers(self, count: int = 6) -> None:
        """Return when the whole fleet can be booked."""
        client = self.client()
        eventually(
            lambda: client.api.get("/offers")["total"] >= count, within_s=60, what=f"{count} offers in search"
        )


def wait_for_state(job: Job, *states: str, within_s: float = 60) -> Job:
    """Return when the job is in one of `states`; fail early when it ended in another."""

    def reached() -> bool:
        job.refresh()
        if job.state in states:
            return True
        if job.state in {"done", "failed", "stopped"}:
            raise AssertionError(
                f"ended as {job.state} ({job.data['reason']}: {job.data['detail']})\n{story(job)}"
            )
        return False

    eventually(reached, within_s=within_s, what=f"job in {states}, it is {job.state}\n{story(job)}")
    return job


def wait_for_checkpoints(job: Job, count: int, within_s: float = 60) -> Job:
    """Return when the job has at least `count` committed checkpoints."""
    eventually(
        lambda: job.refresh().data["checkpoints_count"] >= count,
        within_s=within_s,
        what=f"{count} checkpoints",
    )
    return job


def story(job: Job) -> str:
    """The timeline and the end of the output, for failure messages."""
    lines = [f"{event['at']} {event['kind']}: {event['title']}" for event in job.timeline()]
    return "\n".join(lines) + "\n--- output\n" + job.log()[-2000:]


def kinds(job: Job) -> list[str]:
    """The kinds of the timeline's entries, in order."""
    return [event["kind"] for event in job.timeline()]
