"""The job's output: always valid text, kept by offset, bounded, shipped once."""

import asyncio
import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

from gp4u_agent.log_shipping import LogShipper
from gp4u_agent.placement_dir import PlacementDir
from gp4u_agent.shim.output import OutputLog, read_from
from gp4u_protocol.messages import LogAck, LogChunk
from hypothesis import given
from hypothesis import strategies as st


@given(st.lists(st.binary(max_size=64), max_size=20), st.integers(1, 40))
def test_any_bytes_become_valid_text_at_stable_offsets(tmp_path_factory, pieces, step) -> None:  # type: ignore[no-untyped-def]
    folder: Path = tmp_path_factory.mktemp("log")
    log = OutputLog(folder, segment_bytes=50, segments_max=1000)
    for piece in pieces:
        log.append(piece)
    log.close()
    whole, offset = b"", 0
    while offset < log.end:
        begin, piece = read_from(folder, offset, max(step, 4))
        assert begin == offset
        assert piece
        piece.decode()  # never half a character
        assert b"\0" not in piece
        whole += piece
        offset += len(piece)
    assert whole.decode() == b"".join(pieces).decode("utf-8", "replace").replace("\0", "\ufffd")


def test_the_oldest_output_is_dropped_at_the_cap(tmp_path: Path) -> None:
    log = OutputLog(tmp_path, segment_bytes=10, segments_max=3)
    for number in range(100):
        log.append(f"line {number:4}\n".encode())
    log.close()
    assert len(list(tmp_path.iterdir())) <= 3
    begin, piece = read_from(tmp_path, 0, 1000)
    assert begin > 0
    assert log.end == 1000
    assert piece.startswith(b"line")


@contextlib.contextmanager
def files_no_larger_than(size_bytes: int) -> Iterator[None]:
    """What a full disk does: a write takes a part, the next one fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_a_full_disk_cannot_take_is_dropped_and_said_once(tmp_path: Path) -> None:
    log = OutputLog(tmp_path)
    log.append(b"before\n")
    with files_no_larger_than(20):
        for _ in range(5):
            log.append("dröpped, all of it\n".encode())  # the first one fits by half
    assert log.end == 7
    assert log.dropped_bytes == 5 * 20
    log.append(b"after\n")
    log.close()
    _, piece = read_from(tmp_path, 0, 1000)
    assert piece.decode() == (
        "before\n\n[gp4u: 100 bytes of output were dropped here: the node's disk was full]\nafter\n"
    )
    assert log.end == len(piece)


def test_a_full_disk_at_the_turn_of_a_segment_keeps_the_old_one(tmp_path: Path) -> None:
    log = OutputLog(tmp_path, segment_bytes=10, segments_max=3)
    log.append(b"0123456789")
    tmp_path.rename(tmp_path.with_name("away"))  # no new file can be made there
    log.append(b"lost")
    tmp_path.with_name("away").rename(tmp_path)
    log.append(b"found")
    log.close()
    begin, piece = read_from(tmp_path, 10, 1000)
    assert begin == 10
    assert b"4 bytes" in piece
    assert piece.endswith(b"found")


class Gateway:
    """Stores chunks as the server does: contiguous bytes, re-sent ones ignored."""

    def __init__(self, lose_every: int = 0) -> None:
        self.text = b""
        self.sent = 0
        self.lose_every = lose_every
        self.shipper: LogShipper | None = None

    def take(self, chunk: LogChunk) -> None:
        self.sent += 1
        if self.lose_every and self.sent % self.lose_every == 0:
            return
        raw = chunk.text.encode()
        if chunk.offset <= len(self.text) < chunk.offset + len(raw):
            self.text += raw[len(self.text) - chunk.offset :]
        assert self.shipper is not None
        self.shipper.acknowledge(LogAck(placement_id="p", epoch=1, next_offset=len(self.text)))


async def test_output_is_shipped_whole(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("gp4u_agent.log_shipping.LOOK_INTERVAL_S", 0)
    monkeypatch.setattr("gp4u_agent.log_shipping.RESEND_AFTER_S", 0.01)
    folder = PlacementDir(tmp_path)
    log = OutputLog(folder.log)
    text = "".join(f"zeile {n} ü\n" for n in range(20_000))
    log.append(text.encode())
    gateway = Gateway(lose_every=3)
    gateway.shipper = LogShipper(folder, "p", 1, gateway.take)
    assert await gateway.shipper.finish(5)
    assert gateway.text.decode() == text

    log.append(b"more\n")
    gateway.shipper = LogShipper(folder, "p", 1, gateway.take)  # the agent was restarted
    assert await gateway.shipper.finish(5)
    assert gateway.text.decode() == text + "more\n"


async def test_a_gap_is_named_and_shipping_goes_on(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("gp4u_agent.log_shipping.LOOK_INTERVAL_S", 0)
    folder = PlacementDir(tmp_path)
    log = OutputLog(folder.log, segment_bytes=100, segments_max=2)
    for number in range(100):
        log.append(f"line {number:4}\n".encode())
    gateway = Gateway()
    gateway.shipper = LogShipper(folder, "p", 1, gateway.take)
    assert await gateway.shipper.finish(5)
    assert b"bytes of output were dropped here" in gateway.text
    assert gateway.text.endswith(b"line   99\n")
    log.append(b"after\n")
    assert await gateway.shipper.finish(5)
    assert gateway.text.endswith(b"line   99\nafter\n")


async def test_shipping_gives_up_in_time_when_nobody_answers(tmp_path: Path) -> None:
    folder = PlacementDir(tmp_path)
    OutputLog(folder.log).append(b"hello\n")
    shipper = LogShipper(folder, "p", 1, lambda _: None)
    assert not await asyncio.wait_for(shipper.finish(0.05), 2)


async def test_h28_a_disk_that_takes_nothing_does_not_stop_the_output(tmp_path: Path) -> None:
    (tmp_path / "log.new").mkdir()  # every note of how far we are fails
    folder = PlacementDir(tmp_path)
    OutputLog(folder.log).append(b"hello\n")
    gateway = Gateway()
    gateway.shipper = LogShipper(folder, "p", 1, gateway.take)
    assert await gateway.shipper.finish(5)
    assert gateway.text == b"hello\n"
