"""What a change costs in the store when a file is cut on a grid, and when it is cut by its content.

    python -m bench.cutting [--mib 64] [--json]

The figures behind `gp4u_agent.checkpoint.cutting`: for each kind of file, the share of it that the next checkpoint stores under either
rule, the speed of either, and the rule that the agent picks by looking at the file.
"""

import argparse
import json
import os
import random
import sqlite3
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from blake3 import blake3
from gp4u_agent.checkpoint.collecting import SEGMENT_BYTES
from gp4u_agent.checkpoint.cutting import Cutter, is_cut_by_content
from gp4u_protocol.checkpoint.limits import MIB

Cut = Callable[[memoryview, int], Iterator[tuple[int, int]]]


def weights(path: Path, size: int, chance: random.Random) -> None:
    """A tensor file: a twentieth is rewritten in place."""
    if not path.exists():
        some = struct.pack("<65536f", *(chance.gauss(0, 0.02) for _ in range(65536)))
        with path.open("wb") as file:
            for number in range(size // len(some)):
                file.write(some[number:] + some[:number])
        return
    with path.open("r+b") as file:
        for _ in range(max(1, size // 20 // MIB)):
            file.seek(chance.randrange(size - MIB))
            file.write(os.urandom(MIB))


def lines(count: int, chance: random.Random) -> list[str]:
    return [f'{{"step": {n}, "loss": {chance.random()}, "note": "{"x" * (n % 7)}"}}\n' for n in range(count)]


def appended(path: Path, size: int, chance: random.Random) -> None:
    """A log that grows by a twentieth."""
    with path.open("a") as file:
        file.writelines(lines(size // (60 if not path.stat().st_size else 1200), chance))


def inserted(path: Path, size: int, chance: random.Random) -> None:
    """A JSON-lines file with ten lines put in, here and there."""
    if not path.stat().st_size:
        path.write_text("".join(lines(size // 60, chance)))
        return
    content = path.read_text().splitlines(keepends=True)
    for line in lines(10, chance):
        content.insert(chance.randrange(len(content)), line)
    path.write_text("".join(content))


def database(path: Path, size: int, chance: random.Random) -> None:
    """An SQLite file: a hundred rows of it change."""
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS results (id INTEGER PRIMARY KEY, body TEXT)")
        if not connection.execute("SELECT count(*) FROM results").fetchone()[0]:
            rows = ((n, "".join(chance.choices("abcdefgh ", k=180))) for n in range(size // 200))
            connection.executemany("INSERT INTO results VALUES (?, ?)", rows)
        for number in chance.sample(range(size // 200), 100):
            connection.execute("UPDATE results SET body = ? WHERE id = ?", (f"changed {number}", number))


KINDS = {"tensor": weights, "log": appended, "lines": inserted, "database": database}


def blocks_of(path: Path, cut: Cut) -> tuple[dict[bytes, int], float]:
    """Ids and lengths of a file's blocks, and MB/s of cutting and hashing."""
    content = memoryview(path.read_bytes())
    began = time.perf_counter()
    found: dict[bytes, int] = {}
    for start in range(0, len(content), SEGMENT_BYTES):
        segment = content[start : start + SEGMENT_BYTES]
        for begin, end in cut(segment, len(content)):
            found[blake3(segment[begin:end]).digest()] = end - begin
    return found, len(content) / 1e6 / (time.perf_counter() - began)


def measure(kind: str, size: int, folder: Path) -> dict[str, float | str]:
    """One kind of file under both rules."""
    chance, path, change = random.Random(kind), folder / kind, KINDS[kind]
    if kind != "tensor":
        path.touch()
    change(path, size, chance)
    descriptor = os.open(path, os.O_RDONLY)
    by_content = is_cut_by_content(descriptor, path.stat().st_size)
    os.close(descriptor)
    cutter = Cutter()
    cuts: dict[str, Cut] = {"grid": cutter.on_grid, "content": lambda view, _: cutter.by_content(view)}
    before = {name: blocks_of(path, cut)[0] for name, cut in cuts.items()}
    change(path, size, chance)
    result: dict[str, float | str] = {"kind": kind, "picked": "content" if by_content else "grid"}
    for name, cut in cuts.items():
        after, speed = blocks_of(path, cut)
        stored = sum(length for block, length in after.items() if block not in before[name])
        result |= {
            f"{name}_stored_percent": round(100 * stored / path.stat().st_size, 2),
            f"{name}_mb_s": round(speed),
        }
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mib", type=int, default=64)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gp4u-bench-") as folder:
        results = [measure(kind, arguments.mib * MIB, Path(folder)) for kind in KINDS]
    if arguments.json:
        print(json.dumps(results))
        return
    print(f"{'':<10} stored by a grid   by content   (MB/s, cut and hashed)   the agent picks")
    for each in results:
        print(
            f"{each['kind']:<10}{each['grid_stored_percent']:>15} %{each['content_stored_percent']:>11} %"
            f"{each['grid_mb_s']:>14} / {each['content_mb_s']:<10}{each['picked']:>12}"
        )


if __name__ == "__main__":
    main()
