"""Dumps of whole jobs between runtime and checkpoint engine: noted and signed on the way out, checked on the way in.

The image of a dump is read by CRIU with root's rights, so nothing is imported but what an agent signed that the platform itself had
given this job to: its public key comes with the list of checkpoints, not with the dump.
"""

import base64
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import blake3
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from gp4u_protocol.transparent import NOTE, SIGNATURE, DumpNote, TransparentFacts, dump_bytes
from pydantic import ValidationError

from gp4u_agent.runtime.bundle import dumping

Sign = Callable[[bytes], str]
_EXTRACT_TIMEOUT_S = 600.0


class DumpRefused(Exception):
    """A dump that is not what the platform says it is; the message says why. It must not be imported."""


def seal(folder: Path, job_id: str, epoch: int, made_by: TransparentFacts, sign: Sign) -> None:
    """Note and sign everything in the folder. Reads all of it. Raises OSError."""
    note = DumpNote(job_id=job_id, epoch=epoch, made_by=made_by, files=_hashes(folder))
    content = note.model_dump_json().encode()
    (folder / NOTE).write_bytes(content)
    (folder / SIGNATURE).write_text(sign(dump_bytes(content)))


def verify(folder: Path, job_id: str, epoch: int, public_key: str) -> DumpNote:
    """What the dump says of itself, once it is proven that this node's agent dumped this job. Reads all of it. Raises DumpRefused."""
    try:
        content = (folder / NOTE).read_bytes()
        signature = base64.b64decode((folder / SIGNATURE).read_text())
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key))
        key.verify(signature, dump_bytes(content))
        note = DumpNote.model_validate_json(content)
    except (OSError, ValueError, InvalidSignature, ValidationError) as error:
        raise DumpRefused("the dump is not signed by the node that made it") from error
    if (note.job_id, note.epoch) != (job_id, epoch):
        raise DumpRefused(f"the dump is of {note.job_id}, epoch {note.epoch}")
    if _hashes(folder) != note.files:
        raise DumpRefused("the dump's files are not those that were signed")
    return note


def extract_checkpoint_folder(dump: Path, job_dir: Path, checkpoint_path: str, uid: int | None) -> bool:
    """Take only the job's checkpoint folder out of a dump: for a node that cannot restore the whole. False: it had none.

    `uid`: with whose rights; None: with ours. Raises OSError, subprocess.SubprocessError.
    """
    rights = {} if uid is None else {"user": uid, "group": uid, "extra_groups": []}
    with open(dump / dumping.JOB_FILES, "rb") as archive:
        done = subprocess.run(
            ["tar", "--file", "-", "--extract", "--no-same-owner", f"./{checkpoint_path}"],
            stdin=archive,
            capture_output=True,
            cwd=job_dir,
            timeout=_EXTRACT_TIMEOUT_S,
            check=False,
            **rights,  # type: ignore[call-overload]
        )
    return bool(done.returncode == 0)


def _hashes(folder: Path) -> dict[str, str]:
    found = {}
    for base, _, names in os.walk(folder):
        for name in names:
            path = Path(base, name)
            inside = str(path.relative_to(folder))
            if inside not in (NOTE, SIGNATURE):
                hasher = blake3.blake3()
                with open(path, "rb") as file:
                    while piece := file.read(1 << 22):
                        hasher.update(piece)
                found[inside] = hasher.hexdigest()
    return found
