"""`python -m gp4u_agent.runtime.containers.dumper`: writes one container into a folder, beside the shim, which must not wait.

Arguments: address of the engine, container, folder to fill, the job's folder, its control folder. When it ends with 0 the folder holds
all but the record, and the job *stands*, which its shim ends. Otherwise its output says why not. It dies with the shim.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from gp4u_agent.runtime.bundle.dumping import CONTROL_FILES, IMAGE, JOB_FILES
from gp4u_agent.runtime.containers import dumping, libpod
from gp4u_agent.runtime.containers.engine import EngineUnavailable, connect

_TAR_TIMEOUT_S = 600.0
_PIECE_BYTES = 1 << 20


class NotDumped(Exception):
    """The message says why."""


def dump(url: str, name: str, into: Path, folders: dict[str, Path]) -> None:
    """See the module. Raises NotDumped, EngineUnavailable, libpod.Refused, requests.RequestException, OSError."""
    client, _ = connect(url)
    try:
        answer = libpod.checkpoint(client, name)
    except libpod.Refused as error:
        raise NotDumped(dumping.complaint(str(error))) from error
    unpack = ["tar", "--extract", "--file", "-", "--no-same-owner", "--directory", str(into / IMAGE)]
    with subprocess.Popen(unpack, stdin=subprocess.PIPE) as tar:
        assert tar.stdin is not None
        for piece in answer.iter_content(_PIECE_BYTES):
            tar.stdin.write(piece)
        tar.stdin.close()
        if tar.wait(_TAR_TIMEOUT_S) != 0:
            raise NotDumped("what Podman exported cannot be unpacked")
    spec = json.loads((into / IMAGE / dumping.SPEC).read_bytes())
    (into / dumping.ETC).mkdir()
    for where, source in dumping.account_files(spec).items():
        shutil.copyfile(source, into / dumping.ETC / Path(where).name)
    for archive, folder in folders.items():
        pack = ["tar", "--numeric-owner", "--sparse", "--file", str(into / archive), "--create"]
        done = subprocess.run(
            [*pack, "--directory", str(folder), "."], check=False, capture_output=True, timeout=_TAR_TIMEOUT_S
        )
        if done.returncode != 0:
            raise NotDumped(f"the job's files: {done.stderr.decode(errors='replace')[-200:]}")


def main() -> None:
    import requests  # noqa: PLC0415 - like the SDK: only where there is an engine

    url, name, into, job, control = sys.argv[1:]
    try:
        dump(url, name, Path(into), {JOB_FILES: Path(job), CONTROL_FILES: Path(control)})
    except (
        NotDumped,
        EngineUnavailable,
        libpod.Refused,
        requests.RequestException,
        OSError,
        ValueError,
        subprocess.SubprocessError,
    ) as error:
        sys.stdout.write(str(error)[:400])
        sys.exit(1)


if __name__ == "__main__":
    main()
