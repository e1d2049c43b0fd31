"""Use cases of critical signs: drain for one, hold for a mass of them, and do what an admin decides. See `drain_guard`."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.telemetry import hold_repository as repository
from gp4u_server.catalyst.telemetry.drain_guard import (
    QUIET_AFTER,
    GuardTerms,
    StandingHold,
    Verdict,
    hold_sentence,
    is_gone,
    stands,
    verdict,
)
from gp4u_server.catalyst.telemetry.errors import HoldDecided, HoldNotFound
from gp4u_server.catalyst.telemetry.events import DrainsDecided, DrainsHeld
from gp4u_server.catalyst.telemetry.models import DrainHoldRow
from gp4u_server.catalyst.telemetry.types import DeviceEvent, DrainHold, HeldNode, HoldState, Severity
from gp4u_server.foundation.events import EventBus
from gp4u_server.kit.clock import Clock
from gp4u_server.kit.ids import new_id
from gp4u_server.nodes.errors import NodeNotFound
from gp4u_server.nodes.service import NodeService
from gp4u_server.nodes.types import Duty

log = structlog.get_logger(__name__)

ALREADY_OUT = (Duty.DRAINING, Duty.MAINTENANCE)


@dataclass(frozen=True)
class DrainHolds:
    """What follows from critical events. Locks, in this order: signs, holds, nodes."""

    bus: EventBus
    clock: Clock
    nodes: NodeService
    terms: GuardTerms = field(default_factory=GuardTerms)

    async def lock_signs(self, session: AsyncSession, events: Sequence[DeviceEvent]) -> None:
        """Before events are written and before any node is locked: two gateways that each see their own nodes' events
        must count the other's, too."""
        signs = {(event.kind, event.code) for event in events if event.severity is Severity.CRITICAL}
        for kind, code in sorted(signs):
            await repository.lock_sign(session, kind, code)

    async def follow(self, session: AsyncSession, event: DeviceEvent) -> None:
        """Drain, or hold. The event is written and its sign locked."""
        now = self.clock.now()
        showing = await repository.nodes_showing(session, event.kind, event.code, now - self.terms.window)
        row = await repository.newest(session, event.kind, event.code)
        hold = None if row is None else StandingHold(HoldState(row.state), row.decided_at)
        serving = 0 if showing < self.terms.nodes_min else await self.nodes.count_serving(session)
        decided = verdict(hold, showing, serving, now, self.terms)
        if decided is Verdict.HOLD:
            hold_id = row.id if row is not None and stands(hold, now) else None
            await self._hold(session, event, hold_id, showing, serving, now)
        if decided is Verdict.DRAIN:
            await self._take_out(session, event.node_id, event.device_uuid, event.sentence)
        elif is_gone(event.kind, event.code) and event.device_uuid is not None:
            # The GPU is beyond reach: what runs on it is lost where it is, whatever the others show. The node stays.
            await self.nodes.record_device_fault(
                session, event.node_id, event.device_uuid, event.sentence, now
            )

    async def _hold(
        self,
        session: AsyncSession,
        event: DeviceEvent,
        hold_id: str | None,
        showing: int,
        serving: int,
        now: datetime,
    ) -> None:
        if hold_id is None:
            hold_id = new_id("hld")
            reason = hold_sentence(event.sentence, showing, serving, self.terms)
            await repository.insert_hold(
                session,
                id=hold_id,
                kind=event.kind,
                code=event.code,
                reason=reason,
                nodes_showing=showing,
                nodes_serving=serving,
                began_at=now,
                last_sign_at=now,
            )
            await self.bus.publish(
                session,
                DrainsHeld(
                    hold_id=hold_id,
                    kind=event.kind,
                    code=event.code,
                    nodes_showing=showing,
                    nodes_serving=serving,
                    reason=reason,
                    at=now,
                ),
            )
            log.error("drains_held", hold_id=hold_id, kind=event.kind, code=event.code, nodes=showing)
        else:
            await repository.change(session, hold_id, last_sign_at=now)
        await repository.hold_node(
            session,
            event_id=event.id,
            hold_id=hold_id,
            node_id=event.node_id,
            device_uuid=event.device_uuid,
            sentence=event.sentence,
            held_at=now,
        )
        await self.nodes.watch(session, event.node_id, event.sentence)

    async def _take_out(
        self, session: AsyncSession, node_id: str, device_uuid: str | None, sentence: str
    ) -> None:
        """Jobs that depend on the device get notice and move. A node that is on its way out already keeps the reason and
        deadline it has."""
        try:
            node = await self.nodes.view(session, node_id, lock=True)
        except NodeNotFound:
            return  # removed meanwhile
        mine = any(device.uuid == device_uuid for device in node.devices)
        others = [device for device in node.devices if device.uuid != device_uuid and not device.fault]
        if device_uuid is not None and mine and others:
            # The jobs that hold this device leave; those on the node's other ones run on.
            await self.nodes.record_device_fault(session, node_id, device_uuid, sentence, self.clock.now())
            log.warning("device_out_for_fault", node_id=node_id, device_uuid=device_uuid)
            return
        if node.duty in ALREADY_OUT:
            return
        await self.nodes.drain(session, node_id, owner_id=None, reason=sentence)
        log.warning("node_drained_for_fault", node_id=node_id, reason=sentence)

    # --- what admins do ------------------------------------------------------------------------------------

    async def page(self, session: AsyncSession, *, before_id: str | None, limit: int) -> list[DrainHold]:
        """Holds, newest first."""
        return await self._views(session, await repository.page(session, before_id=before_id, limit=limit))

    async def decide(
        self, session: AsyncSession, hold_id: str, state: HoldState, *, decided_by: str, reason: str
    ) -> DrainHold:
        """Confirm (the nodes are drained) or dismiss (they stay). The controller does it, node by node. For a day it goes
        for whatever else shows the sign. Raises HoldNotFound, HoldDecided."""
        row = await repository.one(session, hold_id, lock=True)
        if row is None:
            raise HoldNotFound("There is no such hold.")
        if row.state != HoldState.HELD:
            raise HoldDecided(f"It was {row.state} before.", state=row.state)
        await self._end(session, hold_id, state, decided_by, reason)
        decided = await repository.one(session, hold_id)
        assert decided is not None
        (view,) = await self._views(session, [decided])
        return view

    async def _end(
        self, session: AsyncSession, hold_id: str, state: HoldState, by: str | None, reason: str | None
    ) -> None:
        now = self.clock.now()
        await repository.change(
            session, hold_id, state=state, decided_at=now, decided_by=by, decided_reason=reason
        )
        await self.bus.publish(session, DrainsDecided(hold_id=hold_id, state=state, decided_by=by, at=now))

    async def settle_one(self, session: AsyncSession) -> int:
        """One hold that nobody decided and whose sign is gone ends, or what was decided is done with one node. Answers
        how many (0 or 1)."""
        now = self.clock.now()
        quiet = await repository.quiet(session, now - QUIET_AFTER)
        if quiet is not None:
            await self._end(session, quiet.id, HoldState.LAPSED, None, None)
            return 1
        due = await repository.due_node(session)
        if due is None:
            return 0
        held, state = due
        if state == HoldState.CONFIRMED and await self._still_watched(session, held.node_id):
            await self._take_out(session, held.node_id, held.device_uuid, held.sentence)
        await repository.settle(session, held.event_id, now)
        await self.nodes.watch(session, held.node_id, await repository.watched_for(session, held.node_id))
        return 1

    async def _still_watched(self, session: AsyncSession, node_id: str) -> bool:
        """Not when its owner has put it back into service since: he has seen to it."""
        try:
            return (await self.nodes.view(session, node_id, lock=True)).watched_reason is not None
        except NodeNotFound:
            return False

    async def _views(self, session: AsyncSession, rows: Sequence[DrainHoldRow]) -> list[DrainHold]:
        nodes: defaultdict[str, list[HeldNode]] = defaultdict(list)
        counted: dict[str, int] = {}
        for found in await repository.nodes_of(session, [row.id for row in rows]):
            counted[found.hold_id] = found.nodes
            nodes[found.hold_id].append(
                HeldNode(found.node_id, found.node_name, found.device_uuid, found.held_at, found.settled_at)
            )
        return [
            DrainHold(
                id=row.id,
                kind=row.kind,
                code=row.code,
                state=HoldState(row.state),
                reason=row.reason,
                nodes_showing=row.nodes_showing,
                nodes_serving=row.nodes_serving,
                nodes_held=counted.get(row.id, 0),
                began_at=row.began_at,
                last_sign_at=row.last_sign_at,
                decided_at=row.decided_at,
                decided_by=row.decided_by,
                decided_reason=row.decided_reason,
                nodes=tuple(nodes[row.id]),
            )
            for row in rows
        ]
