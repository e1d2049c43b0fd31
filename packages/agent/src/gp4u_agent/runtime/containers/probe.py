"""What containers proved on this machine: a real one is started, checked from outside, frozen, thawed and read."""

import hashlib
import io
import json
import os
import select
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from gp4u_agent.runtime import seccomp
from gp4u_agent.runtime.bundle.probe import TransparentProbe, proven_by_a_dump
from gp4u_agent.runtime.bundle.programs import Missing, criu
from gp4u_agent.runtime.containers import making
from gp4u_agent.runtime.containers.adapter import Containers
from gp4u_agent.runtime.containers.engine import Engine, EngineUnavailable, connect
from gp4u_agent.runtime.port import Limits, Probe, StartRefused, Workload
from gp4u_agent.runtime.trial import trial_workload

REPOSITORY = "gp4u-probe"
PROBE_TIMEOUT_S = 20.0
NOT_COPIED = frozenset({"__pycache__", "test", "site-packages", "idlelib", "lib2to3", "ensurepip", "tkinter"})
SCRIPT = "read line; : > /job/here && [ ! -e /etc/shadow ] && ! ( : > /usr/x ) 2>/dev/null && echo proven"


def probe() -> Probe:
    """See the module. Anything that is missing means: this node offers no containers, and says why."""
    if sys.platform != "linux":
        return Probe(False, "", "containers need Linux")
    try:
        client, engine = connect()
    except EngineUnavailable as error:
        return Probe(False, "", str(error))
    client.close()
    if engine.rootless:
        return Probe(False, "", "a rootless engine does not keep limits everywhere and is not used")
    if os.geteuid() != 0:
        return Probe(False, "", "containers need an agent that is root")
    if not seccomp.supported():
        return Probe(False, "", "no seccomp filter for this processor")
    try:
        image = import_image(("sh",))
        said = _run(image)
    except (StartRefused, EngineUnavailable, OSError, subprocess.SubprocessError) as error:
        return Probe(False, "", str(error))
    if said != "proven":
        return Probe(False, "", said or "the probe inside the container failed")
    weaker = []
    if not engine.gives_devices:
        weaker.append(
            f"{engine.kind} {engine.version} cannot give GPUs: jobs with an image and a GPU are refused"
        )
    return Probe(
        True, f"{engine.kind} {engine.version}+seccomp+own user+cgroup cpu memory pids", weaker=tuple(weaker)
    )


class _OfImage(Containers):
    """Runs a trial's workload in this image, made to be dumped."""

    def __init__(self, image: str) -> None:
        super().__init__()
        self._image = image

    def start(self, workload: Workload, output_fd: int) -> None:
        super().start(replace(workload, image=self._image, whole=True), output_fd)

    def restore(self, workload: Workload, dump: Path, output_fd: int) -> None:
        super().restore(replace(workload, image=self._image, whole=True), dump, output_fd)


def probe_transparent() -> TransparentProbe:
    """Whether a container is dumped and brought back here, by doing it. `probe` has succeeded before."""
    try:
        client, engine = connect()
        client.close()
        if why_not := making.why_not_whole(engine):
            return TransparentProbe(False, why_not=why_not)
        dumper = criu()
        image = import_image(("sh", "sleep"))
    except (Missing, EngineUnavailable, OSError, subprocess.SubprocessError) as error:
        return TransparentProbe(False, why_not=str(error))
    return proven_by_a_dump(partial(_OfImage, image), f"criu {dumper.version} by {engine_name(engine)}")


def engine_name(engine: Engine) -> str:
    """As far as one that reads the other's dumps must be the same."""
    return f"{engine.kind} {engine.version} with {engine.oci or 'its own runtime'}"


def _run(image: str) -> str:
    limits = Limits(memory_bytes=64 << 20, disk_bytes=16 << 20, cpus=1, pids_max=32)
    with trial_workload(SCRIPT, limits, image=image) as workload:
        runtime = Containers()
        read_end, write_end = os.pipe()
        try:
            try:
                runtime.start(workload, write_end)
            finally:
                os.close(write_end)
            deadline = time.monotonic() + PROBE_TIMEOUT_S
            while not (frozen := runtime.freeze()) and time.monotonic() < deadline:
                time.sleep(0.01)
            runtime.thaw()
            said = b""
            while runtime.poll() is None and time.monotonic() < deadline:
                if select.select([read_end], [], [], 0.02)[0]:
                    said += os.read(read_end, 4096)
            if select.select([read_end], [], [], 0)[0]:
                said += os.read(read_end, 4096)
        finally:
            os.close(read_end)
            runtime.kill()
            runtime.clean_up()
    if not frozen:
        return "the container could not be frozen"
    return said.decode("utf-8", "replace").strip()


def import_image(programs: Sequence[str], folders: Sequence[Path] = ()) -> str:
    """An image of this machine's own programs, with the libraries they need: no registry is asked. Its id ("sha256:…").

    Raises EngineUnavailable, OSError, subprocess.SubprocessError.
    """
    content = root_file_system(programs, folders)
    tag = hashlib.sha256(content).hexdigest()[:16]
    client, _ = connect()
    import docker  # noqa: PLC0415
    import requests  # noqa: PLC0415

    try:
        for known in client.images():
            # Podman puts a registry's name before it, Docker does not.
            if any(str(name).endswith(f"{REPOSITORY}:{tag}") for name in known.get("RepoTags") or []):
                return _by_digest(str(known["Id"]))
        said = client.import_image_from_data(content, repository=REPOSITORY, tag=tag)
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise EngineUnavailable(f"no image can be imported: {error}") from error
    finally:
        client.close()
    last = json.loads(said.strip().splitlines()[-1])
    if "status" not in last:
        raise EngineUnavailable(f"no image can be imported: {last}")
    return _by_digest(last["status"])


def _by_digest(identity: str) -> str:
    return identity if identity.startswith("sha256:") else f"sha256:{identity}"


def root_file_system(programs: Sequence[str], folders: Sequence[Path] = ()) -> bytes:
    """A tar of the programs and of what they are linked with, each where it is here; equal bytes at every call."""
    files: dict[str, Path] = {}
    for program in programs:
        found = shutil.which(program)
        if found is None:
            raise OSError(f"{program} is not installed here")
        files[f"bin/{Path(program).name}"] = Path(found).resolve()
        for library in _libraries(Path(found).resolve()):
            files[str(library).lstrip("/")] = library.resolve()
    for folder in folders:
        for base, inner, names in os.walk(folder):
            inner[:] = sorted(
                name for name in inner if name not in NOT_COPIED and not name.startswith("config-")
            )
            for name in names:
                path = Path(base, name)
                if path.is_file():
                    files[str(path).lstrip("/")] = path.resolve()
                    if name.endswith(".so"):
                        files |= {str(lib).lstrip("/"): lib.resolve() for lib in _libraries(path)}
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        # Each folder by name: engines make those that are not named for root's eyes only.
        parents = {str(parent) for name in files for parent in Path(name).parents}
        for name in sorted({*parents, "job", "gp4u", "run", "tmp", "etc", "proc", "sys", "dev", "usr"}):
            member = tarfile.TarInfo(name)
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(member)
        for name, path in sorted(files.items()):
            content = path.read_bytes()
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            tar.addfile(member, io.BytesIO(content))
    return made.getvalue()


def _libraries(program: Path) -> list[Path]:
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=False, timeout=10).stdout
    words = [word for line in said.splitlines() for word in line.split() if word.startswith("/")]
    return [Path(word) for word in words]
