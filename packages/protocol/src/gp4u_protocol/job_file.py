"""The job file: how people write a job specification, and how it becomes an exact `JobSpec`.

Every mistake in a file is reported, not just the first, each with the field it stands in and, where a name looks
mistyped, a suggestion.
"""

import difflib
import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from gp4u_protocol.job_spec import (
    BookingKind,
    CheckpointSource,
    JobSpec,
    NoticeSignal,
    OnNodeLoss,
    Protection,
)

FIELDS: dict[str, set[str]] = {
    "": {
        "name",
        "command",
        "image",
        "files",
        "env",
        "resources",
        "checkpoint",
        "budget",
        "protection",
        "failover",
        "kind",
        "max_duration",
    },
    "resources": {"gpus", "vram_gb", "gpu_model", "cpus", "memory_gb", "disk_gb", "region", "network"},
    "checkpoint": {"path", "every", "keep", "source", "verify", "lazy"},
    "checkpoint.keep": {"last", "hourly"},
    "budget": {"per_hour", "total"},
    "failover": {"on_node_loss", "max_moves", "per_hour", "same_region_only", "deadline", "notice_signal"},
}
_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(s|m|h|d)?\s*$")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, None: 1}
_AT_LEAST = re.compile(r"^\s*(?:>=)?\s*(\d+)\s*$")
JOB_FILE_BYTES_MAX = 256 * 1024


@dataclass(frozen=True)
class Mistake:
    """One thing that is wrong with a job file. `field` is dotted, empty for the file itself."""

    field: str
    message: str
    suggestion: str | None = None

    def __str__(self) -> str:
        where = f"{self.field}: " if self.field else ""
        hint = f" (did you mean `{self.suggestion}`?)" if self.suggestion else ""
        return f"{where}{self.message}{hint}"


class JobFileInvalid(ValueError):
    """The file cannot become a job; `mistakes` lists everything that is wrong."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__("\n".join(str(mistake) for mistake in mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True)
class JobFile:
    """A parsed job file: the specification, and the folder to send with it (None: nothing is sent)."""

    spec: JobSpec
    files: Path | None


def read_job_file(path: Path) -> JobFile:
    """Parse the YAML file at `path`; a relative `files:` counts from the file's own folder.

    Raises JobFileInvalid, also when the file is missing, too large or not YAML.
    """
    try:
        if path.stat().st_size > JOB_FILE_BYTES_MAX:
            raise JobFileInvalid([Mistake("", f"{path} is larger than {JOB_FILE_BYTES_MAX // 1024} KiB")])
        text = path.read_text()
    except UnicodeDecodeError as error:
        raise JobFileInvalid([Mistake("", f"{path} is not a text file in UTF-8")]) from error
    except OSError as error:
        raise JobFileInvalid([Mistake("", f"{path} cannot be read: {error.strerror or error}")]) from error
    return parse_job_file(text, base=path.parent)


def parse_job_file(text: str, *, base: Path) -> JobFile:
    """Parse the YAML `text`. Raises JobFileInvalid with every mistake found."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise JobFileInvalid(
            [Mistake("", f"not valid YAML{where}: {getattr(error, 'problem', error)}")]
        ) from error
    except RecursionError as error:
        raise JobFileInvalid([Mistake("", "the file is nested too deeply")]) from error
    if not isinstance(document, dict):
        raise JobFileInvalid([Mistake("", "a job file is a mapping; it needs at least `command: …`")])
    reader = _Reader()
    spec_fields = reader.read(document)
    files = reader.files(document, base)
    spec: JobSpec | None = None
    try:
        spec = JobSpec.model_validate(spec_fields)
    except ValidationError as error:
        known = {mistake.field for mistake in reader.mistakes}
        reader.mistakes += [mistake for mistake in mistakes_in(error) if mistake.field not in known]
    if reader.mistakes or spec is None:
        raise JobFileInvalid(reader.mistakes)
    return JobFile(spec, files)


def mistakes_in(error: ValidationError) -> list[Mistake]:
    """What is wrong with a `JobSpec`, in the job file's spelling of its fields."""
    return [Mistake(_file_field(problem["loc"]), _plain(problem)) for problem in error.errors()]


