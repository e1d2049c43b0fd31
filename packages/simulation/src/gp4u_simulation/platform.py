"""All of it together: gateways, controllers, api, database, store, nodes."""

from gp4u_simulation.agent import Node
from gp4u_simulation.controller import Controller
from gp4u_simulation.database import Database
from gp4u_simulation.gateway import Gateway
from gp4u_simulation.referee import Referee
from gp4u_simulation.rows import NodeRow
from gp4u_simulation.world import Process, World


class Platform:
    """One marketplace."""

    def __init__(
        self, world: World, *, nodes: int, gateways: int, controllers: int, wild_ttls: bool = False
    ) -> None:
        self.world = world
        self.referee = Referee(world)
        self.database = Database(world, self.referee)
        self.store_down_until = 0.0
        self.packs_made = 0
        self.outage_s = 0.0  # how long, at most, something of ours was away or its wall clock wrong
        for number in range(nodes):
            self.database.nodes[f"node{number}"] = NodeRow(f"node{number}")
        self.api = Process(world)
        self.gateways = [
            Gateway(world, f"gw{number}", self.database, wild_ttls=wild_ttls) for number in range(gateways)
        ]
        self.controllers = [Controller(world, f"ctl{number}", self.database) for number in range(controllers)]
        self.nodes = [Node(world, node_id, self) for node_id in self.database.nodes]
