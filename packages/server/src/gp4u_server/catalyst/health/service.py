"""Writes changes of liveness, and only changes. Every write is guarded by the node's session number."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from gp4u_protocol.lease import freeze_after_s
from gp4u_protocol.lease_core import LeaseId
from gp4u_protocol.messages import AgentLife, NodeFacts, Progress
from sqlalchemy import func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.health import repository
from gp4u_server.catalyst.health.authority import AUTHORITY_WINDOW_S
from gp4u_server.catalyst.health.decisions import Write, writes_of, writes_of_connecting
from gp4u_server.catalyst.health.lease_table import Change, NodeState, TtlNote
from gp4u_server.catalyst.health.models import GatewayAuthority
from gp4u_server.catalyst.health.repository import Changes, NodeSight
from gp4u_server.catalyst.jobs.service import JobService, LeasedPlacement
from gp4u_server.nodes.arrivals import Arrival
from gp4u_server.nodes.service import NodeService
from gp4u_server.nodes.types import Liveness


@dataclass(frozen=True)
class Connected:
    """A node's new session as the database knows it."""

    session_no: int
    desired_version: int
    placements: list[LeasedPlacement]
    ttl_s: float
    """No lease that was granted before lasts longer than this from its send on."""

    @property
    def leases(self) -> set[LeaseId]:
        """Claimed placements: beats of this session may renew them."""
        return {
            LeaseId(placement.spec.placement_id, placement.spec.epoch)
            for placement in self.placements
            if placement.claimed
        }


class Unheard(NamedTuple):
    """An earlier session of a node that is still in a gateway's memory."""

    silent_s: float
    cut_off: bool


