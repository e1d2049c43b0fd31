"""What each mode of the fault proxy does to real connections."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from gp4u_server.demo.fault_proxy import FaultProxy, Mode

SHORT_S = 0.15
LONG_S = 10.0


@asynccontextmanager
async def echo_behind_proxy() -> AsyncIterator[FaultProxy]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    proxy = FaultProxy("127.0.0.1", server.sockets[0].getsockname()[1])
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()
        server.close()


@asynccontextmanager
async def connected(
    proxy: FaultProxy,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def heard(reader: asyncio.StreamReader, count: int, within_s: float = LONG_S) -> bytes:
    return await asyncio.wait_for(reader.readexactly(count), within_s)


async def silent(reader: asyncio.StreamReader) -> bool:
    try:
        await asyncio.wait_for(reader.readexactly(1), SHORT_S)
    except TimeoutError:
        return True
    return False


async def test_up_passes_everything_in_order() -> None:
    async with echo_behind_proxy() as proxy, connected(proxy) as (reader, writer):
        sent = bytes(range(256)) * 4096
        writer.write(sent)
        assert await heard(reader, len(sent)) == sent


async def test_the_end_of_a_stream_passes() -> None:
    async with echo_behind_proxy() as proxy, connected(proxy) as (reader, writer):
        writer.write(b"last words")
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), LONG_S) == b"last words"


async def test_a_connect_request_opens_a_tunnel_to_the_upstream_whatever_it_names() -> None:
    async with echo_behind_proxy() as proxy, connected(proxy) as (reader, writer):
        writer.write(b"CONNECT elsewhere.example:443 HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n")
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), LONG_S)).startswith(b"HTTP/1.1 200")
        writer.write(b"inside")
        assert await heard(reader, 6) == b"inside"


async def test_cut_is_silence_both_ways_and_healing_delivers_what_was_on_its_way() -> None:
    async with echo_behind_proxy() as proxy, connected(proxy) as (reader, writer):
        writer.write(b"a")
        assert await heard(reader, 1) == b"a"
        proxy.link.set(Mode.CUT)
        writer.write(b"b")
        assert await silent(reader)
        async with connected(proxy) as (late_reader, late_writer):
            late_writer.write(b"c")
            assert await silent(late_reader)
            proxy.link.set(Mode.UP)
            assert await heard(reader, 1) == b"b"
            assert await heard(late_reader, 1) == b"c"


async def test_a_peer_that_goes_away_behind_a_cut_is_not_noticed() -> None:
    closed = asyncio.Event()

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        await reader.read(1)
        closed.set()
        writer.close()

    upstream = await asyncio.start_server(server, "127.0.0.1", 0)
    proxy = FaultProxy("127.0.0.1", upstream.sockets[0].getsockname()[1])
    await proxy.start()
    _, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"x")
    await writer.drain()
    proxy.link.set(Mode.CUT)
    writer.close()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(closed.wait(), SHORT_S)
    proxy.link.set(Mode.UP)
    await asyncio.wait_for(closed.wait(), LONG_S)
    await proxy.close()
    upstream.close()


async def test_half_open_loses_what_the_node_sends_only() -> None:
    got: list[bytes] = []
    speak = asyncio.Event()

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.read(1))
        await speak.wait()
        writer.write(b"server speaks")
        got.append(await reader.read(1))
        writer.close()

    upstream = await asyncio.start_server(server, "127.0.0.1", 0)
    proxy = FaultProxy("127.0.0.1", upstream.sockets[0].getsockname()[1])
    await proxy.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"1")
    while not got:
        await asyncio.sleep(0.01)
    proxy.link.set(Mode.HALF_OPEN)
    writer.write(b"2")
    speak.set()
    assert await heard(reader, 13) == b"server speaks"
    assert got == [b"1"]
    proxy.link.set(Mode.UP)
    assert await asyncio.wait_for(reader.read(), LONG_S) == b""
    assert got == [b"1", b"2"]
    await proxy.close()
    upstream.close()


async def test_slow_delays_each_direction() -> None:
    async with echo_behind_proxy() as proxy, connected(proxy) as (reader, writer):
        proxy.link.set(Mode.SLOW, delay_ms=100)
        began = asyncio.get_running_loop().time()
        writer.write(b"a")
        assert await heard(reader, 1) == b"a"
        assert asyncio.get_running_loop().time() - began >= 0.2


async def test_lossy_stalls_but_loses_no_byte() -> None:
    async with echo_behind_proxy() as proxy, connected(proxy) as (reader, writer):
        proxy.link.chance.seed(7)
        proxy.link.set(Mode.LOSSY, loss_percent=30)
        for number in range(8):
            writer.write(bytes([number]))
            assert await heard(reader, 1) == bytes([number])


async def test_poor_is_slow_and_lossy_at_once() -> None:
    async with echo_behind_proxy() as proxy, connected(proxy) as (reader, writer):
        proxy.link.chance.seed(7)
        proxy.link.set(Mode.POOR, delay_ms=100, loss_percent=0)
        began = asyncio.get_running_loop().time()
        writer.write(b"a")
        assert await heard(reader, 1) == b"a"
        assert asyncio.get_running_loop().time() - began >= 0.2
        proxy.link.set(Mode.POOR, loss_percent=100)
        writer.write(b"b")
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await heard(reader, 1, within_s=20)


async def test_total_loss_resets_the_connection() -> None:
    async with echo_behind_proxy() as proxy, connected(proxy) as (reader, writer):
        writer.write(b"a")
        assert await heard(reader, 1) == b"a"
        proxy.link.set(Mode.LOSSY, loss_percent=100)
        writer.write(b"b")
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await heard(reader, 1, within_s=20)
