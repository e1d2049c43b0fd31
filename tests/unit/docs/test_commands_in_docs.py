"""What the pages and our own messages tell people to type exists, with these options, as it stands there."""

import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from gp4u.cli import gp4u
from gp4u_agent.cli import agent
from gp4u_protocol.job_file import parse_job_file

ROOT = Path(__file__).resolve().parents[3]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(ROOT.glob("docs/**/*.md")),
    *sorted(ROOT.glob("examples/*/*.md")),
]
SOURCES = [
    *sorted(ROOT.glob("packages/*/src/**/*.py")),
    *sorted(ROOT.glob("web/src/**/*.tsx")),
    *sorted(ROOT.glob("web/src/**/*.ts")),
]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`((?:gp4u|gp4u-agent) [^`\n]+)`")
_PROGRAM = re.compile(r"^(?:\S*/)?(gp4u|gp4u-agent)$")
_SEVERAL = re.compile(r"^gp4u(-agent)? [\w -]+/\w")  # `gp4u up/down/status` names commands and is none
_OPTIONAL = re.compile(r" \[([^\]]+)\]")
_SHELLS = {"", "sh", "bash", "console"}


def _shell_lines(text: str) -> Iterator[str]:
    for language, block in _FENCE.findall(text):
        if language in _SHELLS:
            yield from block.splitlines()


def _commands(line: str) -> Iterator[list[str]]:
    """Every call of ours in a line of shell, as words after the program's name (agent calls: as `gp4u agent …`)."""
    for part in re.split(r"&&|\|| > ", line.rstrip(" …")):
        try:
            words = shlex.split(_OPTIONAL.sub(r" \1", part).replace("…", "placeholder"), comments=True)
        except ValueError:
            continue
        match = _PROGRAM.match(words[0]) if words else None
        if match:
            yield words[1:] if match[1] == "gp4u" else ["agent", *words[1:]]


def _all() -> Iterator[tuple[str, list[str]]]:
    for page in PAGES:
        text = page.read_text()
        lines = [
            *_shell_lines(text),
            *(found for found in _INLINE.findall(text) if not _SEVERAL.match(found)),
        ]
        for line in lines:
            for words in _commands(line):
                yield f"{page.relative_to(ROOT)}: {line.strip()}", words
    for source in SOURCES:
        for found in _INLINE.findall(source.read_text()):
            if _SEVERAL.match(found):
                continue
            for words in _commands(re.sub(r"\$?\{[^{}]*\}", "placeholder", found)):
                yield f"{source.relative_to(ROOT)}: {found}", words


def _check(words: list[str]) -> None:
    """Parse `words` as the command would, and run nothing. Raises click.UsageError."""
    command: click.Command = gp4u
    context = click.Context(gp4u, info_name="gp4u")
    while isinstance(command, click.Group) and words:
        # Options of the group itself stand before the name of the command in it.
        parser = command.make_parser(context)
        _, words, _ = parser.parse_args(list(words))
        if not words:
            return
        _, found, words = command.resolve_command(context, words)
        assert found is not None
        command = found
        context = click.Context(command, parent=context, info_name=command.name)
    if isinstance(command, click.Group):
        return
    parser = command.make_parser(context)
    values, rest, order = parser.parse_args(list(words))
    if rest:
        raise click.UsageError(f"too many arguments: {rest}", context)
    given = {parameter.name for parameter in order if values.get(parameter.name or "") is not None}
    for parameter in command.get_params(context):
        # Prose may leave out what has to be filled in (`gp4u offers new`), a name that does not exist it may not.
        if parameter.name in given and isinstance(parameter.type, click.Choice):
            value = values[parameter.name or ""]
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, str) and one.islower():
                    parameter.type.convert(one, parameter, context)


COMMANDS = list(dict(_all()).items())


def test_there_are_commands_to_check() -> None:
    found = {where.partition(":")[0] for where, _ in COMMANDS}
    assert {"README.md", "docs/owners.md", "docs/command.md"} <= found
    assert len(COMMANDS) > 60
    assert agent.name == "agent"


@pytest.mark.parametrize(
    "words", [["serach"], ["ps", "--bogus"], ["nodes", "list"], ["demo", "--dta", "x", "nodes"]]
)
def test_a_wrong_command_would_be_noticed(words: list[str]) -> None:
    with pytest.raises(click.UsageError):
        _check(words)


def test_every_command_that_is_written_down_exists() -> None:
    wrong = []
    for where, words in COMMANDS:
        try:
            _check(words)
        except click.BadOptionUsage:
            continue  # prose names an option without its value: it exists
        except click.UsageError as error:
            wrong.append(f"{where}: {error.message}")
    assert wrong == []


def test_every_make_target_that_is_written_down_exists() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set()
    for page in PAGES:
        text = page.read_text()
        named |= {(page.name, target) for target in re.findall(r"`make ([a-z][a-z-]*)", text)}
        for line in _shell_lines(text):
            named |= {(page.name, target) for target in re.findall(r"^make ([a-z][a-z-]*)", line)}
    assert {item for item in named if item[1] not in targets} == set()


def test_job_files_on_the_pages_are_valid(tmp_path: Path) -> None:
    checked = 0
    for page in PAGES:
        for language, block in _FENCE.findall(page.read_text()):
            if language == "yaml" and re.search(r"^command:", block, re.MULTILINE):
                parse_job_file(block, base=tmp_path)
                checked += 1
    assert checked >= 1


def test_python_on_the_pages_compiles_and_its_imports_exist() -> None:
    for page in PAGES:
        for language, block in _FENCE.findall(page.read_text()):
            if language != "python":
                continue
            for node in ast.walk(ast.parse(block)):
                if isinstance(node, ast.ImportFrom) and node.module:
                    module = importlib.import_module(node.module)
                    assert all(hasattr(module, name.name) for name in node.names), (page.name, node.module)
