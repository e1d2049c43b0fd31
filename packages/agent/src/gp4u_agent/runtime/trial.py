"""The small job that a probe runs to find out what a runtime proves on this machine."""

import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gp4u_agent.runtime.port import Limits, Workload


@contextmanager
def trial_workload(command: str, limits: Limits, *, image: str | None = None) -> Iterator[Workload]:
    """A workload under a name of its own, in folders that are gone afterwards. Whoever starts it ends it before that."""
    with tempfile.TemporaryDirectory(prefix="gp4u-probe-") as temporary:
        folder = Path(temporary)
        for name in ("job", "control", "inside"):
            (folder / name).mkdir()
        yield Workload(
            name=f"probe-{secrets.token_hex(4)}",
            command=command,
            environment={},
            job_dir=folder / "job",
            control_dir=folder / "control",
            inside_dir=folder / "inside",
            checkpoint_path="checkpoints",
            limits=limits,
            network=False,
            image=image,
            owner="probe",
        )
