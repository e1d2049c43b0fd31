"""A controller process: production's `AuthorityWatch` and `Departures`; the loops of placing, limits, metering and collection."""

from datetime import datetime

from gp4u_server.catalyst.health.authority import AuthorityWatch
from gp4u_server.catalyst.health.lease_table import Change
from gp4u_server.catalyst.health.takeover import Departures

from gp4u_simulation.database import Database
from gp4u_simulation.world import Clock, Process, World

PLACE_S = 0.5
LOOK_S = 1.0
COLLECT_S = 3.0


class Controller(Process):
    """See module."""

    def __init__(self, world: World, name: str, database: Database) -> None:
        super().__init__(world)
        self.name = name
        self.database = database
        self.clock = Clock(world)
        database.work_listeners.append(self._woken)
        self._begin()

    def _begin(self) -> None:
        self.watch = AuthorityWatch()
        self.departures = Departures()
        self.soon(PLACE_S * self.world.chance(), self._place_loop)
        self.soon(LOOK_S * self.world.chance(), self._look_loop)
        self.soon(COLLECT_S * self.world.chance(), self._collect_loop)

    def restart(self, down_s: float) -> None:
        """kill -9, and the supervisor starts it again."""
        if self.alive:
            self.world.note("%s dies", self.name)
            self.kill()
            self.world.after(down_s, self._up)

    def _up(self) -> None:
        self.world.counts["controller_restarts"] += 1
        self.revive()
        self._begin()

    # --- placing -----------------------------------------------------------------------------------------

    def _woken(self) -> None:
        if self.alive:
            self.soon(0.01, self._place)

    def _place_loop(self) -> None:
        self.soon(PLACE_S, self._place_loop)
        self._place()

    def _place(self) -> None:
        for job_id, epoch in self.database.due_jobs():
            self.database.transact(self, self.database.place, None, None, job_id, epoch)

    # --- once a second -----------------------------------------------------------------------------------

    def _look_loop(self) -> None:
        self.soon(LOOK_S, self._look_loop)
        database = self.database
        database.transact(self, database.enforce_limits, None, None)
        if database.money.due(database.now()):
            database.transact(self, database.meter, None, None)
        began = self.clock.read()

        def read(found: tuple[dict[str, datetime], dict[str, float]]) -> None:
            rows, ttls_s = found
            for gateway_id, seen in self.watch.observe(rows, began, self.clock.read(), ttls_s).items():
                database.transact(self, database.take_over, None, None, gateway_id, seen)
            still = self.departures.standing_still(rows, began)
            ended = database.ended_gateways()
            losses = {key: database.losses_of(key) for key in (*ended, *sorted(still))}
            left = {key: len(found) for key, found in losses.items()}
            verdict = self.departures.observe(left, ended, self.clock.read())
            self._losses([loss for key in ended if key in verdict.free for loss in losses[key]])
            self.world.counts["takeover_holds"] += len(verdict.held)

        database.transact(self, database.standing, read, self.watch.missed)

    def _losses(self, losses: list[Change]) -> None:
        for loss in losses:
            self.database.transact(self, self.database.record_change, None, None, loss)

    def _collect_loop(self) -> None:
        self.soon(COLLECT_S, self._collect_loop)
        self.database.transact(self, self.database.collect, None, None, self)
