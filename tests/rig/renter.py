"""A renter at work: submits jobs, looks at them, and writes down whatever the platform tells."""

import base64
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from gp4u.api import ApiClient, ApiError
from gp4u.config import Credentials
from gp4u.submission import upload_folder
from gp4u_protocol.checkpoint.manifest import EntryKind, open_manifest
from gp4u_protocol.checkpoint.reading import plan_reads
from gp4u_protocol.checkpoint.sealing import JobKeys, Opener

from tests.rig.history import History
from tests.rig.lab import Lab

WORKLOAD = Path(__file__).parent / "workload"
GLANCE_S = 3.0
ENDLESS = 1_000_000
"""Steps of a job that runs until it is stopped: however slow the machine is, it does not end in the middle of a scenario."""
PASSWORD = "a long password 7"
FINAL = ("done", "failed", "stopped")


@dataclass
class Person:
    """Somebody with an account, who sits on a host."""

    lab: Lab
    host: str
    url: str
    email: str
    api: ApiClient = field(init=False)

    def register(self) -> None:
        """Make the account and sign in."""
        body = {"email": self.email, "password": PASSWORD}
        with self.at_work(), ApiClient(Credentials(url=self.url)) as api:
            api.post("/auth/register", body)
        self.sign_in()

    def sign_in(self) -> None:
        """A fresh session."""
        body = {"email": self.email, "password": PASSWORD}
        with self.at_work(), ApiClient(Credentials(url=self.url)) as api:
            tokens = api.post("/auth/token", body)
        self.api = ApiClient(
            Credentials(self.url, self.email, tokens["access_token"], tokens["refresh_token"])
        )

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """On his host: what is dialled here goes through its links."""
        with self.lab.inside(self.host):
            yield

    def get(self, path: str, **params: Any) -> Any:
        with self.at_work():
            return self.api.get(path, **params)

    def post(self, path: str, body: Any = None, *, idempotency_key: str | None = None) -> Any:
        with self.at_work():
            return self.api.post(path, body, idempotency_key=idempotency_key)

    def glance(self, path: str) -> Any:
        """A GET that waits for nobody: None while the api does not answer. A document that is refused is an error."""
        headers = {"Authorization": f"Bearer {self.api.credentials.access_token}"}
        try:
            with self.at_work():
                response = httpx2.get(f"{self.url}/api/v1{path}", headers=headers, timeout=GLANCE_S)
        except (httpx2.HTTPError, OSError):
            return None
        if response.status_code == 401:
            with suppress(ApiError):
                self.sign_in()
            return None
        assert response.status_code == 200 or response.status_code >= 500, f"{path}: {response.text}"
        return response.json() if response.status_code == 200 else None

    def patch(self, path: str, body: Any) -> Any:
        with self.at_work():
            return self.api.patch(path, body)

    def pages(self, path: str, **params: Any) -> list[dict[str, Any]]:
        with self.at_work():
            return list(self.api.pages(path, **params))


@dataclass
class Job:
    """A job that was answered with 201."""

    renter: "Renter"
    id: str
    seed: str
    steps: int
    state_bytes: int
    ballast: int
    ballast_bytes: int
    seen: dict[str, Any] = field(default_factory=dict)

    def look(self) -> dict[str, Any] | None:
        """What the API says of it now; None while it does not answer."""
        return self.renter.look(self)

    @property
    def state(self) -> str:
        """As last seen."""
        return str(self.seen.get("state", "queued"))

    @property
    def has_ended(self) -> bool:
        return self.state in FINAL

    @property
    def node_name(self) -> str | None:
        """Where it was last seen."""
        placement = self.seen.get("placement")
        return placement["node_name"] if placement else None


