"""The cold files of a checkpoint that a job started without: which are pending, and how each gets into its place.

They are brought into a folder beside the job's: out of its reach, on the same file system. What lies there says what is pending, so
that a restarted agent goes on where the one before it was ended:

    note.json           which checkpoint, and its cold files in their order. Written last, removed first: without it nothing is pending
    manifest            of that checkpoint, sealed
    begun               files whose content was complete here once, a line a batch, written before the first of them leaves
    here-<n>/<number>   files that are complete and not in their place yet; each leaves by one rename

A file is pending until it was put into its place, or until a snapshot saw that the job has put something of its own there.
"""

import contextlib
import json
import os
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gp4u_protocol.checkpoint.errors import Damaged
from gp4u_protocol.checkpoint.lazy import folders_of, next_batch, uncovered
from gp4u_protocol.checkpoint.manifest import (
    HOLE,
    Entry,
    EntryKind,
    Manifest,
    open_manifest,
    seal_manifest,
)
from gp4u_protocol.checkpoint.sealing import JobKeys

from gp4u_agent.checkpoint.collecting import Collected, File
from gp4u_agent.checkpoint.putting import Fate, put_in_place
from gp4u_agent.checkpoint.walking import Found, Signature
from gp4u_agent.job_process import remove_tree

_NOWHERE = Signature(0, 0, 0, 0)