class _Reader:
    """Translates human spellings, collecting mistakes as it goes."""

    def __init__(self) -> None:
        self.mistakes: list[Mistake] = []

    def read(self, document: dict[Any, Any]) -> dict[str, Any]:
        self._check_names("", document)
        spec: dict[str, Any] = {}
        for name in ("name", "command", "image"):
            if name in document:
                spec[name] = document[name]
        if "env" in document:
            spec["environment"] = self._environment(document["env"])
        if "protection" in document:
            spec["protection"] = self._choice(
                "protection", document["protection"], [p.value for p in Protection]
            )
        if "kind" in document:
            spec["kind"] = self._choice("kind", document["kind"], [kind.value for kind in BookingKind])
        if "max_duration" in document:
            spec["duration_s_max"] = self._duration("max_duration", document["max_duration"])
        spec["resources"] = self._resources(self._section(document, "resources"))
        spec["checkpoint"] = self._checkpoint(self._section(document, "checkpoint"))
        spec["budget"] = self._budget(self._section(document, "budget"))
        spec["failover"] = self._failover(self._section(document, "failover"))
        return spec

    def files(self, document: dict[Any, Any], base: Path) -> Path | None:
        value = document.get("files")
        if value is None:
            return None
        if not isinstance(value, str):
            self._wrong("files", "must be the path of a folder")
            return None
        folder = (base / value).resolve()
        if not folder.is_dir():
            self._wrong("files", f"there is no folder {folder}")
            return None
        return folder

    def _section(self, document: dict[Any, Any], name: str) -> dict[Any, Any]:
        section = document.get(name)
        if section is None:
            return {}
        if not isinstance(section, dict):
            self._wrong(name, "must be a mapping of " + ", ".join(sorted(FIELDS[name])))
            return {}
        self._check_names(name, section)
        return section

    def _check_names(self, section: str, mapping: dict[Any, Any]) -> None:
        for name in mapping:
            if name not in FIELDS[section]:
                close = difflib.get_close_matches(str(name), FIELDS[section], n=1, cutoff=0.5)
                self.mistakes.append(
                    Mistake(
                        _dotted(section, str(name)), "there is no such field", close[0] if close else None
                    )
                )

    def _resources(self, section: dict[Any, Any]) -> dict[str, Any]:
        spec: dict[str, Any] = {}
        for name in ("gpus", "cpus", "memory_gb", "disk_gb", "network"):
            if name in section:
                spec[name] = section[name]
        if "vram_gb" in section:
            match = _AT_LEAST.match(str(section["vram_gb"]))
            if match:
                spec["vram_gb_min"] = int(match[1])
            else:
                self._wrong("resources.vram_gb", 'must be a number of GiB such as 24 or ">=24"')
        for name, target in (("gpu_model", "gpu_models"), ("region", "regions")):
            if name in section:
                value = section[name]
                spec[target] = [value] if isinstance(value, str) else value
        return spec

    def _checkpoint(self, section: dict[Any, Any]) -> dict[str, Any]:
        spec: dict[str, Any] = {}
        if "path" in section:
            spec["path"] = section["path"]
        if "every" in section:
            if section["every"] == "auto":
                spec["auto"] = True
            else:
                spec["every_s"] = self._duration("checkpoint.every", section["every"])
        if "verify" in section:
            spec["verify"] = section["verify"]
        if "lazy" in section:
            lazy = section["lazy"]
            spec["lazy"] = [lazy] if isinstance(lazy, str) else lazy
        if "source" in section:
            spec["source"] = self._choice(
                "checkpoint.source", section["source"], [source.value for source in CheckpointSource]
            )
        if "keep" in section:
            keep = section["keep"]
            if isinstance(keep, dict):
                self._check_names("checkpoint.keep", keep)
                spec["keep"] = {name: keep[name] for name in FIELDS["checkpoint.keep"] if name in keep}
            else:
                self._wrong("checkpoint.keep", "must be a mapping such as {last: 5, hourly: 24}")
        return spec

    def _budget(self, section: dict[Any, Any]) -> dict[str, Any]:
        spec: dict[str, Any] = {}
        for name, target in (("per_hour", "per_hour_micros_max"), ("total", "total_micros_max")):
            if name in section:
                spec[target] = self._money(f"budget.{name}", section[name])
        return spec

    def _failover(self, section: dict[Any, Any]) -> dict[str, Any]:
        spec: dict[str, Any] = {}
        if "on_node_loss" in section:
            spec["on_node_loss"] = self._choice(
                "failover.on_node_loss", section["on_node_loss"], [choice.value for choice in OnNodeLoss]
            )
        for name, target in (("max_moves", "moves_max"), ("same_region_only", "same_region_only")):
            if name in section:
                spec[target] = section[name]
        if "per_hour" in section:
            spec["per_hour_micros_max"] = self._money("failover.per_hour", section["per_hour"])
        if "notice_signal" in section:
            spec["notice_signal"] = self._choice(
                "failover.notice_signal", section["notice_signal"], [choice.value for choice in NoticeSignal]
            )
        if "deadline" in section:
            spec["deadline_s"] = self._duration("failover.deadline", section["deadline"])
        return spec

    def _environment(self, value: Any) -> dict[str, str]:
        if not isinstance(value, dict):
            self._wrong("env", "must be a mapping of NAME: value")
            return {}
        return {str(name): "" if item is None else str(item) for name, item in value.items()}

    def _choice(self, field: str, value: Any, choices: list[str]) -> str | None:
        if value in choices:
            return str(value)
        close = difflib.get_close_matches(str(value), choices, n=1)
        self.mistakes.append(
            Mistake(field, f"must be one of {', '.join(choices)}", close[0] if close else None)
        )
        return choices[0]

    def _duration(self, field: str, value: Any) -> int:
        match = _DURATION.match(str(value))
        if isinstance(value, bool) or not match:
            self._wrong(field, "must be a duration such as 30s, 5m, 2h or 1d")
            return 60
        return round(float(match[1]) * _SECONDS[match[2]])

    def _money(self, field: str, value: Any) -> int:
        try:
            amount = Decimal(str(value).lstrip("$"))
            micros = amount * 1_000_000
            if isinstance(value, bool) or not amount.is_finite() or amount <= 0 or micros != int(micros):
                raise InvalidOperation
        except InvalidOperation:
            self._wrong(field, "must be a positive amount such as 0.80, with at most six decimals")
            return 1
        return int(micros)

    def _wrong(self, field: str, message: str) -> None:
        self.mistakes.append(Mistake(field, message))


