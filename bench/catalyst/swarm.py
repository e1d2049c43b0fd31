"""Thousands of agents in one process: real keys, real sockets, real handshakes and heartbeats; no machine behind them.

    python -m bench.catalyst.swarm --url ws://… --nodes nodes.json

Prints one JSON line a second: connected, beats, answered, refused, and the slowest answers. Ends at SIGTERM.
"""

import argparse
import asyncio
import base64
import json
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from gp4u_protocol.messages import (
    DeviceFacts,
    DeviceHealth,
    Heartbeat,
    Hello,
    NodeFacts,
    NodeHealth,
    Proof,
    challenge_bytes,
)
from gp4u_server.kit.ids import new_id
from psycopg.types.json import Jsonb
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

HANDSHAKES_AT_ONCE = 24
NODE_MB = 131_072
ANSWERS_KEPT = 200_000


# --- who they are -------------------------------------------------------------------------------------------


def facts_of(number: int) -> NodeFacts:
    """What such an agent says of its machine."""
    device = DeviceFacts(
        uuid=f"SWARM-{number:06}", model="RTX_4090", vram_mb=24 * 1024, driver="simulated", simulated=True
    )
    return NodeFacts(
        hostname=f"swarm-{number}", os="linux", kernel="6", cpu_model="none", cpus=16, memory_mb=NODE_MB,
        disk_free_mb=1_000_000, devices=[device], runtimes={"sandbox": "swarm"}, simulated=True,
    )  # fmt: skip


def enrol(database_url: str, owner_email: str, count: int) -> list[dict[str, str]]:
    """Write `count` verified nodes of an owner, without offers, as joining would. Returns each one's id and private key."""
    members: list[dict[str, str]] = []
    devices: list[tuple[str, str, DeviceFacts]] = []
    with psycopg.connect(database_url) as connection:
        found = connection.execute("SELECT id FROM users WHERE email = %s", [owner_email]).fetchone()
        assert found, f"there is no account {owner_email}"
        columns = "id, owner_id, name, region, status, public_key, simulated, facts, cpus, memory_mb, disk_mb, enrolled_at"
        with connection.cursor().copy(f"COPY nodes ({columns}) FROM STDIN") as copy:
            for number in range(count):
                key, node_id = Ed25519PrivateKey.generate(), new_id("node")
                facts = facts_of(number)
                public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
                copy.write_row(
                    (node_id, found[0], facts.hostname, "eu-north", "verified", public, True,
                     Jsonb(facts.model_dump(mode="json", exclude={"disk_free_mb"})), facts.cpus, facts.memory_mb, facts.disk_free_mb, "now")
                )  # fmt: skip
                private = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
                devices += [(new_id("dev"), node_id, device) for device in facts.devices]
                members.append({"node_id": node_id, "key": base64.b64encode(private).decode()})
        columns = "id, node_id, uuid, model, vram_mb, simulated, position, present, enrolled"
        with connection.cursor().copy(f"COPY devices ({columns}) FROM STDIN") as copy:
            for device_id, node_id, device in devices:
                copy.write_row(
                    (device_id, node_id, device.uuid, device.model, device.vram_mb, True, 0, True, True)
                )
        connection.execute("ANALYZE nodes, devices")
    return members


# --- what they do -------------------------------------------------------------------------------------------


@dataclass
class Counts:
    """What the swarm has seen since the last line."""

    connected: int = 0
    beats: int = 0
    answered: int = 0
    broken: int = 0
    answers_ms: list[float] = field(default_factory=list)

    def line(self) -> str:
        """One JSON object; the rates begin anew."""
        answers = sorted(self.answers_ms)
        p99 = answers[int(0.99 * (len(answers) - 1))] if answers else None
        document = {
            "connected": self.connected, "beats": self.beats, "answered": self.answered, "broken": self.broken,
            "answer_p99_ms": p99,
        }  # fmt: skip
        self.beats = self.answered = self.broken = 0
        self.answers_ms.clear()
        return json.dumps(document)


