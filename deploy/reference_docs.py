"""Writes what docs/ says about settings and error codes, from the code itself. `--check` only says what differs.

docs/settings.md is made whole; in docs/api.md only the table between its two marks is replaced.
"""

import importlib
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

import gp4u_server
from gp4u_server.api.errors import FRAMEWORK_ERRORS, STATUS
from gp4u_server.kit.errors import DomainError
from gp4u_server.settings import Settings
from pydantic import AliasChoices
from pydantic.fields import FieldInfo

DOCS = Path(__file__).resolve().parents[1] / "docs"
BEGIN = "<!-- made by deploy/reference_docs.py: begin -->"
END = "<!-- made by deploy/reference_docs.py: end -->"
SETTINGS_HEAD = """# Settings

<!-- made by deploy/reference_docs.py from gp4u_server/settings.py -->

Every process of the platform reads these from its environment, once, at its start. `gp4u up` sets them for its
children; set `DATABASE_URL`, `REDIS_URL` and the `S3_*` ones yourself to have it use servers of yours.

| variable | type | default | meaning |
|---|---|---|---|
"""
# Situations that no DomainError stands for: see api.errors.
OF_THE_EDGE = {
    "validation_failed": (422, "A field is missing or wrong; `errors` lists each with its place."),
    "temporarily_unavailable": (503, "The database cannot be reached. Nothing was changed."),
    "internal_error": (500, "A bug of ours. The `request_id` finds it in the logs."),
}


def settings_page() -> str:
    """docs/settings.md."""
    return (
        SETTINGS_HEAD
        + "\n".join(_setting(name, field) for name, field in Settings.model_fields.items())
        + "\n"
    )


def error_table() -> str:
    """Every code, its status, and when it comes."""
    rows: dict[str, tuple[int, str]] = dict(OF_THE_EDGE)
    for status, (code, detail) in FRAMEWORK_ERRORS.items():
        rows[code] = (status, detail)
    for kind in _situations():
        if "code" in vars(kind):
            meaning = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
            # One code may be raised in several modules: what the lowest one says stands for all.
            rows.setdefault(kind.code, (int(STATUS[kind.kind]), meaning))
    lines = [f"| `{code}` | {status} | {meaning} |" for code, (status, meaning) in sorted(rows.items())]
    return "\n".join(["| code | status | when |", "|---|---|---|", *lines])


def api_page(present: str) -> str:
    """docs/api.md with a fresh table."""
    before, rest = present.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n{error_table()}\n{END}{after}"


def _situations() -> list[type[DomainError]]:
    for module in pkgutil.walk_packages(gp4u_server.__path__, "gp4u_server."):
        # Programs and migrations run when imported; no situation lives in them.
        if not module.name.endswith("__main__") and ".migrations" not in module.name:
            importlib.import_module(module.name)

    def below(kind: type[DomainError]) -> Iterator[type[DomainError]]:
        for child in kind.__subclasses__():
            if child.__module__.startswith("gp4u_server."):
                yield child
                yield from below(child)

    low = ("gp4u_server.kit", "gp4u_server.foundation")
    return sorted(
        set(below(DomainError)),
        key=lambda kind: (not kind.__module__.startswith(low), kind.__module__, kind.__qualname__),
    )


def _setting(name: str, field: FieldInfo) -> str:
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        variable = " or ".join(f"`{choice}`" for choice in alias.choices)
    else:
        variable = f"`{alias or 'GP4U_' + name.upper()}`"
    default = "**required**" if field.is_required() else "" if field.default is None else f"`{field.default}`"
    return f"| {variable} | {_type_of(field.annotation)} | {default} | {field.description or ''} |"


def _type_of(annotation: Any) -> str:
    if get_origin(annotation) is UnionType:
        return " or ".join(_type_of(part) for part in get_args(annotation) if part is not type(None))
    plain = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false", "Path": "path"}
    return plain.get(annotation.__name__, "secret text")


def main() -> None:
    """Write the pages, or with --check exit with 1 when one is not current."""
    api = DOCS / "api.md"
    wanted = {DOCS / "settings.md": settings_page(), api: api_page(api.read_text())}
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv:
        for path in stale:
            print(
                f"{path.name} is not current: run .venv/bin/python deploy/reference_docs.py", file=sys.stderr
            )
        sys.exit(bool(stale))
    for path in stale:
        path.write_text(wanted[path])
        print(f"wrote {path.name}")


if __name__ == "__main__":
    main()
