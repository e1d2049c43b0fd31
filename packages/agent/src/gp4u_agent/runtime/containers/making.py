"""Having the engine make a job's container: by the Docker API, or by Podman's own when the job will be dumped whole."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gp4u_agent.runtime import seccomp_profile
from gp4u_agent.runtime.containers import hardening, libpod
from gp4u_agent.runtime.containers.engine import Engine
from gp4u_agent.runtime.containers.leftovers import container_name
from gp4u_agent.runtime.port import Workload

if TYPE_CHECKING:
    from docker import APIClient


def make(
    client: "APIClient",
    engine: Engine,
    workload: Workload,
    *,
    image_id: str,
    uid: int,
    environment: dict[str, str],
    folder: Path,
) -> None:
    """The container, not started, and its network. `folder` holds what `libpod.document` says. Raises what the engine's clients do."""
    name = container_name(workload.name)
    if workload.whole:
        libpod.create(
            client,
            libpod.document(
                workload,
                engine=engine,
                image_id=image_id,
                uid=uid,
                environment=environment,
                folder=folder,
                name=name,
            ),
        )
        return
    network = "none"
    if workload.network:
        network = name
        client.create_network(network, driver="bridge", labels=hardening.labels(workload))
    podman = engine.kind == "podman"
    profile = folder / "seccomp.json"
    config = hardening.host_config(
        workload,
        real_devices=real_devices(workload),
        output=folder / "output",
        network=network,
        seccomp_option=str(profile) if podman else seccomp_profile.profile_json(),
        podman=podman,
    )
    client.create_container(
        image_id,
        command=hardening.command(workload),
        entrypoint=[],
        environment=environment,
        user=f"{uid}:{uid}",
        working_dir=hardening.JOB,
        hostname="job",
        name=name,
        labels=hardening.labels(workload),
        host_config=config,
    )


def why_not_whole(engine: Engine, workload: Workload | None = None) -> str:
    """Why this engine cannot dump jobs and bring them back, or not this one; empty: as far as can be told, it can. Pure."""
    if engine.kind != "podman":
        return f"{engine.kind} cannot bring a checkpoint back on another machine: Podman can"
    if workload is not None and workload.network:
        return "it has a network, and open connections cannot be brought back"
    if workload is not None and real_devices(workload):
        return "checkpoints of GPU memory have not been proven on this node"
    return ""


def real_devices(workload: Workload) -> list[str]:
    """The GPUs that are none of a simulation."""
    return [device for device in workload.devices if device.startswith(("GPU-", "MIG-"))]


def path_of(image: dict[str, Any]) -> tuple[str, ...]:
    """Where the image has its programs."""
    for entry in (image.get("Config") or {}).get("Env") or []:
        name, _, value = str(entry).partition("=")
        if name == "PATH" and value:
            return tuple(part for part in value.split(":") if part)
    return hardening.SYSTEM_PATH