@dataclass
class Member:
    """One agent."""

    number: int
    node_id: str
    key: Ed25519PrivateKey
    counts: Counts

    async def run(self, url: str, door: asyncio.Semaphore) -> None:
        """Connect and beat; connect again when the gateway ends it."""
        while True:
            try:
                async with door:
                    socket = await connect(url, ping_interval=None, compression=None, open_timeout=30)
                    interval_s = await self._shake_hands(socket)
                await self._beat(socket, interval_s)
            except (OSError, WebSocketException, TimeoutError):
                self.counts.broken += 1
                await asyncio.sleep(random.uniform(0.5, 2))

    async def _shake_hands(self, socket: ClientConnection) -> float:
        hello = Hello(agent_version="swarm", node_id=self.node_id, facts=facts_of(self.number))
        await socket.send(hello.model_dump_json())
        while True:
            message = json.loads(await socket.recv())
            if message["type"] == "challenge":
                signature = self.key.sign(challenge_bytes(self.node_id, message["nonce"]))
                await socket.send(Proof(signature=base64.b64encode(signature).decode()).model_dump_json())
            elif message["type"] == "welcome":
                return float(message["heartbeat_interval_s"])
            elif message["type"] == "rejected":
                raise OSError(message["code"])

    async def _beat(self, socket: ClientConnection, interval_s: float) -> None:
        self.counts.connected += 1
        sent: dict[int, float] = {}
        sending = asyncio.create_task(self._send_beats(socket, interval_s, sent))
        try:
            async for frame in socket:
                if '"heartbeat_ack"' in frame[:40]:
                    self.counts.answered += 1
                    at = sent.pop(json.loads(frame)["seq"], None)
                    if at is not None and len(self.counts.answers_ms) < ANSWERS_KEPT:
                        self.counts.answers_ms.append((time.monotonic() - at) * 1000)
        finally:
            self.counts.connected -= 1
            sending.cancel()

    async def _send_beats(self, socket: ClientConnection, interval_s: float, sent: dict[int, float]) -> None:
        before, after = self._frame_around_seq()
        await asyncio.sleep(random.uniform(0, interval_s))
        seq = 0
        while True:
            seq += 1
            sent[seq] = time.monotonic()
            self.counts.beats += 1
            await socket.send(f"{before}{seq}{after}")
            await asyncio.sleep(interval_s)

    def _frame_around_seq(self) -> tuple[str, str]:
        """The heartbeat as an agent writes it, made once: thousands share this process's one core."""
        device = DeviceHealth(
            uuid=f"SWARM-{self.number:06}", utilisation_percent=0.0, memory_used_mb=310, temperature_c=36.5,
            power_w=28.0, ecc_errors=0,
        )  # fmt: skip
        health = NodeHealth(load_1m=0.1, memory_used_mb=2048, disk_free_mb=900_000, devices=[device])
        text = Heartbeat(seq=987_654_321, health=health).model_dump_json()
        before, _, after = text.partition("987654321")
        return before, after


def members_of(nodes: Path, counts: Counts) -> Iterator[Member]:
    """The swarm that `enrol` wrote."""
    for number, each in enumerate(json.loads(nodes.read_text())):
        yield Member(
            number,
            each["node_id"],
            Ed25519PrivateKey.from_private_bytes(base64.b64decode(each["key"])),
            counts,
        )


async def run(url: str, nodes: Path) -> None:
    """Connect everybody and say each second how it stands, until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    counts, door = Counts(), asyncio.Semaphore(HANDSHAKES_AT_ONCE)
    tasks = [asyncio.create_task(member.run(url, door)) for member in members_of(nodes, counts)]
    while not stop.is_set():
        print(counts.line(), flush=True)
        try:
            await asyncio.wait_for(stop.wait(), 1.0)
        except TimeoutError:
            continue
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", required=True)
    parser.add_argument("--nodes", type=Path, required=True)
    arguments = parser.parse_args()
    uvloop.run(run(arguments.url, arguments.nodes))


if __name__ == "__main__":
    main()