class Arrivals:
    """What of one restored checkpoint has not arrived. Threads may call everything at the same time.

    Methods other than `pending` and `left` touch the disk and raise OSError.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        checkpoint_id: str,
        waiting: Sequence[int],
        staged: Mapping[int, Path],
    ) -> None:
        self.manifest = manifest
        self.checkpoint_id = checkpoint_id
        self._folder = folder
        self._lock = threading.Lock()
        self._waiting = dict.fromkeys(waiting)
        self._staged = dict(staged)
        self._modes = {
            entry.path: entry.mode for entry in manifest.entries if entry.kind is EntryKind.DIRECTORY
        }

    @classmethod
    def begin(
        cls, folder: Path, manifest: Manifest, checkpoint_id: str, later: Sequence[int], keys: JobKeys
    ) -> "Arrivals":
        """Note that the entries `later` of `manifest` are to follow. Nothing of an earlier start is left."""
        remove_tree(folder)
        folder.mkdir(mode=0o700)
        sealed = seal_manifest(manifest, keys)
        (folder / "manifest").write_bytes(sealed.content)
        note = {
            "checkpoint_id": checkpoint_id,
            "epoch": manifest.epoch,
            "seq": manifest.seq,
            "blake3": sealed.blake3_hex,
            "later": list(later),
        }
        (folder / "note.new").write_text(json.dumps(note))
        os.replace(folder / "note.new", folder / "note.json")
        return cls(folder, manifest, checkpoint_id, later, {})

    @classmethod
    def resume(cls, folder: Path, keys: JobKeys) -> "Arrivals | None":
        """What an earlier run of the agent left; None when nothing is pending. Raises Damaged, OSError."""
        try:
            content = (folder / "note.json").read_bytes()
        except FileNotFoundError:
            return None
        try:
            return cls._resume(folder, keys, json.loads(content))
        except (ValueError, KeyError, TypeError) as error:
            raise Damaged("the list of files that still arrive", "cannot be read") from error

    @classmethod
    def _resume(cls, folder: Path, keys: JobKeys, note: dict[str, Any]) -> "Arrivals":
        manifest = open_manifest(
            (folder / "manifest").read_bytes(),
            keys,
            epoch=note["epoch"],
            seq=note["seq"],
            blake3_hex=note["blake3"],
        )
        staged: dict[int, Path] = {}
        for path in folder.iterdir():
            if path.name.startswith("here-"):
                staged |= {int(entry.name): Path(entry) for entry in os.scandir(path)}
            elif path.name.startswith("."):
                remove_tree(path)  # a batch that was on its way
        begun: set[int] = set()
        with contextlib.suppress(FileNotFoundError):
            *lines, _torn = (folder / "begun").read_text().split("\n")
            begun = {int(number) for line in lines for number in line.split()}
        waiting = [number for number in note["later"] if number not in begun and number not in staged]
        found = cls(folder, manifest, note["checkpoint_id"], waiting, staged)
        found._note_begun([number for number in staged if number not in begun])
        return found

    def pending(self) -> dict[int, Entry]:
        """Every file that has not arrived, by its number in the manifest."""
        with self._lock:
            numbers = [*self._staged, *self._waiting]
        return {number: self.manifest.entries[number] for number in numbers}

    @property
    def left(self) -> tuple[int, int]:
        """How many files are pending, and their bytes."""
        entries = self.pending().values()
        return len(entries), sum(entry.size for entry in entries)

    # --- bringing ----------------------------------------------------------------------------------------

    def next_batch(self, wanted: Collection[str]) -> tuple[Manifest, Path] | None:
        """What to restore next, and where to; None when everything is here. Every file of it is named by its number."""
        with self._lock:
            numbers = next_batch(self.manifest.entries, self._waiting, wanted)
        if not numbers:
            return None
        files = [self.manifest.entries[number].model_copy(update={"path": str(number)}) for number in numbers]
        return replace(self.manifest, entries=tuple(files)), self._folder / f"here-{numbers[0]}"

    def brought(self, batch: Manifest, where: Path) -> None:
        """A batch is complete in `where`."""
        numbers = [int(entry.path) for entry in batch.entries]
        self._note_begun(numbers)
        with self._lock:
            for number in numbers:
                if number in self._waiting:
                    del self._waiting[number]
                    self._staged[number] = where / str(number)
                else:  # the job put something of its own there meanwhile
                    (where / str(number)).unlink(missing_ok=True)

    def put_in_place(self, anchor: Path, inside: Sequence[str]) -> int:
        """Put everything that is here where it belongs: below the folders `inside` of `anchor`. Answers how many could not
        be, because something of the job's lies on the way; they are still pending."""
        blocked = 0
        root = os.open(anchor, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with self._lock:
                staged = list(self._staged)
            for number in staged:
                path = self.manifest.entries[number].path
                *folders, name = path.split("/")
                made = {
                    len(inside) + depth: self._modes[above] for depth, above in enumerate(folders_of(path))
                }
                # Under the lock: a snapshot that begins when the job has seen the file finds it not pending any more.
                with self._lock:
                    if (source := self._staged.get(number)) is None:
                        continue
                    fate = put_in_place(root, [*inside, *folders], name, source, made)
                    if fate is Fate.BLOCKED:
                        blocked += 1
                        continue
                    source.unlink(missing_ok=True)
                    del self._staged[number]
        finally:
            os.close(root)
        for left in self._folder.glob("here-*"):
            with contextlib.suppress(OSError):
                left.rmdir()
        return blocked

    def supersede(self, numbers: Collection[int]) -> None:
        """The job has put something of its own where these belong: they never arrive."""
        with self._lock:
            numbers = [number for number in numbers if number in self._waiting or number in self._staged]
        self._note_begun(numbers)
        with self._lock:
            for number in numbers:
                self._waiting.pop(number, None)
                if (source := self._staged.pop(number, None)) is not None:
                    source.unlink(missing_ok=True)

    def finish(self) -> None:
        """Everything has arrived."""
        (self._folder / "note.json").unlink(missing_ok=True)
        remove_tree(self._folder)

    def _note_begun(self, numbers: Sequence[int]) -> None:
        if not numbers:
            return
        line = " ".join(str(number) for number in numbers) + "\n"
        with open(self._folder / "begun", "ab") as file:
            file.write(line.encode())


def carry(collected: Collected, pending: Mapping[int, Entry], manifest: Manifest) -> list[int]:
    """Add to a snapshot the files that had not arrived when it began, as `manifest` has them, but for those that the job covers.

    `pending` is of the instant *before* the folder was read: a file that arrived since was found there, or was removed by the job
    while the snapshot was taken. Answers the numbers of those in whose very place the job has put something.
    """
    there = {found.path: found.kind is EntryKind.DIRECTORY for found in collected.others}
    there.update(dict.fromkeys((*collected.files, *collected.left_out), False))
    covered = [number for number, entry in pending.items() if entry.path in there]
    known = {entry.path: entry for entry in manifest.entries if entry.kind is EntryKind.DIRECTORY}
    for entry in uncovered(pending.values(), there):
        for folder in folders_of(entry.path):
            if folder not in there:
                above = known[folder]
                collected.others.append(Found(folder, above.kind, above.mode, above.mtime_ns, _NOWHERE))
                there[folder] = True
        places = [None if number == HOLE else manifest.chunks[number] for number in entry.chunks]
        for place in places:
            if place is not None:
                collected.places.setdefault(place.chunk_id, place)
        blocks = [None if place is None else place.chunk_id for place in places]
        by_content = bool(entry.chunks) and entry.block == 0
        collected.files[entry.path] = File(entry.mode, entry.mtime_ns, entry.size, by_content, blocks)
    return covered
