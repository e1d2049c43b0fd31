"""What a node tells of whole-job checkpoints: the probe's word, remembered as long as nothing it rests on changed."""

import hashlib
import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

from gp4u_protocol.transparent import TransparentFacts

from gp4u_agent.runtime.bundle.probe import TransparentProbe
from gp4u_agent.runtime.bundle.probe import probe_transparent as by_runc_and_criu
from gp4u_agent.runtime.bundle.programs import Missing, criu, runc
from gp4u_agent.runtime.bundle.spec import python_prefixes
from gp4u_agent.runtime.containers.engine import EngineUnavailable, connect
from gp4u_agent.runtime.containers.probe import engine_name
from gp4u_agent.runtime.containers.probe import probe_transparent as by_podman
from gp4u_agent.runtime.gvisor.probe import probe_transparent as by_gvisor
from gp4u_agent.runtime.gvisor.programs import runsc
from gp4u_agent.runtime.port import Probe

WHY_NOT_MAX = 200
CHOICES = ("auto", "criu", "gvisor", "off")
"""What an owner may ask for; `auto`: runc and CRIU where they work (their dumps fit more nodes, and jobs run faster), else gVisor."""
_GPU_UNPROVEN = "checkpoints of GPU memory (NVIDIA's cuda-checkpoint) have not been proven on this node"
_GPU_BEHIND_GVISOR = "gVisor's way to a real GPU (nvproxy) has not been proven on this node"


def facts(folder: Path | None, *, real_gpus: bool, choice: str = "auto") -> TransparentFacts:
    """Probe for real, unless `folder` remembers the answer for this very boot and these very programs. Takes seconds at most.

    `choice`: one of `CHOICES`.
    """
    if choice == "off":
        return TransparentFacts(why_not="its owner turned it off")
    if os.geteuid() != 0:
        return TransparentFacts(why_not="it needs an agent that is root")
    makers = {"criu": _by_criu, "gvisor": _by_gvisor}
    refused = []
    for name in [choice] if choice in makers else makers:
        found = makers[name](folder, real_gpus)
        if found.works:
            return found
        refused.append(found.why_not)
    return TransparentFacts(why_not="; ".join(refused)[:WHY_NOT_MAX])


def _by_criu(folder: Path | None, real_gpus: bool) -> TransparentFacts:
    try:
        runner, dumper = runc(), criu()
    except Missing as error:
        return TransparentFacts(why_not=str(error))
    here = TransparentFacts(
        machine=platform.machine(),
        kernel=platform.release(),
        criu=dumper.version,
        cpu_flags=cpu_flags(Path("/proc/cpuinfo").read_text()),
        system=system_fingerprint(),
        gpu_why_not=_GPU_UNPROVEN if real_gpus else "",
    )
    asked = [runner.path, runner.version, dumper.path, dumper.version, here.system]
    return _proven(here, folder, "transparent.json", asked, by_runc_and_criu)


def _by_gvisor(folder: Path | None, real_gpus: bool) -> TransparentFacts:
    try:
        program = runsc()
    except Missing as error:
        return TransparentFacts(why_not=str(error))
    here = TransparentFacts(
        runtime="gvisor",
        build=program.build,
        machine=platform.machine(),
        kernel=platform.release(),
        cpu_flags=cpu_flags(Path("/proc/cpuinfo").read_text()),
        system=system_fingerprint(),
        gpu_why_not=_GPU_BEHIND_GVISOR if real_gpus else "",
    )
    return _proven(
        here, folder, "transparent-gvisor.json", [program.path, program.build, here.system], by_gvisor
    )


def of_containers(
    folder: Path | None, container: Probe, *, real_gpus: bool, choice: str = "auto"
) -> TransparentFacts:
    """The same of jobs with an image. `container`: what running one proved; `choice`: one of `CHOICES`."""
    here = TransparentFacts(runtime="containers")
    if choice not in ("auto", "criu"):
        return here.model_copy(update={"why_not": "its owner chose otherwise"})
    if not container.works:
        return here.model_copy(update={"why_not": container.why_not[:WHY_NOT_MAX]})
    try:
        dumper = criu()
        client, engine = connect()
    except (Missing, EngineUnavailable) as error:
        return here.model_copy(update={"why_not": str(error)[:WHY_NOT_MAX]})
    client.close()
    here = TransparentFacts(
        runtime="containers",
        machine=platform.machine(),
        kernel=platform.release(),
        criu=dumper.version,
        cpu_flags=cpu_flags(Path("/proc/cpuinfo").read_text()),
        system=engine_name(engine),
        gpu_why_not=_GPU_UNPROVEN if real_gpus else "",
    )
    asked = [engine.url, here.system, dumper.path, dumper.version]
    return _proven(here, folder, "transparent-containers.json", asked, by_podman)


def _proven(
    here: TransparentFacts,
    folder: Path | None,
    name: str,
    asked: list[str],
    probe: Callable[[], TransparentProbe],
) -> TransparentFacts:
    """What the probe says, or said when it was `asked` the same since this machine's start."""
    asked = [Path("/proc/sys/kernel/random/boot_id").read_text().strip(), *asked]
    cache = folder / name if folder is not None else None
    if cache is not None and (known := _remembered(cache, asked)) is not None:
        return here.model_copy(update=known)
    found = probe()
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

    CRIU itself compares each mapped file again (build id and size), so this only spares attempts that must fail. gVisor does not: with
    another library the restored job would go on in the wrong instructions.
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
