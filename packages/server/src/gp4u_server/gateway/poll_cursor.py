"""What a gateway's poll has to read. Pure.

Idle nodes cost a poll nothing. It reads three things:

* rows that changed since the last poll, wherever they point: what a lost notification would have said, and which nodes
  have moved to another gateway;
* rows of nodes that are *unsettled*: whose row and whose place in this gateway's memory did not agree when they were last
  compared, or may not any more (a change that was given up, a wanted state that could not be read);
* one slice after the other of all the rest, once around in a minute. Nothing should ever be found there; it is the net
  under the other two.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

SLICES = 30
"""A round takes as many polls: a minute, with one every two seconds."""
SLICE_MIN = 32
"""A small fleet is looked at as a whole each time."""
UNSETTLED_MAX = 500
"""Read at once. The others have their turn in the polls after this one."""


@dataclass
class PollCursor:
    """One for each life of a gateway's authority."""

    since: int | None = None
    """Where the next read of changes begins; None: nothing was read yet, or what was read is worth nothing any more."""
    _unsettled: dict[str, None] = field(default_factory=dict)  # in the order of their turns
    _round: list[str] = field(default_factory=list)
    _alive_after: str = ""

    def begin(self, horizon: int) -> None:
        """A new life begins. No row names it yet, so no change before this one concerns it."""
        self.since = horizon
        self._unsettled.clear()
        self._round.clear()
        self._alive_after = ""

    def look_again(self, node_id: str) -> None:
        """Row and memory of this node may differ: the next poll reads it."""
        self._unsettled[node_id] = None

    def settled(self, node_id: str) -> None:
        """They were compared, and agree."""
        self._unsettled.pop(node_id, None)

    @property
    def unsettled(self) -> int:
        """How many nodes are."""
        return len(self._unsettled)

    def by_id(self, held: Callable[[], Iterable[str]], count: int) -> list[str]:
        """Nodes to read by their ids this time: unsettled ones, and a slice of the `count` that are `held`."""
        chosen = dict.fromkeys(list(self._unsettled)[:UNSETTLED_MAX])
        for node_id in chosen:  # whoever stays unsettled goes to the end
            del self._unsettled[node_id]
            self._unsettled[node_id] = None
        if not self._round:
            self._round = sorted(held(), reverse=True)
        for _ in range(min(slice_size(count), len(self._round))):
            chosen[self._round.pop()] = None
        return list(chosen)

    @property
    def alive_after(self) -> str:
        """Where the slice of the nodes that the database calls ours begins."""
        return self._alive_after

    def alive_read(self, node_ids: Sequence[str], limit: int) -> None:
        """That slice was read. A short one was the last of its round."""
        self._alive_after = max(node_ids) if node_ids and len(node_ids) >= limit else ""

    def changes_read(self, horizon: int) -> None:
        """The changes were read; the next read begins at this one's `horizon`.

        Numbers that run backwards are another database's (it was restored from a copy): what changed in between cannot
        be told from its numbers, so everything that is held must be read.
        """
        self.since = None if self.since is not None and horizon < self.since else horizon


def slice_size(count: int) -> int:
    """How many of `count` nodes make a slice."""
    return max(SLICE_MIN, -(-count // SLICES))
