"""Packing a job's folder."""

import io
import os
import tarfile
from pathlib import Path

import zstandard
from gp4u.packing import pack


def names(content: bytes) -> set[str]:
    data = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(content)).read()
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return set(archive.getnames())


def test_the_ignore_file_is_honoured(tmp_path: Path) -> None:
    for name in ("train.py", "data/big.bin", "data/keep.txt", ".git/config", "__pycache__/x.pyc", "a.log"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / ".gp4uignore").write_text("*.log\ndata/*\n!data/keep.txt\n")
    assert names(pack(tmp_path).content) == {"train.py", "data/keep.txt"}


def test_the_same_folder_packs_to_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("b")
    (tmp_path / "a").write_text("a")
    first = pack(tmp_path)
    os.utime(tmp_path / "a", (1, 1))
    assert pack(tmp_path).blake3 == first.blake3
    (tmp_path / "a").write_text("A")
    assert pack(tmp_path).blake3 != first.blake3


def test_links_out_of_the_folder_do_not_travel(tmp_path: Path) -> None:
    inside = tmp_path / "job"
    inside.mkdir()
    (tmp_path / "secret").write_text("secret")
    (inside / "file").write_text("x")
    (inside / "out").symlink_to(tmp_path / "secret")
    (inside / "in").symlink_to("file")
    assert names(pack(inside).content) == {"file", "in"}
