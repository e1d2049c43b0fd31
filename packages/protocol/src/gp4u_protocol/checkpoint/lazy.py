"""Which files of a checkpoint a job can do without at its start, and in which order they follow. Pure."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pathspec

from gp4u_protocol.checkpoint.limits import MIB
from gp4u_protocol.checkpoint.manifest import Entry, EntryKind, Manifest

PATTERNS_MAX = 32
PATTERN_LENGTH_MAX = 256
BATCH_BYTES_MAX = 32 * MIB
BATCH_FILES_MAX = 256


@dataclass(frozen=True)
class Split:
    """A checkpoint in two parts. `first` has the whole table of chunks, every folder and every link; `later` are numbers of the
    whole manifest's entries, in the order in which they shall arrive."""

    first: Manifest
    later: tuple[int, ...]


def fault_of_patterns(patterns: Sequence[str]) -> str | None:
    """Why `patterns` (as in a .gitignore, relative to the checkpoint folder) cannot be used; None when they can."""
    for pattern in patterns:
        if not 0 < len(pattern) <= PATTERN_LENGTH_MAX or any(character in pattern for character in "\0\r\n"):
            return f"a pattern is one line of 1 to {PATTERN_LENGTH_MAX} characters"
        if not pattern.strip() or pattern.startswith("#"):
            return f"{pattern!r} names no file"
    try:
        known = pathspec.GitIgnoreSpec.from_lines(patterns)
    except ValueError:
        return "a pattern cannot be understood; they are those of a .gitignore"
    if patterns and not any(pattern.include for pattern in known.patterns):
        return "patterns that begin with ! only take away from others"
    return None


def split(manifest: Manifest, patterns: Sequence[str]) -> Split:
    """What is restored before the job starts, and what after.

    A file is lazy as git would ignore it: the last pattern that fits decides, `!` takes back. It follows in the order of the first
    pattern that it fits, and within one by its path: what is written first arrives first.
    """
    if not patterns:
        return Split(manifest, ())
    known = pathspec.GitIgnoreSpec.from_lines(patterns)
    including = [pattern for pattern in known.patterns if pattern.include]
    ranked: list[tuple[int, int]] = []
    for number, entry in enumerate(manifest.entries):
        # An empty file has nothing that could arrive later.
        if entry.kind is EntryKind.FILE and entry.size and known.match_file(entry.path):
            fits = (place for place, pattern in enumerate(including) if pattern.match_file(entry.path))
            rank = next(fits, len(including))
            ranked.append((rank, number))
    later = tuple(number for _, number in sorted(ranked))
    cold = set(later)
    first = tuple(entry for number, entry in enumerate(manifest.entries) if number not in cold)
    return Split(replace(manifest, entries=first), later)


def next_batch(
    entries: Sequence[Entry], waiting: Iterable[int], wanted: Collection[str] = ()
) -> tuple[int, ...]:
    """The next files to bring: of `waiting` (numbers of `entries`, in their order) those that somebody waits for, else the first
    ones. At least one while there are any; together at most 32 MiB and 256 files, so that nobody waits long for his turn."""
    order = waiting
    if wanted:
        everything = list(waiting)
        order = [number for number in everything if _is_wanted(entries[number].path, wanted)] or everything
    batch: list[int] = []
    size = 0
    for number in order:
        size += entries[number].size
        if batch and (size > BATCH_BYTES_MAX or len(batch) == BATCH_FILES_MAX):
            break
        batch.append(number)
    return tuple(batch)


def uncovered(pending: Iterable[Entry], there: Mapping[str, bool]) -> Iterator[Entry]:
    """Of files that have not arrived, those in whose place the job has put nothing of its own.

    `there`: what lies in the folder, path → whether it is a folder. A file or link of the job on the way to a pending file covers it
    as well: both cannot be in one checkpoint.
    """
    for entry in pending:
        if entry.path not in there and all(there.get(folder, True) for folder in folders_of(entry.path)):
            yield entry


def folders_of(path: str) -> Iterator[str]:
    """The folders above `path`, outermost first."""
    parts = path.split("/")
    for depth in range(1, len(parts)):
        yield "/".join(parts[:depth])


def _is_wanted(path: str, wanted: Collection[str]) -> bool:
    return path in wanted or any(folder in wanted for folder in folders_of(path))
