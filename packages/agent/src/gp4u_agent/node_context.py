"""What every placement of an agent is given."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from gp4u_protocol.messages import LogChunk, Report
from gp4u_protocol.transparent import TransparentFacts

from gp4u_agent.http import AgentHttp
from gp4u_agent.standby.keeper import StandbyKeeper


@dataclass(frozen=True)
class NodeContext:
    """What all placements of an agent share."""

    http: AgentHttp
    placements_dir: Path
    cache_dir: Path
    inside_dir: Path
    runtime: str
    send: Callable[[Report | LogChunk], None]
    deadline: Callable[[str, int], float | None]
    changed: Callable[[], None]
    standbys: StandbyKeeper
    sign: Callable[[bytes], str] = lambda content: ""
    """Base64 of this node's signature."""
    transparent: TransparentFacts = field(default_factory=TransparentFacts)
