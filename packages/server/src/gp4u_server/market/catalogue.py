"""The catalogue of GPU models: names, aliases, published figures, and what contradicts them. Pure after loading."""

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import resources

from gp4u_protocol.messages import NodeFacts

from gp4u_server.market.errors import UnknownModel
from gp4u_server.market.types import GpuModel

_NOISE = re.compile(r"\b(nvidia|geforce|tesla|graphics|corporation|gpu)\b", re.IGNORECASE)
FAMILIES = ("A100", "H100", "H200", "V100", "RTX_4060_TI")
"""Names that people use for several models at once."""
VRAM_TOLERANCE = 0.12
"""Drivers report a card's memory a few per cent below the published figure (ECC and firmware keep some)."""


@dataclass(frozen=True)
class Catalogue:
    """All models, found by any of their names."""

    models: Mapping[str, GpuModel]
    names: Mapping[str, tuple[str, ...]]
    """Normalised name → the models it stands for."""

    def get(self, model: str) -> GpuModel | None:
        """The model of exactly this canonical name."""
        return self.models.get(model)

    def resolve(self, name: str) -> tuple[str, ...]:
        """The models that `name` stands for (several for a family). Raises UnknownModel with a suggestion."""
        found = self.names.get(_normal(name))
        if found is None:
            suggestion = self.suggest(name)
            hint = f" Did you mean {suggestion}?" if suggestion else ""
            raise UnknownModel(
                f"There is no GPU model called {name[:100]!r} in the catalogue.{hint}",
                value=name[:100],
                suggestion=suggestion,
            )
        return found

    def suggest(self, name: str) -> str | None:
        """The canonical name nearest to a mistyped one."""
        close = get_close_matches(_normal(name[:100]), self.names, n=1, cutoff=0.5)
        return self.names[close[0]][0] if close else None

    def canonical(self, name: str, vram_mb: int) -> str | None:
        """The one model that a card calling itself `name` with this much memory is, or None."""
        candidates = [self.models[model] for model in self.names.get(_normal(name), ())]
        if not candidates:
            return None
        return min(candidates, key=lambda model: abs(model.vram_gb - vram_mb / 1024)).model

    def findings(self, facts: NodeFacts) -> list[str]:
        """What contradicts the published figures, one sentence each; empty when the facts are plausible."""
        sentences = []
        if not facts.devices:
            sentences.append("The node has no GPU.")
        for device in facts.devices:
            model = self.canonical(device.model, device.vram_mb)
            if model is None:
                hint = self.suggest(device.model)
                sentences.append(
                    f"GPU model {device.model!r} is not in the catalogue"
                    + (f"; the nearest is {hint}." if hint else ".")
                )
                continue
            published_gb = self.models[model].vram_gb
            if abs(device.vram_mb / 1024 - published_gb) > VRAM_TOLERANCE * published_gb:
                sentences.append(
                    f"GPU {device.uuid} says {model} with {device.vram_mb / 1024:.1f} GiB; the model has {published_gb}."
                )
        if facts.devices and facts.simulated != all(device.simulated for device in facts.devices):
            sentences.append("Some of the node's GPUs are simulated and some are not.")
        return sentences


def load() -> Catalogue:
    """The catalogue that ships with the package."""
    text = resources.files("gp4u_server.market").joinpath("gpu_models.csv").read_text(encoding="utf-8")
    return parse(line for line in text.splitlines() if not line.startswith("#"))


def parse(lines: Iterable[str]) -> Catalogue:
    """A catalogue from the lines of its CSV file, comments removed."""
    models: dict[str, GpuModel] = {}
    names: dict[str, tuple[str, ...]] = {}
    for row in csv.DictReader(lines):
        model = GpuModel(
            model=row["model"],
            name=row["name"],
            vram_gb=int(row["vram_gb"]),
            fp16_tflops=float(row["fp16_tflops"]),
            fp32_tflops=float(row["fp32_tflops"]),
            memory_bandwidth_gb_s=float(row["memory_bandwidth_gb_s"]),
            tdp_w=int(row["tdp_w"]) if row["tdp_w"] else None,
        )
        models[model.model] = model
        for name in (model.model, model.name, *filter(None, row["aliases"].split(";"))):
            names[_normal(name)] = (model.model,)
    for model_name in models:
        # "4090" for RTX_4090: unless a card of another line has that very name.
        short = _normal(model_name).removeprefix("RTX")
        names.setdefault(short, (model_name,))
    for family in FAMILIES:
        members = tuple(name for name in models if name.startswith(family + "_"))
        names[_normal(family)] = members
        names.setdefault(_normal(family).removeprefix("RTX"), members)
    return Catalogue(models, names)


def _normal(name: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", _NOISE.sub("", name).upper())
