"""Turns: one of several does what all would do alike, and whoever stops doing it is followed by another."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from gp4u_server.controller.turns import InTurn
from gp4u_server.foundation.outbox import PostgresOutbox
from gp4u_server.foundation.relay import OutboxRelay
from gp4u_server.foundation.turns import Turns
from gp4u_server.kit.clock import SystemClock
from gp4u_server.kit.db import Database


def turns(database: Database, turn_s: float = 60.0) -> Turns:
    return Turns(database, SystemClock(), turn_s)


async def test_of_three_one_has_the_turn_and_keeps_it_to_its_end(database: Database) -> None:
    three = [turns(database) for _ in range(3)]
    for _ in range(2):
        assert sorted(await asyncio.gather(*(each.is_mine("relay") for each in three))) == [
            False,
            False,
            True,
        ]
    assert any([await each.is_mine("pruning") for each in three])


async def test_what_a_paused_holder_leaves_another_takes_up(database: Database) -> None:
    first, second = turns(database, 0.2), turns(database)
    assert await first.is_mine("relay")
    async with asyncio.timeout(20):  # the first one stands still
        while not await second.is_mine("relay"):
            await asyncio.sleep(0.02)
    # It wakes: its time is over by its own clock, so it asks, and learns that somebody else is at it.
    assert not await first.is_mine("relay")


@dataclass
class Listeners:
    """Stands for Valkey: counts what is said."""

    heard: Counter[int] = field(default_factory=Counter)
    calls: int = 0

    async def wake(self, messages: list[tuple[str, dict[str, Any]]]) -> bool:
        self.calls += 1
        self.heard.update(message["id"] for _, message in messages)
        return True


async def test_three_relays_say_everything_once(database: Database) -> None:
    listeners = Listeners()
    relays = [InTurn(OutboxRelay(database, listeners), turns(database)) for _ in range(3)]  # type: ignore[arg-type]
    assert relays[0].channels == ("gp4u_outbox",)
    for _ in range(10):
        async with database.transaction() as session:
            for number in range(5):
                await PostgresOutbox().append(session, "test.said", f"key-{number}", {})
        await asyncio.gather(*(relay.run_once() for relay in relays))
    assert len(listeners.heard) == 50
    assert set(listeners.heard.values()) == {1}
    assert listeners.calls == 10
