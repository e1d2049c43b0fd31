"""The shim's one loop: the lease's deadline, the job's output, its limits, and the agent's word.

The agent speaks JSON lines over the unix socket in the placement's folder, one answer a line:

    {"op": "start", "deadline": 123.4}     start the job under this deadline (seconds of CLOCK_BOOTTIME)
    {"op": "renew", "deadline": 125.4}     the lease is proven further; thaws a frozen job
    {"op": "terminate"}                    SIGTERM to the job: please finish
    {"op": "dump", "number": 1, "into": p} write the whole job into this folder (see `dumps`)
    {"op": "signal", "name": "SIGUSR1"}    to each process of the job that handles it (one that does not would die of it)
    {"op": "kill", "reason": "..."}        end it
    {"op": "status"}                       tell

Every answer is the whole status. Each change of state is also told unasked. The deadline itself is decided by
`gp4u_protocol.lease_core.shim_step`, the same code that the simulation runs. When the job has ended, exit.json says how, and the
shim goes.
"""

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from gp4u_protocol.lease_core import (
    Effect,
    JobExited,
    Kill,
    Renew,
    ShimEvent,
    ShimState,
    Tick,
    shim_begin,
    shim_step,
)

from gp4u_agent.placement_dir import PlacementDir, boot_id
from gp4u_agent.runtime import processes
from gp4u_agent.runtime.bundle.adapter import Bundle
from gp4u_agent.runtime.containers.adapter import Containers
from gp4u_agent.runtime.gvisor.adapter import Gvisor
from gp4u_agent.runtime.port import Dumping, Exit, Runtime, StartRefused, Usage, Workload
from gp4u_agent.runtime.process import PlainProcesses
from gp4u_agent.runtime.sandbox import Sandbox
from gp4u_agent.shim.disk import DiskUse
from gp4u_agent.shim.dumps import Dumps
from gp4u_agent.shim.output import OutputLog

FREEZE_RETRY_S = 0.005
WATCH_INTERVAL_S = 0.5
POLL_INTERVAL_S = 0.2
DUMP_LOOK_S = 0.02
"""The job stands meanwhile, and goes on when its end is seen."""
UNSTARTED_MAX_S = 120.0
"""A shim that is never told to start goes away by itself: its agent died in between."""
EXIT_ROOM_BYTES = 16 << 10
"""Kept free for exit.json: a job that fills the disk must not hide its own end."""
EXIT_UNWRITTEN_MAX_S = 3600.0
CLIENT_LINE_BYTES_MAX = 64 << 10
READ_BYTES = 64 << 10
RUNTIMES: dict[str, type[Sandbox] | type[PlainProcesses] | type[Containers] | type[Bundle] | type[Gvisor]] = {
    "sandbox": Sandbox,
    "bundle": Bundle,
    "gvisor": Gvisor,
    "process": PlainProcesses,
    "containers": Containers,
}


