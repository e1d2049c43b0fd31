"""Transparent checkpoints: what a node says of them, which node can restore which dump, and what an agent signs.

A dump is a checkpoint like any other (packs and a manifest under the job's key, committed under its epoch); its folder holds, beside
what the runtime wrote, `dump.json` (a `DumpNote`) and `signature`: base64 of Ed25519 by the key of the node that dumped it over
`dump_bytes(dump.json)`. Whoever restores gets that node's public key from the platform and imports nothing else.
"""

import re

from pydantic import BaseModel, ConfigDict, Field

NOTE, SIGNATURE = "dump.json", "signature"
_MAKERS = {"bundle": "runc and CRIU", "gvisor": "gVisor", "containers": "Podman and CRIU"}
_VERSION = re.compile(r"(\d+)\.(\d+)")


class TransparentFacts(BaseModel):
    """What a node's probe proved of whole-job checkpoints. `why_not` is empty when it did."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    by: str = Field(default="", description="with what, e.g. 'criu 4.2.1 by runc 1.1.5'")
    why_not: str = ""
    gpu_why_not: str = Field(
        default="",
        description="why a job's memory on a real GPU cannot be dumped; empty: it can, or none is real",
    )
    machine: str = Field(default="", description="x86_64, aarch64")
    kernel: str = ""
    criu: str = ""
    runtime: str = Field(
        default="bundle",
        description="whose dumps they are: 'bundle' (runc and CRIU), 'gvisor' (runsc alone), "
        "'containers' (Podman and CRIU)",
    )
    build: str = Field(
        default="", description="of gVisor, by version and content: no other build reads what this one wrote"
    )
    cpu_flags: list[str] = Field(
        default_factory=list, description="what a restored program may already rely on"
    )
    system: str = Field(
        default="",
        description="names the libraries that jobs map from the node's own system, or the engine of containers: equal, or not restorable",
    )
    containers: "TransparentFacts | None" = Field(
        default=None, description="the same of jobs with an image; null: never tried"
    )

    @property
    def works(self) -> bool:
        """Whether whole jobs can be dumped and restored here."""
        return bool(self.by) and not self.why_not

    def of(self, image: str | None) -> "TransparentFacts":
        """What counts for a job with this image, or with none."""
        if image is None:
            return self.model_copy(update={"containers": None})
        return self.containers or TransparentFacts(
            runtime="containers", why_not="it saves no job with an image whole"
        )


class DumpNote(BaseModel):
    """What a dump is of and made by, and every file in it by BLAKE3: this is what is signed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = 1
    job_id: str
    epoch: int
    made_by: TransparentFacts
    files: dict[str, str]


def why_not_restorable(dumped_on: TransparentFacts, here: TransparentFacts) -> str:
    """Why a dump of the one node cannot be restored on the other; empty: it can, as far as facts can tell. Pure."""
    if not here.works:
        return here.why_not or "it restores no whole jobs"
    if dumped_on.runtime != here.runtime:
        return f"the dump is of {_maker(dumped_on)}, this node restores those of {_maker(here)}"
    if dumped_on.machine != here.machine:
        return f"its processor is {here.machine}, not {dumped_on.machine}"
    if lacking := sorted(set(dumped_on.cpu_flags) - set(here.cpu_flags)):
        return f"its processor lacks {', '.join(lacking[:5])}"
    # gVisor brings its kernel along: the host's may be any, gVisor's own must be the same build.
    if dumped_on.build != here.build:
        return f"the dump needs a node with the same build of gVisor, {dumped_on.build}; it has {here.build}"
    if _version(here.kernel) < _version(dumped_on.kernel) and not dumped_on.build:
        return f"its kernel {here.kernel} is older than {dumped_on.kernel}"
    if _version(here.criu) < _version(dumped_on.criu):
        return f"its criu {here.criu} is older than {dumped_on.criu}"
    if dumped_on.system != here.system and here.runtime == "containers":
        return f"the dump is of {dumped_on.system}, it has {here.system}"
    if dumped_on.system != here.system:
        return "its system's libraries are not the same"
    return ""


def _maker(facts: TransparentFacts) -> str:
    return _MAKERS.get(facts.runtime, facts.runtime)


def dump_bytes(note: bytes) -> bytes:
    """What an agent signs of a dump: domain-separated, so the signature is good for nothing else."""
    return b"gp4u agent dump v1\n" + note


def _version(text: str) -> tuple[int, int]:
    found = _VERSION.search(text)
    return (int(found[1]), int(found[2])) if found else (0, 0)
