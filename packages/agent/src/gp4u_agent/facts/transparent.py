"""What a node tells of whole-job checkpoints: the probe's word, remembered as long as nothing it rests on changed."""

import hashlib
import json
import os
import platform
import sys
from pathlib import Path

from gp4u_protocol.transparent import TransparentFacts

from gp4u_agent.runtime.bundle.probe import probe_transparent
from gp4u_agent.runtime.bundle.programs import Missing, criu, runc
from gp4u_agent.runtime.bundle.spec import python_prefixes

WHY_NOT_MAX = 200
_CACHE = "transparent.json"
_GPU_UNPROVEN = "checkpoints of GPU memory (NVIDIA's cuda-checkpoint) have not been proven on this node"


def facts(folder: Path | None, *, real_gpus: bool) -> TransparentFacts:
    """Probe for real, unless `folder` remembers the answer for this very boot, kernel, runc and criu. Takes seconds at most."""
    try:
        runner, dumper = runc(), criu()
    except Missing as error:
        return TransparentFacts(why_not=str(error))
    if os.geteuid() != 0:
        return TransparentFacts(why_not="it needs an agent that is root")
    here = TransparentFacts(
        machine=platform.machine(),
        kernel=platform.release(),
        criu=dumper.version,
        cpu_flags=cpu_flags(Path("/proc/cpuinfo").read_text()),
        system=system_fingerprint(),
        gpu_why_not=_GPU_UNPROVEN if real_gpus else "",
    )
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    asked = [boot, runner.path, runner.version, dumper.path, dumper.version, here.system]
    cache = folder / _CACHE if folder is not None else None
    if cache is not None and (known := _remembered(cache, asked)) is not None:
        return here.model_copy(update=known)
    found = probe_transparent()
    said = {"by": found.by if found.works else "", "why_not": found.why_not[:WHY_NOT_MAX]}
    if cache is not None:
        cache.write_text(json.dumps({"asked": asked, "said": said}))
    return here.model_copy(update=said)


def cpu_flags(cpuinfo: str) -> list[str]:
    """The processor's features, sorted, as the kernel lists them for the first core."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return sorted(set(value.split()))
    return []


def system_fingerprint() -> str:
    """Names what jobs map from this node: libraries and programs by name and size, and the agent's Python by place and version.

    CRIU itself compares each mapped file again (build id and size), so this only spares attempts that must fail.
    """
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr((sorted(python_prefixes()), sys.version)).encode())
    for folder in sorted(_library_folders()):
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if ".so" in entry.name and entry.is_file():
                digest.update(f"{entry.path} {entry.stat().st_size}\n".encode())
    for program in ("sh", "dash", "bash", "env"):
        path = Path("/usr/bin", program)
        if path.exists():
            digest.update(f"{path} {path.stat().st_size}\n".encode())
    return digest.hexdigest()


def _library_folders() -> list[str]:
    folders = [Path("/usr/lib"), Path("/usr/lib64"), *Path("/usr/lib").glob("*-linux-gnu")]
    return [str(folder) for folder in folders if folder.is_dir() and not folder.is_symlink()]


def _remembered(cache: Path, asked: list[str]) -> dict[str, str] | None:
    try:
        document = json.loads(cache.read_text())
        said = {"by": str(document["said"]["by"]), "why_not": str(document["said"]["why_not"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return said if document.get("asked") == asked else None
