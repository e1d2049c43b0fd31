"""Domain events. One publish does two things in the caller's transaction: it runs the in-process subscribers that
`bootstrap` registered (so that money and placements change together or not at all), and it writes an outbox row
(so that readers outside the transaction hear of it after the commit, however often we crash).
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict
from sqlalchemy.ext.asyncio import AsyncSession


class Event(BaseModel):
    """A fact in the past tense. `topic` names it outside the process; `key` groups what must stay in order."""

    model_config = ConfigDict(frozen=True)
    topic: ClassVar[str]

    @property
    def key(self) -> str:
        """The id of the thing the event is about, e.g. the job's."""
        raise NotImplementedError


EventT = TypeVar("EventT", bound=Event)
Handler = Callable[[AsyncSession, Any], Awaitable[None]]
HandlerOfMany = Callable[[AsyncSession, Sequence[Any]], Awaitable[None]]


class Outbox(Protocol):
    """Where events wait for the relay."""

    async def append(self, session: AsyncSession, topic: str, key: str, payload: dict[str, Any]) -> None: ...

    async def append_all(
        self, session: AsyncSession, messages: Sequence[tuple[str, str, dict[str, Any]]]
    ) -> None: ...


@dataclass(frozen=True)
class EventBus:
    """Publishes events to subscribers (same transaction) and to the outbox."""

    outbox: Outbox
    _handlers: dict[type[Event], list[Handler]] = field(default_factory=lambda: defaultdict(list))
    _together: dict[Handler, HandlerOfMany] = field(default_factory=dict)

    def subscribe(
        self,
        event_type: type[EventT],
        handler: Callable[[AsyncSession, EventT], Awaitable[None]],
        together: Callable[[AsyncSession, Sequence[EventT]], Awaitable[None]] | None = None,
    ) -> None:
        """Run `handler(session, event)` inside the publisher's transaction. Only bootstrap calls this.

        `together`: does the same for many events of one transaction at once, with fewer statements.
        """
        self._handlers[event_type].append(handler)
        if together is not None:
            self._together[handler] = together

    async def publish(self, session: AsyncSession, event: Event) -> None:
        """Announce `event`. An exception in a subscriber fails the whole transaction: that is the point."""
        for handler in self._handlers[type(event)]:
            await handler(session, event)
        await self.outbox.append(session, event.topic, event.key, event.model_dump(mode="json"))

    async def publish_all(self, session: AsyncSession, events: Sequence[EventT]) -> None:
        """Announce many facts of one kind, about different things: one subscriber hears them all, then the next."""
        if not events:
            return
        for handler in self._handlers[type(events[0])]:
            if (together := self._together.get(handler)) is not None:
                await together(session, events)
                continue
            for event in events:
                await handler(session, event)
        await self.outbox.append_all(
            session, [(event.topic, event.key, event.model_dump(mode="json")) for event in events]
        )
