"""A shim and its job on a node: production's `shim_step` decides, this carries out."""

from collections.abc import Callable

from gp4u_protocol import lease_core
from gp4u_protocol.lease_core import Effect, JobExited, Kill, LeaseId, Renew, ShimEvent, Tick

from gp4u_simulation.referee import WAKE_EXCUSE_S, Referee
from gp4u_simulation.world import Clock, World

TIMER_LATE_S_MAX = 0.1
"""Of the quarter second that the protocol allows for a shim's timer and the freeze."""


class Shim:
    """Lives beside its agent; knows a deadline and nothing else."""

    def __init__(
        self,
        world: World,
        referee: Referee,
        clock: Clock,
        run: str,
        lease: LeaseId,
        *,
        work: float,
        work_s: float,
        deadline: float,
        told: Callable[[], None],
    ) -> None:
        self.world = world
        self.referee = referee
        self.clock = clock
        self.run = run
        self.lease = lease
        self.work = work
        self.work_s = work_s
        self.finished = False
        self.gone = False  # killed, exited, or lost with its machine
        self._told = told
        self._over_at: float | None = (
            None  # as exit.json says it; a machine or a shim that is lost writes none
        )
        self._resumed_at: float | None = None
        self._asleep = False
        self._timer_at = float("inf")
        referee.resumed(lease.placement_id, work)
        self.state, effects = lease_core.shim_begin(deadline, clock.read())
        if Effect.FREEZE not in effects:
            self._run_on()
        self._arm()

    @property
    def frozen(self) -> bool:
        """Whether the job stands still because its lease is not proven."""
        return self.state.frozen_since is not None

    def done_work(self) -> float:
        """Work so far."""
        if self._resumed_at is None:
            return self.work
        return self.work + self.world.now - self._resumed_at

    def over_s(self) -> float:
        """For how long its process is over, by the machine's clock; 0 where nothing says."""
        return 0.0 if self._over_at is None else self.clock.read() - self._over_at

    # --- the agent's word --------------------------------------------------------------------------------

    def renew(self, deadline: float) -> None:
        """The lease is proven further."""
        self._advance(Renew(deadline))

    def kill(self) -> None:
        """End the job."""
        self._advance(Kill())

    # --- the machine -------------------------------------------------------------------------------------

    def sleep(self) -> None:
        """The whole machine is paused: nothing runs, and no timer fires."""
        self._asleep = True
        self._stand_still()

    def wake(self) -> None:
        """The machine goes on where it was. A job whose deadline passed meanwhile runs until the timer fires."""
        self._asleep = False
        if self.gone or self.frozen:
            return
        self._run_on(excused=self.clock.read() >= self.state.deadline)
        self._timer_at = self.world.now + TIMER_LATE_S_MAX * self.world.chance()
        self.world.at(self._timer_at, self._timer, self._timer_at)

    def lose(self) -> None:
        """The machine, or the shim, is gone, and the job with it."""
        self._stand_still()
        self.gone = True
        self.referee.process_over(self.lease.placement_id)

    # --- inside ------------------------------------------------------------------------------------------

    def _advance(self, event: ShimEvent) -> None:
        if self.gone or self._asleep:
            return
        self.state, effects = lease_core.shim_step(self.state, event, self.clock.read())
        for effect in effects:
            self.world.counts[effect] += 1
            self.world.note("%s: %s", self.run, effect)
            if effect is Effect.THAW:
                self._run_on()
            else:
                self._stand_still()
                if effect is Effect.KILL_JOB:
                    self.gone = True
                    self._over_at = self.clock.read()
                    self.referee.process_over(self.lease.placement_id)
                    self._told()
        self._arm()

    def _arm(self) -> None:
        """The shim's own timer; it needs no agent."""
        wake_at = self.state.wake_at
        if wake_at is None or self.frozen or self.gone:
            return
        true = self.clock.true_time(wake_at)
        if self._timer_at <= self.world.now or true < self._timer_at:
            self._timer_at = max(true, self.world.now) + TIMER_LATE_S_MAX * self.world.chance()
            self.world.at(self._timer_at, self._timer, self._timer_at)

    def _timer(self, armed: float) -> None:
        if self._timer_at == armed and not self._asleep:
            self._timer_at = float("inf")
            self._advance(Tick())

    def _run_on(self, *, excused: bool = False) -> None:
        if self.finished:
            return
        self._resumed_at = self.world.now
        self.world.note("%s: runs", self.run)
        self.referee.run_begins(self.lease.placement_id, self.run, excused=excused)
        if excused:
            self.world.after(WAKE_EXCUSE_S, self.referee.excuse_ends, self.lease.placement_id, self.run)
        self.world.after(max(0.0, self.work_s - self.work), self._finish, self._resumed_at)

    def _stand_still(self) -> None:
        if self._resumed_at is not None:
            self.work += self.world.now - self._resumed_at
            self._resumed_at = None
            self.referee.run_stops(self.lease.placement_id, self.run)

    def _finish(self, resumed_at: float) -> None:
        if self._resumed_at != resumed_at or self.gone:
            return
        self._stand_still()
        self.finished = self.gone = True
        self._over_at = self.clock.read()
        self.referee.process_over(self.lease.placement_id)
        book = self.referee.placements[self.lease.placement_id]
        self.referee.jobs[book.job_id].finished = True
        self.state, _ = lease_core.shim_step(self.state, JobExited(), self.clock.read())
        self.world.note("%s: the job has finished", self.run)
        self._told()