def now() -> float:
    """Seconds since boot, counting suspend: the only clock of leases on a node."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Shim:
    """State of one shim. `run` returns when there is nothing left to mind."""

    def __init__(
        self,
        folder: PlacementDir,
        order: dict[str, Any],
        listener: socket.socket,
        *,
        lifeline: int | None,
    ) -> None:
        self._folder = folder
        self._workload = Workload.from_json(order["workload"])
        self._runtime: Runtime = RUNTIMES[order["runtime"]](use_cgroups=order.get("cgroups", True))
        self._restore = Path(order["restore"]) if order.get("restore") else None
        self._dumps = Dumps(self._runtime)
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._clients: dict[socket.socket, bytes] = {}
        self._log = OutputLog(folder.log)
        self._output_fd = -1
        self._disk = DiskUse([self._workload.job_dir, self._workload.control_dir])
        self._lease: ShimState | None = None
        self._freezing = False
        self._frozen = False
        self._kill_reason: str | None = None
        self._terminated = False
        self._exit: dict[str, Any] | None = None
        self._born_at = now()
        self._started_at: float | None = None
        self._usage = Usage(0.0, 0, 0)
        self._cpu_percent = 0.0
        self._watched_at = 0.0
        self._lifeline = lifeline
        self._room = folder.path / "exit.room"
        self._room.write_bytes(bytes(EXIT_ROOM_BYTES))
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        if lifeline is not None:
            self._selector.register(lifeline, selectors.EVENT_READ, self._lifeline_closed)

    def run(self) -> None:
        """Mind the job until it has ended."""
        while self._exit is None:
            self._turn(self._wait_s())
            if self._lease is not None:
                self._advance(Tick())
                self._watch()
                if self._dumps.step():
                    self._tell_all()
                self._notice_exit()
            elif now() - self._born_at > UNSTARTED_MAX_S:
                return
        self._say_last()

    def _turn(self, wait_s: float) -> None:
        for key, _ in self._selector.select(wait_s):
            key.data(key.fileobj)

    # --- timers -----------------------------------------------------------------------------------------

    def _wait_s(self) -> float:
        if self._lease is None:
            return 1.0
        if self._freezing:
            return FREEZE_RETRY_S
        if self._dumps.under_way:
            return DUMP_LOOK_S
        wake_at = self._lease.wake_at
        return POLL_INTERVAL_S if wake_at is None else max(0.0, min(POLL_INTERVAL_S, wake_at - now()))

    def _advance(self, event: ShimEvent) -> None:
        assert self._lease is not None
        self._lease, effects = shim_step(self._lease, event, now())
        self._carry_out(effects)
        if self._freezing:
            self._frozen = self._runtime.freeze()
            if self._frozen:
                self._freezing = False
                self._tell_all()

    def _carry_out(self, effects: tuple[Effect, ...]) -> None:
        for effect in effects:
            if effect is Effect.FREEZE:
                self._freezing = True
            elif effect is Effect.THAW:
                self._freezing = self._frozen = False
                self._runtime.thaw()
                self._tell_all()
            else:
                self._kill_reason = self._kill_reason or "abandoned"
                self._freezing = False
                self._runtime.kill()

    def _watch(self) -> None:
        """Limits that no kernel mechanism holds for us, a little work at a time."""
        disk_measured = self._disk.step()
        limits = self._workload.limits
        if disk_measured and self._disk.bytes_used > limits.disk_bytes:
            self._kill("disk_full")
        if (elapsed := now() - self._watched_at) < WATCH_INTERVAL_S:
            return
        before = self._usage
        self._usage = self._runtime.usage()
        self._cpu_percent = max(0.0, (self._usage.cpu_seconds - before.cpu_seconds) / elapsed * 100)
        self._watched_at = now()
        if self._usage.memory_bytes > limits.memory_bytes and not self._memory_bound_by_kernel():
            self._kill("out_of_memory")
        if self._usage.processes > limits.pids_max:
            self._kill("too_many_processes")

    def _memory_bound_by_kernel(self) -> bool:
        return "cgroup.memory" in self._runtime.applied()

    # --- the job ----------------------------------------------------------------------------------------

    def _start(self, deadline: float) -> None:
        if self._lease is not None or now() >= deadline:
            return  # already started; or the lease is over before it began, and the agent will claim again
        read_end, write_end = os.pipe()
        os.set_blocking(read_end, False)
        try:
            self._bring_up(write_end)
        except (StartRefused, OSError, subprocess.SubprocessError) as error:
            os.close(write_end)
            said = b""
            with contextlib.suppress(BlockingIOError):
                said = os.read(read_end, 2048)
            os.close(read_end)
            detail = f"{error}: {said.decode('utf-8', 'replace').strip()}" if said else str(error)
            self._runtime.clean_up()
            self._end({"code": None, "signal": None, "reason": "start_failed", "detail": detail})
            return
        os.close(write_end)
        self._output_fd = read_end
        self._selector.register(read_end, selectors.EVENT_READ, self._read_output)
        exit_fd = self._runtime.exit_fd()
        if exit_fd is not None:
            self._selector.register(exit_fd, selectors.EVENT_READ, self._exit_hinted)
        self._started_at = self._watched_at = now()
        self._lease, effects = shim_begin(deadline, now())
        self._carry_out(effects)
        if self._restore is not None and Effect.FREEZE not in effects:
            self._runtime.thaw()

    def _bring_up(self, output: int) -> None:
        """Start the job; or restore it, which leaves it frozen: that takes long enough for its lease to run out meanwhile."""
        if self._restore is None:
            self._runtime.start(self._workload, output)
        elif isinstance(self._runtime, Dumping):
            self._runtime.restore(self._workload, self._restore, output)
        else:
            raise StartRefused("this runtime restores no whole jobs")

    def _kill(self, reason: str) -> None:
        if self._exit is None and self._lease is not None:
            self._kill_reason = self._kill_reason or reason
            self._advance(Kill())

    def _exit_hinted(self, fd: int) -> None:
        """Readable means: it ended, or is about to. Looked at by `_notice_exit`, no more wake-ups from here."""
        self._selector.unregister(fd)

    def _notice_exit(self) -> None:
        ended = self._runtime.poll()
        if ended is None:
            return
        self._advance(JobExited())
        out_of_memory = self._runtime.usage().out_of_memory_kills > 0
        self._runtime.kill()  # what the main process left behind
        self._drain_output()
        self._runtime.clean_up()
        self._end(
            {
                "code": ended.code,
                "signal": ended.signal,
                "reason": self._kill_reason or _reason_of(ended, out_of_memory),
                "detail": None,
            }
        )

    def _read_output(self, fd: int) -> None:
        with contextlib.suppress(BlockingIOError):
            piece = os.read(fd, READ_BYTES)
            if piece:
                self._log.append(piece)
            else:
                self._selector.unregister(fd)

    def _drain_output(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while piece := os.read(self._output_fd, READ_BYTES):
                self._log.append(piece)
        self._log.close()

    def _end(self, how: dict[str, Any]) -> None:
        self._exit = {
            **how,
            "at": now(),
            "boot_id": boot_id(),
            "terminated": self._terminated,
            "log_end": self._log.end,
            "dropped_bytes": self._log.dropped_bytes,
            "applied": self._runtime.applied(),
        }
        self._leave_exit()

    def _leave_exit(self) -> None:
        """Write down how it ended. On a full disk: into the room that was kept for it; else wait for an agent to tell it to."""
        assert self._exit is not None
        self._room.unlink(missing_ok=True)
        give_up_at = now() + EXIT_UNWRITTEN_MAX_S
        while True:
            try:
                self._folder.write(self._folder.exit, self._exit)
                return
            except FileNotFoundError:
                return  # the agent forgot this placement, folder and all
            except OSError:
                self._tell_all()
                if self._clients or now() >= give_up_at:
                    return  # the agent heard it
            self._turn(1.0)

    # --- the agent --------------------------------------------------------------------------------------

    def _accept(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except OSError:  # it hung up before we looked; or there are too many of them
            return
        client.setblocking(False)
        self._clients[client] = b""
        self._selector.register(client, selectors.EVENT_READ, self._hear)

    def _hear(self, client: socket.socket) -> None:
        try:
            piece = client.recv(READ_BYTES)
        except OSError:
            piece = b""
        buffer = self._clients[client] + piece
        if not piece or len(buffer) > CLIENT_LINE_BYTES_MAX:
            self._forget(client)
            return
        *lines, self._clients[client] = buffer.split(b"\n")
        for line in lines:
            try:
                self._obey(json.loads(line))
            except (ValueError, KeyError, TypeError):
                self._forget(client)  # not a word of ours, and no reason to end the job
                return
            self._tell(client)

    def _obey(self, order: dict[str, Any]) -> None:
        operation = order["op"]
        if operation == "start":
            self._start(float(order["deadline"]))
        elif operation == "renew" and self._lease is not None:
            self._advance(Renew(float(order["deadline"])))
        elif operation == "dump" and self._lease is not None and not self._freezing and not self._frozen:
            self._dumps.begin(int(order["number"]), Path(order["into"]))
        elif operation == "terminate":
            self._terminated = True
            self._runtime.terminate()
        elif operation == "signal":
            number = signal.Signals[order["name"]]
            processes.send([pid for pid in self._runtime.pids() if processes.handles(pid, number)], number)
        elif operation == "kill":
            if self._lease is None and self._exit is None:
                self._end({"code": None, "signal": None, "reason": order["reason"], "detail": None})
            self._kill(order["reason"])

    def _lifeline_closed(self, fd: int) -> None:
        """Who started the whole machine is gone: so are we, and the job with us."""
        if os.read(fd, 1):
            return
        self._runtime.kill()
        self._runtime.clean_up()
        os._exit(1)

    def _status(self) -> dict[str, Any]:
        return {
            "phase": "ended" if self._exit else "ready" if self._lease is None else "running",
            "frozen": self._frozen,
            "deadline": self._lease.deadline if self._lease else None,
            "started_at": self._started_at,
            "cpu_percent": round(self._cpu_percent, 1),
            "memory_bytes": self._usage.memory_bytes,
            "disk_bytes": self._disk.bytes_used,
            "processes": self._usage.processes,
            "log_end": self._log.end,
            "dropped_bytes": self._log.dropped_bytes,
            "applied": self._runtime.applied(),
            "dump": self._dumps.status(),
            "exit": self._exit,
        }

    def _tell(self, client: socket.socket) -> None:
        try:
            line = json.dumps(self._status()).encode() + b"\n"
            if client.send(line) == len(line):
                return
        except OSError:
            pass
        self._forget(client)  # it does not read; it will connect again and ask

    def _tell_all(self) -> None:
        for client in list(self._clients):
            self._tell(client)

    def _forget(self, client: socket.socket) -> None:
        if self._clients.pop(client, None) is not None:
            self._selector.unregister(client)
            client.close()

    def _say_last(self) -> None:
        self._tell_all()
        for client in list(self._clients):
            self._forget(client)


def _reason_of(ended: Exit, out_of_memory: bool) -> str | None:
    """Why the job ended, where its own exit code does not say it."""
    if ended.code == 0:
        return None
    if ended.signal == signal.SIGXFSZ:
        return "disk_full"
    return "out_of_memory" if out_of_memory else None
