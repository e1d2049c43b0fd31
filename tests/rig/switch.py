"""The switch between the hosts of the lab: every directed link with a delay, a jitter, a loss and a rate of its own.

The kernel's netem is not everywhere, so packets pass through this program: each host's `eth0` is a TAP device whose other
end is held here. It is a process of its own, so that a slow test never slows a link; it reads one JSON command a line and
answers each with one line. Standard library only.

    python -m tests.rig.switch --seed 1 a=/run/netns/x-a=02:00:00:00:00:01 b=/run/netns/x-b=02:00:00:00:00:02
    {"link": ["a", "b"], "up": false}            a is no longer heard by b
    {"link": ["a", "b"], "delay_s": 0.1, "jitter_s": 0.05, "loss": 0.05, "bytes_per_s": 1000000}
    {"link": ["a", "b"], "flap_s": [2, 1]}       two seconds up, one down, for ever
    {"link": ["a", "b"], "up": false, "port": 8001}   only packets from or to this TCP port
    {"heal": true}                               every link as new
    {"statistics": true}
"""

import argparse
import ctypes
import fcntl
import gc
import heapq
import json
import os
import random
import select
import struct
import sys
import time
from dataclasses import dataclass, field
from typing import Any

QUEUE_BYTES_MAX = 1 << 20
"""What a link with a rate holds before it drops, as a router's buffer does."""
BURST = 64
_CLONE_NEWNET = 0x40000000
_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000
_ETHERTYPE_IPV4, _PROTOCOL_TCP = b"\x08\x00", 6
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Rule:
    """What one direction of a link does to its packets."""

    up: bool = True
    port: int | None = None
    delay_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    bytes_per_s: float = 0.0
    flap_s: tuple[float, float] | None = None
    since: float = 0.0

    def passes(self, frame: bytes, now: float, chance: random.Random) -> bool:
        """Whether this frame comes through at all."""
        if self.port is not None and self.port not in tcp_ports(frame):
            return True
        if self.flap_s is not None:
            up_s, down_s = self.flap_s
            if (now - self.since) % (up_s + down_s) >= up_s:
                return False
        return self.up and not (self.loss and chance.random() < self.loss)


def tcp_ports(frame: bytes) -> tuple[int, ...]:
    """Source and destination port of a TCP segment in IPv4; nothing for other frames."""
    if frame[12:14] != _ETHERTYPE_IPV4 or len(frame) < 38 or frame[23] != _PROTOCOL_TCP:
        return ()
    start = 14 + (frame[14] & 0x0F) * 4
    return struct.unpack_from("!HH", frame, start) if len(frame) >= start + 4 else ()


@dataclass
class Switch:
    """Hands frames from TAP device to TAP device."""

    seed: int
    taps: dict[str, int] = field(default_factory=dict)
    hosts: dict[int, str] = field(default_factory=dict)
    macs: dict[bytes, str] = field(default_factory=dict)
    rules: dict[tuple[str, str], list[Rule]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=lambda: {"passed": 0, "dropped": 0})

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._waiting: list[tuple[float, int, str, bytes]] = []
        self._number = 0
        self._free_at: dict[tuple[str, str], float] = {}

    def attach(self, host: str, namespace: str, mac: str) -> None:
        """Make `eth0` in a host's network namespace and keep its other end."""
        own = os.open("/proc/self/ns/net", os.O_RDONLY)
        theirs = os.open(namespace, os.O_RDONLY)
        try:
            enter_namespace(theirs)
            tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH14x", b"eth0", _IFF_TAP | _IFF_NO_PI))
        finally:
            enter_namespace(own)
            os.close(own)
            os.close(theirs)
        self.taps[host], self.hosts[tap] = tap, host
        self.macs[bytes.fromhex(mac.replace(":", ""))] = host

    def obey(self, command: dict[str, Any], now: float) -> dict[str, Any]:
        """Carry out one command."""
        if "link" in command:
            source, target = command.pop("link")
            if not {source, target} <= self.taps.keys():
                raise ValueError(f"there is no link {source} → {target}")
            flap = command.pop("flap_s", None)
            rule = Rule(**command, flap_s=tuple(flap) if flap else None, since=now)  # type: ignore[arg-type]
            kept = [old for old in self.rules.get((source, target), []) if old.port != rule.port]
            self.rules[source, target] = [*kept, rule]
        elif "heal" in command:
            self.rules.clear()
            self._free_at.clear()
        return dict(self.counts)

    def run(self, commands: int, answers: int) -> None:
        """Until the commands end."""
        epoll = select.epoll()
        epoll.register(commands, select.EPOLLIN)
        for tap in self.taps.values():
            epoll.register(tap, select.EPOLLIN)
        unread = b""
        while True:
            now = time.monotonic()
            while self._waiting and self._waiting[0][0] <= now:
                _, _, target, frame = heapq.heappop(self._waiting)
                self._deliver(target, frame)
            patience_s = max(0.0, self._waiting[0][0] - time.monotonic()) if self._waiting else -1
            for descriptor, _ in epoll.poll(patience_s):
                if descriptor != commands:
                    self._take_in(descriptor)
                    continue
                piece = os.read(commands, 65_536)
                if not piece:
                    return
                *lines, unread = (unread + piece).split(b"\n")
                for line in lines:
                    try:
                        answer = self.obey(json.loads(line), time.monotonic())
                    except (TypeError, ValueError) as error:
                        answer = {"error": str(error)}
                    os.write(answers, json.dumps(answer).encode() + b"\n")

    def _take_in(self, tap: int) -> None:
        source = self.hosts[tap]
        for _ in range(BURST):
            try:
                frame = os.read(tap, 65_536)
            except (BlockingIOError, OSError):
                return
            target = self.macs.get(frame[:6])
            # Addresses of neighbours are set by hand in the hosts, so nothing needs a broadcast.
            if target is not None and target != source:
                self._forward(source, target, frame, time.monotonic())

    def _forward(self, source: str, target: str, frame: bytes, now: float) -> None:
        due = now
        for rule in self.rules.get((source, target), ()):
            if not rule.passes(frame, now, self._chance):
                self.counts["dropped"] += 1
                return
            if rule.bytes_per_s:
                start = max(now, self._free_at.get((source, target), 0.0))
                if (start - now) * rule.bytes_per_s > QUEUE_BYTES_MAX:
                    self.counts["dropped"] += 1
                    return
                due = start + len(frame) / rule.bytes_per_s
                self._free_at[source, target] = due
            due += rule.delay_s
            if rule.jitter_s:
                due += self._chance.uniform(0.0, rule.jitter_s)
        if due <= now:
            self._deliver(target, frame)
        else:
            self._number += 1
            heapq.heappush(self._waiting, (due, self._number, target, frame))

    def _deliver(self, target: str, frame: bytes) -> None:
        try:
            os.write(self.taps[target], frame)
            self.counts["passed"] += 1
        except (BlockingIOError, OSError):
            self.counts["dropped"] += 1


def enter_namespace(descriptor: int) -> None:
    """Move the calling thread into a network namespace."""
    if _LIBC.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.rig.switch")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("hosts", nargs="+", metavar="HOST=NAMESPACE=MAC")
    arguments = parser.parse_args()
    switch = Switch(arguments.seed)
    for entry in arguments.hosts:
        switch.attach(*entry.split("="))
    gc.disable()  # nothing here makes cycles
    os.write(sys.stdout.fileno(), b'{"ready": true}\n')
    switch.run(sys.stdin.fileno(), sys.stdout.fileno())


if __name__ == "__main__":
    main()