@dataclass
class Renter(Person):
    """Submits jobs of the workload."""

    history: History | None = None
    upload_id: str = ""
    jobs: list[Job] = field(default_factory=list)

    def bring_files(self) -> None:
        """Send the folder of the workload, once for all jobs."""
        with self.at_work():
            self.upload_id = upload_folder(self.api, WORKLOAD)

    def fill_wallet(self, micros: int = 1_000_000_000) -> None:
        """Money from the sandbox provider."""
        self.post("/wallet/top-ups", {"amount_micros": micros})

    def submit(
        self,
        *,
        steps: int,
        pace_s: float = 0.2,
        save_every: int = 5,
        state_bytes: int = 65_536,
        ballast: int = 0,
        ballast_bytes: int = 1 << 20,
        on: str | None = None,
        interval_s: int = 3600,
        when_away: Callable[[], None] = lambda: None,
        answers_lost: int = 0,
        **spec: Any,
    ) -> Job:
        """A counting job, `on` a node of that name or wherever the router likes. Asked again until it is answered;
        `when_away` is called after each try that was not. So many answers get lost, and are asked for again."""
        seed, key = secrets.token_hex(8), secrets.token_hex(16)
        command = (
            f"python count.py --seed {seed} --steps {steps} --pace-s {pace_s} --save-every {save_every}"
            f" --state-bytes {state_bytes} --ballast {ballast} --ballast-bytes {ballast_bytes}"
        )
        body = {
            "name": f"count-{seed}",
            "command": command,
            "upload_id": self.upload_id,
            "resources": {"network": True},
            "checkpoint": {"every_s": interval_s},
            **spec,
        }
        path = "/jobs"
        if on is not None:
            offer_id = next(offer["id"] for offer in self.pages("/offers") if offer["node_name"] == on)
            path, body = "/bookings", {"offer_id": offer_id, "job": body}
        for _ in range(1 + answers_lost):
            answer = self._until_answered(path, body, key, when_away)
        job = Job(
            self,
            answer["job_id" if on is not None else "id"],
            seed,
            steps,
            state_bytes,
            ballast,
            ballast_bytes,
        )
        self.jobs.append(job)
        assert self.history is not None
        self.history.write(
            "told",
            what="accepted",
            job=job.id,
            seed=seed,
            steps=steps,
            state_bytes=state_bytes,
            ballast=ballast,
            ballast_bytes=ballast_bytes,
        )
        return job

    def look(self, job: Job) -> dict[str, Any] | None:
        """Read a job; what is new to the renter goes into the history."""
        seen = self.glance(f"/jobs/{job.id}")
        if seen is None:
            return None
        assert self.history is not None
        if seen["state"] != job.seen.get("state") or seen["checkpoints_count"] != job.seen.get(
            "checkpoints_count"
        ):
            self.history.write(
                "told",
                what="state",
                job=job.id,
                state=seen["state"],
                reason=seen["reason"],
                checkpoints=seen["checkpoints_count"],
                epoch=(seen["placement"] or {}).get("epoch"),
            )
        job.seen = seen
        return dict(seen)

    def stop(self, job: Job) -> None:
        """Ask for a graceful end."""
        assert self.history is not None
        self.history.write("told", what="stop_asked", job=job.id)
        self.post(f"/jobs/{job.id}/stop")

    def read_back(self, job: Job, checkpoint: dict[str, Any]) -> dict[str, bytes]:
        """Every file of a visible checkpoint, read through the API and opened with the job's key. Raises Damaged."""
        path = f"/jobs/{job.id}/checkpoints/{checkpoint['id']}/download"
        with self.at_work():
            row = self.api.post(path)
            keys = JobKeys.derive(job.id, base64.b64decode(row["data_key"]))
            manifest = open_manifest(
                self.api.get_bytes(row["manifest_url"]),
                keys,
                epoch=row["epoch"],
                seq=row["seq"],
                blake3_hex=row["manifest_blake3"],
            )
            files = {
                number: bytearray(entry.size)
                for number, entry in enumerate(manifest.entries)
                if entry.kind is EntryKind.FILE
            }
            opener = Opener(keys)
            for read in plan_reads(manifest):
                stored = self.api.get_bytes(row["packs"][read.pack_id.hex()], read.start, read.end)
                for place, targets, piece in read.pieces(stored):
                    plain = opener.open_view(place, piece)
                    for target in targets:
                        files[target.entry][target.offset : target.offset + len(plain)] = plain
        return {manifest.entries[number].path: bytes(content) for number, content in files.items()}

    def _until_answered(
        self, path: str, body: Any, key: str, when_away: Callable[[], None]
    ) -> dict[str, Any]:
        deadline = time.monotonic() + 120
        while True:
            try:
                return dict(self.post(path, body, idempotency_key=key))
            except ApiError as error:
                if (
                    error.status not in (0, 502, 503) and error.code != "busy"
                ) or time.monotonic() > deadline:
                    raise
            when_away()
            time.sleep(0.5)
