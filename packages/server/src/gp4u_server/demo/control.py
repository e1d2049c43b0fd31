"""Talking to the demo fleet: one JSON line there, one JSON line back, over a Unix socket of the data folder."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gp4u_server.kit.errors import DomainError, Kind, NotFound

PATIENCE_S = 20.0
LINE_BYTES_MAX = 1 << 20


class FleetSilent(DomainError):
    """The demo fleet does not answer."""

    code = "demo_fleet_silent"
    kind = Kind.UNAVAILABLE


class BadLink(DomainError):
    """A link mode that does not exist."""

    code = "bad_link_mode"


class BadFault(DomainError):
    """A kind of fault that does not exist."""

    code = "bad_fault"


@dataclass(frozen=True)
class FleetControl:
    """Asks the fleet behind `socket`."""

    socket: Path

    async def ask(self, do: str, **arguments: Any) -> Any:
        """The fleet's answer. Raises NotFound, BadLink, BadFault or FleetSilent."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                reader, writer = await asyncio.open_unix_connection(str(self.socket), limit=LINE_BYTES_MAX)
                try:
                    writer.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
                    answer = json.loads(await reader.readline())
                finally:
                    writer.close()
        except (OSError, ValueError, TimeoutError) as error:
            raise FleetSilent("The demo fleet does not answer; it may be starting. Try again.") from error
        if "result" in answer:
            return answer["result"]
        refusal = {"not_found": NotFound, "bad_link_mode": BadLink, "bad_fault": BadFault}.get(
            answer["code"], FleetSilent
        )
        raise refusal(answer["detail"])