@dataclass(frozen=True)
class HealthService:
    """Lock order in every use case: jobs, placements, node."""

    nodes: NodeService
    jobs: JobService
    lease_ttl_s: float

    # --- nodes -------------------------------------------------------------------------------------------

    async def node_connected(
        self,
        session: AsyncSession,
        node_id: str,
        *,
        gateway_id: str,
        facts: NodeFacts,
        silent_s: float | None = None,
        cut_off: bool = False,
        life: AgentLife | None = None,
    ) -> Connected:
        """The node proved its key to this gateway. Raises NodeNotFound, NodeWasRemoved, FactsInvalid, …

        `silent_s`: how long this very gateway has not heard of it, where an earlier session is still in its memory.
        `cut_off`: meanwhile this gateway could renew nothing, and had sent its agents away.
        """
        await self.jobs.lock_on_node(session, node_id)
        unwatched_s = await self._unwatched_s(session, node_id, gateway_id)
        ours = unwatched_s is not None or cut_off
        if unwatched_s is None:
            unwatched_s = silent_s  # its silence may not have been written: this session voids what waits
        session_no = await self.nodes.record_connected(
            session, node_id, gateway_id=gateway_id, facts=facts, now=await _db_now(session), life=life
        )
        ttl_s = await self.nodes.lease_ttl_s(session, node_id, least_s=self.lease_ttl_s)
        for write in writes_of_connecting(unwatched_s, ttl_s, ours=ours):
            await self._apply(session, node_id, write, unwatched_s or 0.0, ttl_s)
        return Connected(
            session_no,
            await self.nodes.desired_version(session, node_id),
            await self.jobs.live_on_node(session, node_id),
            ttl_s,
        )

    async def nodes_connected(
        self,
        session: AsyncSession,
        arrivals: Sequence[Arrival],
        *,
        gateway_id: str,
        unheard: Mapping[str, Unheard],
    ) -> dict[str, Connected]:
        """What `node_connected` does, for those of these nodes that need nothing but a new session; the others are left out.

        `unheard`: of nodes with an earlier session in this very gateway's memory. Rows of nodes are locked (none is waited for), and
        rows of jobs are not: nothing is written about those. Whoever wants to write that a node wavers holds its row.
        """
        standing = await self.nodes.lock_arrivals(session, arrivals)
        unwatched = await repository.unwatched_s(
            session,
            {node.gateway_id for node in standing.values() if node.gateway_id not in (None, gateway_id)},
        )
        live = await self.jobs.live_on_nodes(session, list(standing))
        plain = [
            node
            for node_id, node in standing.items()
            if not live[node_id]
            or self._goes_on(live[node_id], unheard.get(node_id), unwatched.get(node.gateway_id or ""))
        ]
        if not plain:
            return {}
        arrived = await self.nodes.record_arrivals(
            session,
            plain,
            arrivals,
            gateway_id=gateway_id,
            now=await _db_now(session),
            lease_ttl_s=self.lease_ttl_s,
        )
        return {
            node_id: Connected(each.session_no, each.desired_version, live[node_id], each.lease_ttl_ms / 1000)
            for node_id, each in arrived.items()
        }

    def _goes_on(
        self, live: Sequence[LeasedPlacement], unheard: Unheard | None, unwatched_s: float | None
    ) -> bool:
        """Whether nothing is to be written of what lives on a node that connects: no lease of it ran out."""
        if any(placement.interrupted for placement in live) or (unheard is not None and unheard.cut_off):
            return False
        silent_s = unwatched_s if unwatched_s is not None else (unheard.silent_s if unheard else None)
        # The shortest TTL: whose leases last longer is asked about one by one.
        return writes_of_connecting(silent_s, self.lease_ttl_s) == (Write.RESTORED,)

    async def note_ttls(self, session: AsyncSession, notes: Sequence[TtlNote]) -> list[TtlNote]:
        """Write how long nodes' leases last, before longer ones are granted and after they can be in force no more.
        Answers those that were written; of the others a newer session has the node. Locks nodes, in the order of ids."""
        return [
            note
            for note in sorted(notes, key=lambda note: note.node_id)
            if await self.nodes.note_lease_ttl(
                session, note.node_id, session_no=note.session_no, ttl_s=note.ttl_s, why=note.why
            )
        ]

    async def record_change(
        self,
        session: AsyncSession,
        change: Change,
        progress: dict[str, Progress] | None = None,
        *,
        socket_open: bool | None = None,
    ) -> bool:
        """Write one change of the lease table. False: a newer session has the node; drop it from the table.

        `socket_open`: whether the node's connection still stands, for whoever asks why it was lost.
        """
        began = await _db_now(session)
        await self.jobs.lock_on_node(session, change.node_id)
        liveness = Liveness(change.state.value)
        if not await self.nodes.record_liveness(
            session,
            change.node_id,
            session_no=change.session_no,
            liveness=liveness,
            at=await _db_now(session),
            ours=change.ours,
            silent_s=change.silent_s,
            socket_open=socket_open,
        ):
            return False
        # Waiting for locks must not move the instant from which nothing is confirmed, and nothing is charged.
        silent_s = change.silent_s + max(0.0, (await _db_now(session) - began).total_seconds())
        for write in writes_of(change):
            ttl_s = change.ttl_s or self.lease_ttl_s
            await self._apply(session, change.node_id, write, silent_s, ttl_s, progress)
        return True

    async def _apply(
        self,
        session: AsyncSession,
        node_id: str,
        write: Write,
        silent_s: float,
        ttl_s: float,
        progress: dict[str, Progress] | None = None,
    ) -> None:
        if write is Write.LOST:
            await self.jobs.record_node_lost(session, node_id, silent_s, progress)
        elif write is Write.RESTORED:
            await self.jobs.record_lease_restored(session, node_id, freeze_after_s(ttl_s))
        else:
            ours = write is Write.INTERRUPTED_BY_US
            await self.jobs.record_lease_interrupted(session, node_id, silent_s, ours=ours)

    async def confirmed_until(self, session: AsyncSession, node_id: str) -> datetime | None:
        """When the gateway that has the node last proved that it lives: no lease of it was renewed much later."""
        statement = text(
            "SELECT g.renewed_at FROM nodes n JOIN gateway_authorities g ON g.gateway_id = n.gateway_id"
            " WHERE n.id = :id"
        ).bindparams(id=node_id)
        renewed_at: datetime | None = await session.scalar(statement)
        return renewed_at

    async def node_left(self, session: AsyncSession, node_id: str, session_no: int) -> bool:
        """The node said goodbye with nothing running."""
        return await self.nodes.record_left(
            session, node_id, session_no=session_no, at=await _db_now(session)
        )

    # --- what a gateway looks at -----------------------------------------------------------------------------

    async def horizon(self, session: AsyncSession) -> int:
        """Every transaction with a smaller number has ended, and what it wrote is seen from here on."""
        return await repository.horizon(session)

    async def changed_since(self, session: AsyncSession, horizon: int) -> Changes:
        """The nodes that were changed by transactions that had not ended at an earlier `horizon`."""
        return await repository.changed_since(session, horizon)

    async def rows_of(self, session: AsyncSession, node_ids: Sequence[str]) -> dict[str, NodeSight]:
        """These nodes as they stand; unknown ones are left out."""
        return await repository.rows_of(session, node_ids)

    async def alive_after(
        self, session: AsyncSession, gateway_id: str, after: str, limit: int
    ) -> dict[str, NodeSight]:
        """Nodes called alive in this gateway's hands, in the order of their ids, from the one behind `after` on."""
        return await repository.alive_after(session, gateway_id, after, limit)

    # --- gateways ----------------------------------------------------------------------------------------

    async def begin_authority(self, session: AsyncSession, gateway_id: str, address: str) -> None:
        """A gateway starts; it holds no node yet."""
        now = await _db_now(session)
        await session.execute(
            insert(GatewayAuthority).values(
                gateway_id=gateway_id, address=address, renewed_at=now, authority_until=now + _WINDOW
            )
        )
        await self.nodes.gateway_seen(session, gateway_id, now)

    async def renew_authority(self, session: AsyncSession, gateway_id: str) -> bool:
        """The gateway lives. False: its nodes were taken over; it must forget them all and begin anew."""
        now = await _db_now(session)
        renewed = await session.execute(
            update(GatewayAuthority)
            .where(GatewayAuthority.gateway_id == gateway_id, GatewayAuthority.ended_at.is_(None))
            .values(
                # Never twice the same value, whatever the clock does: the controller compares it for equality.
                renewed_at=func.greatest(now, GatewayAuthority.renewed_at + timedelta(microseconds=1)),
                authority_until=now + _WINDOW,
            )
            .returning(GatewayAuthority.gateway_id)
        )
        if renewed.scalar_one_or_none() is None:
            return False
        await self.nodes.gateway_seen(session, gateway_id, now)
        return True

    async def longest_ttls(self, session: AsyncSession) -> dict[str, float]:
        """Gateway → the longest TTL of the nodes that it holds, where it is longer than the shortest. Read it in the same
        transaction as `standing_authorities`, after it."""
        return await self.nodes.longest_lease_ttls(session, longer_than_s=self.lease_ttl_s)

    async def standing_authorities(self, session: AsyncSession) -> dict[str, datetime]:
        """Gateways that have not ended → when each last renewed."""
        statement = select(GatewayAuthority.gateway_id, GatewayAuthority.renewed_at).where(
            GatewayAuthority.ended_at.is_(None)
        )
        return {row.gateway_id: row.renewed_at for row in await session.execute(statement)}

    async def take_over(
        self, session: AsyncSession, gateway_id: str, renewed_at: datetime
    ) -> list[Change] | None:
        """End a dead gateway, if its row still says `renewed_at`. Returns the losses of the nodes that nobody else
        holds, to be written one by one with `record_change`; None when the gateway renewed after all."""
        ended = await session.execute(
            update(GatewayAuthority)
            .where(
                GatewayAuthority.gateway_id == gateway_id,
                GatewayAuthority.renewed_at == renewed_at,
                GatewayAuthority.ended_at.is_(None),
            )
            .values(ended_at=func.clock_timestamp())
            .returning(GatewayAuthority.gateway_id)
        )
        if ended.scalar_one_or_none() is None:
            return None
        return await self.losses_of(session, gateway_id)

    async def losses_of(self, session: AsyncSession, gateway_id: str) -> list[Change]:
        """Losses that remain to be written for an ended gateway."""
        now = await _db_now(session)
        renewed_at = await session.scalar(
            select(GatewayAuthority.renewed_at).where(GatewayAuthority.gateway_id == gateway_id)
        )
        silent_s = max(0.0, (now - renewed_at).total_seconds()) if renewed_at else 0.0
        return [
            # Its gateway died: whether the node would have gone on is not known.
            Change(
                node.node_id,
                node.session_no,
                NodeState.LOST,
                silent_s,
                NodeState(node.liveness.value),
                ours=True,
            )
            for node in await self.nodes.nodes_of_gateway(session, gateway_id)
        ]

    async def nodes_left(self, session: AsyncSession, gateway_ids: Iterable[str]) -> dict[str, int]:
        """Gateway → how many nodes that are called alive it still has to its name; those without any are left out."""
        return await repository.nodes_left(session, gateway_ids)

    async def ended_gateways(self, session: AsyncSession) -> list[str]:
        """Gateways that ended lately and may still have nodes to their name."""
        statement = select(GatewayAuthority.gateway_id).where(
            GatewayAuthority.ended_at > func.clock_timestamp() - timedelta(hours=1)
        )
        return list((await session.scalars(statement)).all())

    async def _unwatched_s(self, session: AsyncSession, node_id: str, gateway_id: str) -> float | None:
        """How long nobody renewed this node's leases, when its last gateway was another one; else None."""
        before = await session.scalar(
            text("SELECT gateway_id FROM nodes WHERE id = :id").bindparams(id=node_id)
        )
        if before is None or before == gateway_id:
            return None
        statement = select(func.extract("epoch", func.clock_timestamp() - GatewayAuthority.renewed_at)).where(
            GatewayAuthority.gateway_id == before
        )
        seconds = await session.scalar(statement)
        return None if seconds is None else float(seconds)


_WINDOW = timedelta(seconds=AUTHORITY_WINDOW_S)


async def _db_now(session: AsyncSession) -> datetime:
    now: datetime = (await session.execute(select(func.clock_timestamp()))).scalar_one()
    return now
