"""What the benchmarks share: a marketplace of their own, and a report of what was measured beside what is aimed at."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from gp4u.api import ApiClient
from gp4u.config import Credentials
from gp4u.sdk import Client

from tests.stack.marketplace import GP4U, Marketplace, free_port


@dataclass
class Report:
    """What was measured, in order."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)

    def add(self, key: str, value: Any, text: str, label: str, aim: str = "") -> None:
        self.values[key] = value
        self.rows.append((label, text, aim))
        print(f"  {label}: {text}{f'   (aim {aim})' if aim else ''}", flush=True)

    def show(self, *, as_json: bool = False, file: Path | None = None) -> None:
        """Everything again as one table, and as one JSON object when it is asked for, printed or in `file`."""
        width = max((len(label) for label, _, _ in self.rows), default=0)
        print()
        for label, text, aim in self.rows:
            print(f"{label:<{width}}  {text}{f'   aim: {aim}' if aim else ''}")
        if as_json:
            print(json.dumps(self.values))
        if file is not None:
            file.write_text(json.dumps(self.values, indent=1) + "\n")


def percentile(values: list[float], share: float) -> float:
    """Nearest-rank percentile."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(share * len(ordered) + 0.5) - 1))]


@contextmanager
def stack(*, demo: bool = True, offers: int = 6, **settings: str) -> Iterator[Marketplace]:
    """A marketplace, with its demo fleet or empty, in a folder of its own. `settings` are environment variables."""
    folder = Path(tempfile.mkdtemp(prefix="gp4u-bench-"))
    folder.chmod(0o755)
    port = free_port()
    subprocess.run(
        [
            GP4U,
            "up",
            *(["--demo"] if demo else []),
            "--detach",
            "--port",
            str(port),
            "--data",
            str(folder / "data"),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        # All clients of this run share one address; many people don't.
        env={
            **os.environ,
            "GP4U_REGISTRATIONS_PER_MINUTE": "1000",
            "GP4U_SIGN_INS_PER_MINUTE": "1000",
            "GP4U_REQUESTS_PER_MINUTE": "1000000",
            **settings,
        },
    )
    marketplace = Marketplace(f"http://127.0.0.1:{port}", folder / "data")
    try:
        if demo:
            marketplace.wait_for_offers(offers)
        yield marketplace
    finally:
        subprocess.run([GP4U, "down", "--data", str(folder / "data")], check=False, stdout=subprocess.DEVNULL)
        shutil.rmtree(folder, ignore_errors=True)


def new_renter(marketplace: Marketplace) -> Client:
    """A renter of its own account, with money."""
    renter = Client.__new__(Client)
    with ApiClient(Credentials(url=marketplace.url)) as api:
        account = {"email": f"renter-{uuid4().hex}@example.com", "password": "a long enough pass phrase"}
        api.post("/auth/register", {**account, "name": "Renter", "roles": ["renter"]})
        tokens = api.post("/auth/token", account)
    renter.api = ApiClient(
        Credentials(marketplace.url, account["email"], tokens["access_token"], tokens["refresh_token"])
    )
    renter.api.post("/wallet/top-ups", {"amount_micros": 1_000_000_000})
    return renter


def database_url(marketplace: Marketplace) -> str:
    """The address of the stack's database; only its own user may read the file."""
    environment = json.loads((marketplace.data / "run" / "environment.json").read_text())
    return str(environment["DATABASE_URL"])
