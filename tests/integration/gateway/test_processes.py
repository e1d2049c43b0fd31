"""Gateway and controller as processes: ready, and gone within seconds of a SIGTERM."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import httpx2
from gp4u_server.embedded.program import free_port

from tests.integration.catalyst_world import settings_for, until


async def test_both_start_answer_and_stop(database_url: str, valkey_url: str, tmp_path: Path) -> None:
    settings = settings_for(database_url, valkey_url, tmp_path)
    env = {
        **os.environ,
        "DATABASE_URL": database_url,
        "REDIS_URL": valkey_url,
        "GP4U_SECRETS_DIR": str(settings.secrets_dir),
        "GP4U_OBJECT_STORE_DIR": str(settings.object_store_dir),
    }
    port = free_port()
    start = asyncio.create_subprocess_exec
    gateway = await start(sys.executable, "-m", "gp4u_server.gateway", "--port", str(port), env=env)
    controller = await start(
        sys.executable, "-m", "gp4u_server.controller", env=env, stderr=asyncio.subprocess.PIPE
    )
    try:
        assert controller.stderr is not None
        line = await asyncio.wait_for(controller.stderr.readuntil(b"controller_started"), 60)
        assert line
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:

            async def ready() -> bool:
                try:
                    return (await client.get("/readiness")).status_code == 200
                except httpx2.TransportError:
                    return False

            await until("gateway ready", ready)
            assert "gp4u_gateway_heartbeats" in (await client.get("/metrics")).text
    finally:
        for process in (gateway, controller):
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
        codes = [await asyncio.wait_for(process.wait(), 30) for process in (gateway, controller)]
    assert codes[1] == 0
    assert codes[0] in (0, -signal.SIGTERM)
