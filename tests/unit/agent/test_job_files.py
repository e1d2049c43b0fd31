"""Archives of somebody else's making: what comes out, and what is refused."""

import io
import secrets
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from gp4u_agent.job_files import BadArchive, extract

LIMIT = 1 << 20
ABSOLUTE = Path(tempfile.gettempdir()) / f"gp4u-escaped-{secrets.token_hex(6)}"


def entry(
    name: str, content: bytes = b"x", kind: bytes = tarfile.REGTYPE, **fields: object
) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.type = kind
    member.size = len(content) if kind == tarfile.REGTYPE else 0
    for field, value in fields.items():
        setattr(member, field, value)
    return member, content


def archive(*entries: tuple[tarfile.TarInfo, bytes]) -> io.BytesIO:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member, content in entries:
            tar.addfile(member, io.BytesIO(content))
    return io.BytesIO(zstandard.compress(raw.getvalue()))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "job"
    folder.mkdir()
    return folder


def test_files_folders_modes_and_inner_links_come_out(target: Path) -> None:
    made = archive(
        entry("src", kind=tarfile.DIRTYPE),
        entry("src/run.sh", b"#!/bin/sh\n", mode=0o755),
        entry("src/notes.txt", "käse".encode(), mode=0o4777 & ~0o111),
        entry("latest", kind=tarfile.SYMTYPE, linkname="src/run.sh"),
        entry("deep/er/file", b"made its parents"),
    )
    extract(made, target, LIMIT)
    assert (target / "src/run.sh").stat().st_mode & 0o7777 == 0o755
    assert (target / "src/notes.txt").stat().st_mode & 0o7777 == 0o644, "set-user-id is not taken over"
    assert (target / "latest").read_text() == "#!/bin/sh\n"
    assert (target / "deep/er/file").read_bytes() == b"made its parents"


HOSTILE: dict[str, Callable[[], io.BytesIO]] = {
    "climbs": lambda: archive(entry("../escaped")),
    "climbs deeper": lambda: archive(entry("a/b/../../../escaped")),
    "absolute": lambda: archive(entry(str(ABSOLUTE))),
    "link climbs": lambda: archive(entry("l", kind=tarfile.SYMTYPE, linkname="../..")),
    "link absolute": lambda: archive(entry("l", kind=tarfile.SYMTYPE, linkname="/etc/passwd")),
    "through a link": lambda: archive(
        entry("in", kind=tarfile.DIRTYPE), entry("l", kind=tarfile.SYMTYPE, linkname="in"), entry("l/x")
    ),
    "over a link": lambda: archive(entry("l", kind=tarfile.SYMTYPE, linkname="t"), entry("l")),
    "hard link": lambda: archive(entry("a"), entry("b", kind=tarfile.LNKTYPE, linkname="a")),
    "device": lambda: archive(entry("d", kind=tarfile.BLKTYPE, devmajor=8, devminor=0)),
    "pipe": lambda: archive(entry("p", kind=tarfile.FIFOTYPE)),
    "twice": lambda: archive(entry("a"), entry("a")),
    "too large": lambda: archive(entry("a", bytes(LIMIT + 1))),
    "too large together": lambda: archive(*(entry(f"a{n}", bytes(LIMIT // 4 + 1)) for n in range(4))),
    "long name": lambda: archive(entry("/".join(["n" * 200] * 25))),
    "not zstd": lambda: io.BytesIO(b"PK\x03\x04 no archive of ours"),
    "cut short": lambda: io.BytesIO(archive(entry("a", bytes(range(256)) * 2000)).getvalue()[:200]),
    "empty": lambda: io.BytesIO(b""),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives_are_refused_and_touch_nothing_outside(name: str, target: Path) -> None:
    with pytest.raises(BadArchive):
        extract(HOSTILE[name](), target, LIMIT)
    assert [path.name for path in target.parent.iterdir()] == ["job"]
    assert not ABSOLUTE.exists()


def test_a_bomb_is_stopped_while_it_unpacks(target: Path) -> None:
    member = tarfile.TarInfo("bomb")
    member.size = 1 << 28
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        tar.addfile(member, io.BytesIO(bytes(1 << 28)))
    with pytest.raises(BadArchive):
        extract(io.BytesIO(zstandard.compress(raw.getvalue())), target, LIMIT)
    assert sum(path.stat().st_size for path in target.iterdir()) <= LIMIT
