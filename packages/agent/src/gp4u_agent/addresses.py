"""Which of the marketplace's addresses is tried next, when, and for how long. Pure: no clock, no network, no files.

A node knows several gateways and several api addresses: those that a person named, and those that the marketplace told
(at joining, and in every `Welcome`). Three rules, in this order:

* What failed lately goes behind everything that did not, and of those that failed, the one whose failure lies longest ago
  is the first. So a dead gateway is never returned to while another may live, and with all of them dead each has its turn.
* Among the others every node has an order of its own, drawn once: a thousand nodes spread over three gateways, and those
  of a dead one spread over the two that are left.
* The first round over addresses that did not fail costs next to no pause and little patience, because the lease runs
  (5 s from the last answered beat). After that pauses double, with full jitter: nobody storms a marketplace that is down.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

ADDRESSES_MAX = 16
URL_CHARACTERS_MAX = 500
PAUSE_FIRST_S = 0.1
PAUSE_MAX_S = 2.0
"""A restarted gateway must be found again well within the lease's 5 s, so the pauses stay short."""
OPEN_S = 3.0
"""Patience with a connection that is being opened, when there is nothing better to do."""
OPEN_HURRIED_S = 1.0
"""And while another address is there that did not fail: one that swallows packets may not eat up the lease."""
DEAD_S = 20.0
"""So long an address that failed stands behind the others."""


@dataclass(frozen=True)
class Attempt:
    """Wait `pause_s`, then open `url` within `open_timeout_s`."""

    url: str
    pause_s: float
    open_timeout_s: float


@dataclass
class _Standing:
    place: float  # in this node's own order
    failed_at: float | None = None


class Addresses:
    """A node's view of one kind of address. `now` is any clock that only goes forward, in seconds.

    `by_hand`: named by a person; they stay. `told`: what the marketplace said last. `pinned`: these and no others.
    Raises ValueError when there is none.
    """

    def __init__(
        self,
        by_hand: Iterable[str],
        told: Iterable[str] = (),
        *,
        pinned: bool = False,
        chance: random.Random | None = None,
    ) -> None:
        self._chance = chance or random.Random()  # noqa: S311 - spreads load, guards nothing
        self._pinned = pinned
        self._by_hand = tuple(_clean(by_hand))
        self._told = tuple(_clean(told))
        self._standing: dict[str, _Standing] = {}
        self._failures = 0  # since anything was reached
        self._reached: str | None = None
        self._arrange()
        if not self._standing:
            raise ValueError("no address")

    @property
    def urls(self) -> list[str]:
        """All that are known, in this node's order."""
        return sorted(self._standing, key=lambda url: self._standing[url].place)

    @property
    def learned(self) -> list[str]:
        """What is worth keeping for the next start: what was told, and where it was heard."""
        return [url for url in self._standing if url not in self._by_hand]

    def next(self, now: float) -> Attempt:
        """What to try now."""
        fresh = [url for url, standing in self._standing.items() if not self._is_dead(standing, now)]
        if fresh:
            url = min(fresh, key=lambda each: self._standing[each].place)
        else:
            url = min(self._standing, key=lambda each: self._standing[each].failed_at or 0.0)
        hurried = len(self._standing) > 1 and any(each != url for each in fresh)
        return Attempt(url, self._pause_s(), OPEN_HURRIED_S if hurried else OPEN_S)

    def reached(self, url: str) -> None:
        """`url` serves us."""
        self._failures = 0
        self._reached = url
        if url in self._standing:
            self._standing[url].failed_at = None

    def failed(self, url: str, now: float) -> None:
        """`url` could not be reached, or does not serve us any more, for whatever reason."""
        self._failures = min(self._failures + 1, 10_000)
        if url in self._standing:
            self._standing[url].failed_at = now

    def told(self, urls: Sequence[str]) -> bool:
        """The marketplace names its addresses. True when that is worth remembering.

        An empty list says nothing. Where we were served over an encrypted address, unencrypted ones are not taken. The address
        that serves us stays known even when it is not in the list: who told it may be wrong.
        """
        before = self.learned
        taken = tuple(url for url in _clean(urls) if not self._is_downgrade(url))
        if taken and not self._pinned:
            self._told = taken
            self._arrange()
        return self.learned != before

    def _arrange(self) -> None:
        wanted = [*self._by_hand, *self._told]
        if self._reached is not None:
            wanted.append(self._reached)
        self._standing = {
            url: self._standing.get(url) or _Standing(self._chance.random()) for url in dict.fromkeys(wanted)
        }

    def _is_downgrade(self, url: str) -> bool:
        if self._reached is None or url in self._by_hand:
            return False
        return _is_encrypted(self._reached) and not _is_encrypted(url)

    @staticmethod
    def _is_dead(standing: _Standing, now: float) -> bool:
        return standing.failed_at is not None and now - standing.failed_at < DEAD_S

    def _pause_s(self) -> float:
        if self._failures == 0:
            return 0.0
        known = len(self._standing)
        beyond_first_round = max(0, self._failures - known)
        # Shared by the addresses: each of them is asked no oftener than a single one would be.
        most_s = min(PAUSE_MAX_S, PAUSE_FIRST_S * 2 ** min(beyond_first_round, 16)) / known
        return self._chance.uniform(0, max(most_s, PAUSE_FIRST_S))


def _clean(urls: Iterable[str]) -> list[str]:
    """Whole addresses of the kinds we speak, each once, in their order, not too many."""
    found = dict.fromkeys(url.strip().rstrip("/") for url in urls)
    return [url for url in found if _is_address(url)][:ADDRESSES_MAX]


def _is_address(url: str) -> bool:
    if len(url) > URL_CHARACTERS_MAX:
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in ("ws", "wss", "http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _is_encrypted(url: str) -> bool:
    return urlsplit(url).scheme in ("wss", "https")
