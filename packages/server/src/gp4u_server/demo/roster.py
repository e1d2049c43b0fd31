"""Who is who in the demo: four accounts to sign in with, two more owners, six simulated nodes."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from gp4u_server.accounts.types import Role

PASSWORD = "demo-gp4u"  # noqa: S105 - everybody may know it: it exists on loopback addresses only
WALLET_MICROS = 500_000_000
WALLET_LOW_MICROS = 100_000_000


@dataclass(frozen=True)
class DemoAccount:
    email: str
    name: str
    roles: frozenset[Role]
    has_wallet: bool = False


@dataclass(frozen=True)
class DemoNode:
    """One simulated node. Its price is what marketplaces asked for such a card in spring 2026, per GPU and hour."""

    name: str
    owner: str
    region: str
    price_micros: int
    floor_micros: int | None = None
    hardware_of: str | None = None
    """Another node whose GPUs it copies."""

    @property
    def spec(self) -> Path:
        """Its invented GPUs, for `gp4u agent run --simulate`."""
        return Path(__file__).parent / "nodes" / f"{self.hardware_of or self.name}.yaml"

    @property
    def gpu_model(self) -> str:
        """Catalogue name of its GPUs."""
        return str(self._devices()[0]["model"])

    @property
    def gpus(self) -> int:
        """How many."""
        return sum(int(device.get("count", 1)) for device in self._devices())

    def _devices(self) -> list[dict[str, Any]]:
        devices: list[dict[str, Any]] = yaml.safe_load(self.spec.read_text())["devices"]
        return devices


ACCOUNTS = (
    DemoAccount("renter@gp4u.demo", "Rena Demo", frozenset({Role.RENTER}), has_wallet=True),
    DemoAccount("owner@gp4u.demo", "Aurora Compute", frozenset({Role.RENTER, Role.OWNER})),
    DemoAccount("operator@gp4u.demo", "Mesa Cloud", frozenset({Role.RENTER, Role.OWNER, Role.OPERATOR})),
    DemoAccount("admin@gp4u.demo", "Ada Demo", frozenset({Role.RENTER, Role.ADMIN}), has_wallet=True),
    DemoAccount("rhine@gp4u.demo", "Rhine Labs", frozenset({Role.RENTER, Role.OWNER})),
    DemoAccount("lotus@gp4u.demo", "Lotus Render", frozenset({Role.RENTER, Role.OWNER})),
)

NODES = (
    DemoNode("aurora-1", "owner@gp4u.demo", "eu-north", 390_000, 290_000),
    DemoNode("aurora-2", "owner@gp4u.demo", "eu-north", 420_000, 310_000),
    DemoNode("rhine-1", "rhine@gp4u.demo", "eu-central", 780_000, 560_000),
    DemoNode("mesa-1", "operator@gp4u.demo", "us-west", 2_490_000, 1_890_000),
    DemoNode("mesa-2", "operator@gp4u.demo", "us-west", 890_000, 640_000),
    DemoNode("lotus-1", "lotus@gp4u.demo", "ap-southeast", 190_000, 140_000),
)


def nodes(count: int) -> list[DemoNode]:
    """The first `count` nodes: the named six, then copies of them in turn (aurora-1-2, aurora-2-2, …, aurora-1-3, …)."""
    return [
        node if turn == 0 else replace(node, name=f"{node.name}-{turn + 1}", hardware_of=node.name)
        for turn, node in ((number // len(NODES), NODES[number % len(NODES)]) for number in range(count))
    ]
