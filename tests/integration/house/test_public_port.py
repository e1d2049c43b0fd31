"""The public port before several api processes: whose death costs which request."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest
from gp4u_server.embedded.program import free_port
from gp4u_server.supervisor import proxy

BODY = b"x" * 70_000


@dataclass
class Upstream:
    """Dies on every request that it sees for the first time, as a process that is killed in the middle of it."""

    seen: dict[str, list[int]]  # request → sizes of the bodies that came with it, on whichever upstream
    asked_for_health: int = 0
    port: int = 0
    _open: set["asyncio.Task[None]"] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split(" ", 2)[1]
        if path == "/health":
            self.asked_for_health += 1
        else:
            length = next(
                (int(line.split(":")[1]) for line in head.lower().split("\r\n") if "content-length:" in line),
                0,
            )
            body = await reader.readexactly(length)
            self.seen.setdefault(path, []).append(len(body))
        if path == "/health" or len(self.seen[path]) > 1:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def public_port(folder: Path, upstreams: list[Upstream]) -> AsyncIterator[str]:
    async with contextlib.AsyncExitStack() as stack:
        for upstream in upstreams:
            server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
            stack.push_async_callback(server.wait_closed)
            stack.callback(server.close)
            upstream.port = server.sockets[0].getsockname()[1]
        port = free_port()
        document = proxy.configuration(
            host="127.0.0.1",
            port=port,
            api_ports=[upstream.port for upstream in upstreams],
            gateway_ports=[upstreams[0].port],
            storage=folder / "caddy",
        )
        # Whoever died is passed over for two seconds; here the test would wait for them.
        text = json.dumps(document).replace(f'"fail_duration": "{proxy.DEAD_S}s"', '"fail_duration": "20ms"')
        (folder / "caddy.json").write_text(text)
        process = await asyncio.create_subprocess_exec(
            str(proxy.program_path()),
            "run",
            "--config",
            str(folder / "caddy.json"),
            stderr=asyncio.subprocess.DEVNULL,
            env={"XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder), "HOME": str(folder)},
        )
        try:
            async with httpx2.AsyncClient() as client:
                for _ in range(400):
                    with contextlib.suppress(httpx2.TransportError):
                        await client.get(f"http://127.0.0.1:{port}/health")
                        break
                    await asyncio.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            await process.wait()


async def test_h16_a_request_is_sent_again_only_where_that_does_no_harm(tmp_path: Path) -> None:
    seen: dict[str, list[int]] = {}
    upstreams = [Upstream(seen), Upstream(seen)]
    async with (
        public_port(tmp_path, upstreams) as url,
        httpx2.AsyncClient(base_url=url, timeout=30) as client,
    ):
        assert (await client.get("/read")).status_code == 200
        assert (await client.put("/replace", content=BODY)).status_code == 200
        keyed = await client.post("/create", content=BODY, headers={"Idempotency-Key": "k-1"})
        assert keyed.status_code == 200
        assert (await client.post("/act", content=BODY)).status_code == 502
        assert (await client.patch("/change", content=BODY)).status_code == 502
    assert seen["/read"] == [0, 0]
    assert seen["/replace"] == [len(BODY)] * 2
    assert seen["/create"] == [len(BODY)] * 2, "the second try carries the whole body, too"
    assert seen["/act"] == seen["/change"] == [len(BODY)], "it may have been done: only its caller can know"


@pytest.mark.parametrize("count", [1, 2])
async def test_several_are_asked_regularly_whether_they_live_a_single_one_is_waited_for(
    tmp_path: Path, count: int
) -> None:
    upstreams = [Upstream({}) for _ in range(count)]
    async with public_port(tmp_path, upstreams):
        asked = [upstream.asked_for_health for upstream in upstreams]
        if count == 1:
            assert sum(asked) <= 1, "only our own visit"
            return
        async with asyncio.timeout(30):
            while not all(upstream.asked_for_health > 2 for upstream in upstreams):
                await asyncio.sleep(0.05)
