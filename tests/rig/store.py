"""An S3 store on a host of its own: a SeaweedFS that wants signatures, with its own link, killed and started like anything else."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gp4u_server.embedded.program import Program

from tests.rig.lab import Lab

WEED = Path(sys.executable).parent / "weed"
BUCKET, ACCESS_KEY, SECRET = "gp4u", "rig", "rig-secret"
S3_PORT, MASTER_PORT, VOLUME_PORT, FILER_PORT = 8333, 9333, 9340, 8888


@dataclass(frozen=True)
class Store:
    """The server's folder and address."""

    lab: Lab
    host: str

    @property
    def folder(self) -> Path:
        return self.lab.folder / "store"

    @property
    def endpoint(self) -> str:
        return f"http://{self.lab.address(self.host)}:{S3_PORT}"

    @property
    def settings(self) -> Mapping[str, str]:
        """What the platform must know."""
        return {
            "S3_ENDPOINT": self.endpoint,
            "S3_BUCKET": BUCKET,
            "S3_ACCESS_KEY_ID": ACCESS_KEY,
            "S3_SECRET_ACCESS_KEY": SECRET,
        }

    def program(self) -> Program:
        """The server, on its host's address alone."""
        self.folder.mkdir(exist_ok=True)
        credentials = [{"accessKey": ACCESS_KEY, "secretKey": SECRET}]
        identity = {"name": "gp4u", "credentials": credentials, "actions": ["Admin", "Read", "Write", "List"]}
        configuration = self.folder / "s3.json"
        configuration.write_text(json.dumps({"identities": [identity]}))
        argv = [
            str(WEED),
            "server",
            f"-ip={self.lab.address(self.host)}",
            f"-dir={self.folder}",
            "-s3",
            f"-s3.port={S3_PORT}",
            f"-s3.config={configuration}",
            f"-master.port={MASTER_PORT}",
            f"-volume.port={VOLUME_PORT}",
            f"-filer.port={FILER_PORT}",
            "-volume.preStopSeconds=1",
            "-master.volumeSizeLimitMB=64",
        ]
        return Program("store", argv, self.folder, {"HOME": str(self.folder), "PATH": "/usr/bin:/bin"})

    def ready(self) -> bool:
        """Whether it answers on its own host."""
        try:
            with (
                self.lab.inside(self.host),
                urllib.request.urlopen(f"{self.endpoint}/healthz", timeout=5) as answer,
            ):
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def make_bucket(self) -> None:
        """Once, when it is ready."""
        with self.lab.inside(self.host):
            done = subprocess.run(
                [str(WEED), "shell", f"-master={self.lab.address(self.host)}:{MASTER_PORT}"],
                input=f"s3.bucket.create -name {BUCKET}\n",
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
                cwd=self.folder,
            )
        assert done.returncode == 0, done.stdout + done.stderr
