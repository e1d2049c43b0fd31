"""Dumps of the whole job as the shim takes them: one at a time, never waiting in its loop."""

from pathlib import Path
from typing import Any

from gp4u_agent.runtime.port import Dumping, DumpResult, Runtime


class Dumps:
    """The dump under way, and what came of the last one."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime if isinstance(runtime, Dumping) else None
        self._number = 0
        self._under_way = False
        self._result: DumpResult | None = None

    @property
    def under_way(self) -> bool:
        """Whether the job stands for a dump now."""
        return self._under_way

    def begin(self, number: int, into: Path) -> None:
        """Begin dump `number`, which the agent chose. An order that was heard already, or comes during another, changes nothing."""
        if self._under_way or number == self._number:
            return
        self._number, self._result = number, None
        if self._runtime is None:
            self._result = DumpResult("this runtime cannot dump")
            return
        try:
            self._runtime.begin_dump(into)
        except OSError as error:
            self._result = DumpResult(str(error))
        else:
            self._under_way = True

    def step(self) -> bool:
        """Look at it; True: it has just been done."""
        if not self._under_way or self._runtime is None:
            return False
        self._result = self._runtime.poll_dump()
        self._under_way = self._result is None
        return not self._under_way

    def status(self) -> dict[str, Any] | None:
        """For the agent: the last one's number and, once it is done, what came of it."""
        if not self._number:
            return None
        said: dict[str, Any] = {"number": self._number, "done": self._result is not None}
        if self._result is not None:
            said |= {"why_not": self._result.why_not, "stood_s": round(self._result.stood_s, 3)}
        return said