# Where a field of the specification is spelled differently in the file.
_SPELLED = {
    "environment": "env",
    "duration_s_max": "max_duration",
    "resources.vram_gb_min": "resources.vram_gb",
    "resources.gpu_models": "resources.gpu_model",
    "resources.regions": "resources.region",
    "checkpoint.every_s": "checkpoint.every",
    "budget.per_hour_micros_max": "budget.per_hour",
    "budget.total_micros_max": "budget.total",
    "failover.moves_max": "failover.max_moves",
    "failover.per_hour_micros_max": "failover.per_hour",
    "failover.deadline_s": "failover.deadline",
}


def _file_field(location: tuple[int | str, ...]) -> str:
    names = [str(part) for part in location if isinstance(part, str) and part != "[key]"]
    for depth in (2, 1):
        spelled = _SPELLED.get(".".join(names[:depth]))
        if spelled:
            return ".".join([spelled, *names[depth:]])
    return ".".join(names)


_PLAIN = {
    "missing": "is missing",
    "string_type": "must be text; put it in quotes where it could be read as something else",
    "list_type": "must be a list such as [a, b]",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
}


def _plain(problem: Any) -> str:
    if problem["loc"] == ("name",):
        return "must be 1 to 63 lower case letters, digits, dots, dashes or underscores"
    if problem["type"] in _PLAIN:
        return _PLAIN[problem["type"]]
    message: str = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return message[0].lower() + message[1:]


def _dotted(section: str, name: str) -> str:
    return f"{section}.{name}" if section else name
