"""All facts and readings together."""

import time
from collections.abc import Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from gp4u_protocol.job_spec import CONTAINERS_WHOLE
from gp4u_protocol.messages import DeviceFacts, NodeFacts, NodeHealth
from gp4u_protocol.transparent import TransparentFacts

from gp4u_agent.facts import machine, nvidia, simulated, transparent
from gp4u_agent.facts.simulated import SimulationSpec
from gp4u_agent.runtime import process, sandbox
from gp4u_agent.runtime.bundle import probe as bundle
from gp4u_agent.runtime.containers import probe as containers
from gp4u_agent.runtime.gvisor import probe as gvisor
from gp4u_agent.runtime.port import Probe
from gp4u_agent.telemetry.nvml import NvmlSampler
from gp4u_agent.telemetry.port import DeviceSampler, NoDevices
from gp4u_agent.telemetry.simulated import SimulatedSampler


@dataclass(frozen=True)
class RuntimeChoice:
    """Which runtime jobs get on this node, what its probe proved, and what an owner should be warned of."""

    name: str | None
    probes: dict[str, Probe]
    warning: str | None
    transparent: TransparentFacts = field(default_factory=TransparentFacts)

    @property
    def containers(self) -> bool:
        """Whether jobs with an image can run here as well."""
        return "containers" in self.probes and self.probes["containers"].works

    def as_facts(self) -> dict[str, str]:
        """Runtime → what was proven, for those that may be used."""
        names = ([self.name] if self.name else []) + (["containers"] if self.containers else [])
        names += ["bundle"] if self.transparent.works and not self.transparent.gpu_why_not else []
        told = {name: self.probes[name].proven for name in names}
        inside = self.transparent.containers
        if self.containers and inside is not None and inside.works and not inside.gpu_why_not:
            told[CONTAINERS_WHOLE] = inside.by
        return told


def choose_runtime(
    *,
    allow_unisolated: bool,
    folder: Path | None = None,
    real_gpus: bool = False,
    save_whole: str = "auto",
) -> RuntimeChoice:
    """Probe for real. Plain processes are used only with the owner's explicit leave.

    Bundles, under runc or gVisor, run the jobs that are saved whole, so they are tried where that works. `save_whole`: by what (see
    `transparent.CHOICES`). `folder` remembers the longest of the probes.
    """
    probes = {"sandbox": sandbox.probe(), "containers": containers.probe()}
    whole = transparent.facts(folder, real_gpus=real_gpus, choice=save_whole)
    run_one = gvisor.probe if whole.runtime == "gvisor" else bundle.probe
    probes["bundle"] = run_one() if whole.works else Probe(False, "", whole.why_not)
    if not probes["bundle"].works:
        whole = whole.model_copy(update={"by": "", "why_not": probes["bundle"].why_not})
    images = transparent.of_containers(folder, probes["containers"], real_gpus=real_gpus, choice=save_whole)
    whole = whole.model_copy(update={"containers": images})
    if probes["sandbox"].works:
        return RuntimeChoice("sandbox", probes, None, whole)
    why = f"The sandbox does not work here: {probes['sandbox'].why_not}."
    if not allow_unisolated:
        left = "only jobs with an image" if probes["containers"].works else "no jobs"
        return RuntimeChoice(None, probes, f"{why} This node can take {left}.")
    probes["process"] = process.probe()
    return RuntimeChoice(
        "process",
        probes,
        f"{why} Jobs run WITHOUT ISOLATION, as you allowed: use this for demonstrations only.",
    )


class Sensors:
    """This node's facts and readings. `node_seed` makes simulated UUIDs stable."""

    def __init__(
        self,
        folder: Path,
        runtimes: dict[str, str],
        simulation: SimulationSpec | None,
        node_seed: str,
        transparent: TransparentFacts | None = None,
    ) -> None:
        self._folder = folder
        self._transparent = transparent
        self._runtimes = runtimes
        self._simulation = simulation
        self._nvml = None if simulation else nvidia.open_nvml()
        self._devices: list[DeviceFacts] = []
        if simulation:
            self._devices = simulated.devices(simulation, node_seed)
        elif self._nvml:
            self._devices = self._nvml.devices()

    def facts(self) -> NodeFacts:
        """What the machine is, now."""
        return NodeFacts(
            hostname=machine.hostname(),
            os=machine.operating_system(),
            kernel=machine.kernel(),
            cpu_model=machine.cpu_model(),
            cpus=machine.cpus(),
            memory_mb=machine.memory_mb(),
            disk_free_mb=machine.disk_free_mb(self._folder),
            devices=self._devices,
            runtimes=self._runtimes,
            simulated=self._simulation is not None,
            transparent=self._transparent,
        )

    def sampler(self) -> DeviceSampler:
        """Where telemetry reads the GPUs. `folder` is where a simulated node finds its faults."""
        if self._simulation:
            return SimulatedSampler(self._simulation, self._devices, self._folder)
        return NvmlSampler(self._nvml.handles()) if self._nvml else NoDevices()

    @property
    def folder(self) -> Path:
        """Where jobs live."""
        return self._folder

    def health(self, busy: Set[str]) -> NodeHealth:
        """How it feels. `busy`: UUIDs of devices that jobs hold."""
        if self._simulation:
            readings = simulated.health(self._simulation, self._devices, set(busy), time.monotonic())
        else:
            readings = self._nvml.health() if self._nvml else []
        return NodeHealth(
            load_1m=machine.load_1m(),
            memory_used_mb=machine.memory_used_mb(),
            disk_free_mb=machine.disk_free_mb(self._folder),
            agent_clock=datetime.now(UTC),
            devices=readings,
        )
