"""One marketplace in the lab: the platform, its machines, a renter, a witness, and a history for each scenario."""

import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gp4u.api import ApiError

from tests.rig import lab as lab_module
from tests.rig.cluster import Cluster, eventually
from tests.rig.history import History
from tests.rig.lab import REPOSITORY, Lab
from tests.rig.nodes import PRICE_MICROS, Node, resume
from tests.rig.renter import Job, Person, Renter
from tests.rig.witness import Witness

LOOK_EVERY_S = 0.5


@dataclass
class World:
    """Everything a scenario needs. `machines`: node name → host."""

    tree: Path = REPOSITORY
    hosts: Sequence[str] = ("a", "b", "c")
    apis: Sequence[str] = ("a",)
    gateways: Sequence[str] = ("a",)
    controllers: Sequence[str] = ("a",)
    machines: Mapping[str, str] = field(default_factory=lambda: {"b1": "b", "b2": "b", "c1": "c", "c2": "c"})
    settings: Mapping[str, str] = field(default_factory=dict)
    store_host: str | None = None
    seed: int = 1
    histories: Path | None = None
    nodes: dict[str, Node] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._stack = ExitStack()
        self._looked_at = 0.0

    def __enter__(self) -> "World":
        try:
            self._build()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _build(self) -> None:
        reason = lab_module.why_not()
        if reason is not None:
            raise lab_module.LabUnavailable(reason)
        lab_module.remove_left_overs()
        folder = lab_module.make_folder()
        self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
        self.lab = self._stack.enter_context(Lab(folder, self.hosts, self.seed))
        self.history = History(folder / "start.jsonl")
        self.cluster = Cluster(
            self.lab,
            self.apis,
            self.gateways,
            self.controllers,
            tree=self.tree,
            settings=self.settings,
            store_host=self.store_host,
        )
        self.cluster.start()
        self._stack.callback(self.cluster.service("postgres").stop)
        self.owner = Person(self.lab, "a", self.cluster.url, "owner@rig.example")
        self.owner.register()
        self.cluster.gp4u("admin", "grant", self.owner.email, "owner")
        self.owner.sign_in()
        self.renter = Renter(self.lab, "a", self.cluster.url, "renter@rig.example", history=self.history)
        self.renter.register()
        self.renter.fill_wallet()
        self.renter.bring_files()
        self.witness = Witness(self.lab, self.history)
        self.witness.start()
        self._stack.callback(self.witness.stop)
        for name, host in self.machines.items():
            self.add_node(name, host)
        for node in self.nodes.values():
            node.wait_until_online()

    def begin(self, name: str) -> History:
        """A fresh history for the next scenario."""
        folder = self.histories or self.lab.folder
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.jsonl"
        path.unlink(missing_ok=True)
        self.history = self.witness.history = self.renter.history = History(path)
        self.renter.jobs.clear()
        self.history.write("note", what="scenario", name=name, seed=self.seed)
        return self.history

    # --- machines -------------------------------------------------------------------------------------------

    def add_node(self, name: str, host: str, *, disk_bytes: int | None = None, **environment: str) -> Node:
        """Enrol, start and list one more machine."""
        node = self.nodes[name] = Node(self.lab, self.cluster, host, name, extra_environment=environment)
        if disk_bytes is not None:
            node.mount_small_disk(disk_bytes)
        token = self.owner.post("/enrolment-tokens", {"region": f"zone-{host}", "node_name": name})["token"]
        node.join(token)
        node.start()
        self._list(node)
        return node

    def retire(self, node: Node) -> None:
        """Take a machine that was added for one scenario out again. One that is only silent would count with the next scenario's
        losses, and half a fleet that falls silent at once is held for a fault of ours."""
        node.lose_power()
        self.wait(lambda: node.view()["liveness"] == "lost", within_s=60, what=f"{node.name} is lost")
        del self.nodes[node.name]
        for offer in self.owner.pages("/offers/mine"):
            if offer["node_id"] == node.node_id and offer["state"] != "withdrawn":
                self.owner.patch(f"/offers/{offer['id']}", {"state": "withdrawn"})
        subprocess.run(["umount", "--lazy", str(node.folder)], capture_output=True, check=False)

    def _list(self, node: Node) -> None:
        offer = {"node_id": node.node_id, "price_per_gpu_hour_micros": PRICE_MICROS}

        def listed() -> bool:
            try:
                self.owner.post("/offers", offer)
            except ApiError as error:
                if error.code not in ("node_not_ready", "node_not_verified", "node_pending"):
                    raise
                return False
            return True

        eventually(listed, within_s=60, what=f"{node.name} can be listed")

    def node_of(self, job: Job) -> Node:
        """The machine that the job runs on, as the API says."""
        eventually(lambda: job.look() and job.node_name, within_s=60, what=f"{job.id} is placed")
        assert job.node_name is not None
        return self.nodes[job.node_name]

    def make_whole(self) -> None:
        """End every fault: links, pauses, dead processes, quarantines. Return when every machine can be booked."""
        self.lab.heal()
        for service in self.cluster.services.values():
            if service.alive:
                service.resume()
        for service in self.cluster.services.values():
            if not service.alive:
                service.start()
        for node in self.nodes.values():
            resume(node.everything())
            if not node.alive:
                node.start()
        for node in self.nodes.values():
            node.wait_until_online()

        def bookable() -> bool:
            offered = {offer["node_name"] for offer in self.renter.pages("/offers")}
            busy = {job.node_name for job in self.renter.jobs if not job.has_ended}
            missing = self.nodes.keys() - offered - busy
            for name in missing:  # quarantined for being lost too often
                if self.nodes[name].view()["duty"] == "quarantined":
                    self.owner.post(f"/nodes/{self.nodes[name].node_id}/undrain")
            return not missing

        self.wait(bookable, within_s=120, what="every machine can be booked")

    # --- faults ---------------------------------------------------------------------------------------------

    def fault(self, what: str, target: str, **fields: Any) -> None:
        """Write a fault down, before it is done."""
        self.history.write("fault", what=what, target=target, **fields)

    # --- waiting --------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Let the renter read all his jobs, at most every half second."""
        if time.monotonic() - self._looked_at < LOOK_EVERY_S:
            return
        for job in self.renter.jobs:
            if not job.has_ended:
                job.look()
        self._looked_at = time.monotonic()

    def wait(self, until: Callable[[], Any], *, within_s: float, what: str) -> Any:
        """Poll `until`, with the renter looking at his jobs meanwhile."""

        def asked() -> Any:
            self.look()
            return until()

        return eventually(asked, within_s=within_s, what=what)

    def for_seconds(self, seconds: float) -> None:
        """Let time pass with the renter looking. For faults that have a length; nothing is concluded from it."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.look()
            time.sleep(0.1)

    def said(self, job: Job, what: str, **fields: Any) -> list[dict[str, Any]]:
        """What the job's runs told the witness, of one kind."""
        wanted = {"kind": "run", "job": job.id, "what": what, **fields}
        return [
            record
            for record in self.history.snapshot()
            if all(record.get(name) == value for name, value in wanted.items())
        ]

    def wait_for_steps(
        self, job: Job, count: int, *, epoch: int | None = None, within_s: float = 120
    ) -> None:
        """Return when the job (of this epoch) has told of so many steps from now on."""
        which = {} if epoch is None else {"epoch": epoch}
        before = len(self.said(job, "step", **which))
        self.wait(
            lambda: len(self.said(job, "step", **which)) >= before + count,
            within_s=within_s,
            what=f"{count} steps of {job.id} {which}; {self.story(job)}",
        )

    def wait_for_save(self, job: Job, *, epoch: int | None = None, within_s: float = 120) -> None:
        """Return when one more checkpoint was acknowledged to the job."""
        which = {} if epoch is None else {"epoch": epoch}
        before = len(self.said(job, "acknowledged", **which))
        self.wait(
            lambda: len(self.said(job, "acknowledged", **which)) > before,
            within_s=within_s,
            what=f"a checkpoint of {job.id} {which}; {self.story(job)}",
        )

    def wait_for_run(self, job: Job, epoch: int, within_s: float = 150) -> None:
        """Return when the run of this epoch has begun."""
        self.wait(
            lambda: self.said(job, "began", epoch=epoch),
            within_s=within_s,
            what=f"{job.id} runs as epoch {epoch}; {self.story(job)}",
        )

    def end(self) -> None:
        """Ask every job that still runs to end, and wait for it."""
        for job in self.renter.jobs:
            if not job.has_ended:
                self.renter.stop(job)
        self.wait_for_ends()

    def wait_for_ends(self, *jobs: Job, within_s: float = 240) -> None:
        """Return when the jobs (all of them, unless named) have ended."""
        which = jobs or tuple(self.renter.jobs)
        self.wait(
            lambda: all(job.has_ended for job in which),
            within_s=within_s,
            what=f"the end of {[job.id for job in which if not job.has_ended]}",
        )

    def story(self, job: Job) -> str:
        """The job's timeline, for failure messages."""
        with self.cluster.connect() as connection:
            rows = connection.execute(
                "SELECT at, kind, title FROM job_events WHERE job_id = %s ORDER BY id", [job.id]
            ).fetchall()
        return "\n".join(f"{at} {kind}: {title}" for at, kind, title in rows)

    def placements(self, job: Job) -> list[dict[str, Any]]:
        """The job's placement rows, by epoch."""
        with self.cluster.connect() as connection:
            rows = connection.execute(
                "SELECT to_jsonb(p) FROM placements p WHERE job_id = %s ORDER BY epoch", [job.id]
            ).fetchall()
        return [row[0] for row in rows]


def fresh_key() -> str:
    """An idempotency key."""
    return secrets.token_hex(16)


if __name__ == "__main__":  # a look at a lab by hand: python -m tests.rig.world
    with World() as world:
        world.begin("by-hand")
        job = world.renter.submit(steps=40)
        world.wait_for_ends()
        print(world.story(job))
        for record in world.history.snapshot():
            print(record)
        sys.exit(0 if job.state == "done" else 1)
