"""Use cases of nodes. The session comes first; nothing here commits."""

import hashlib
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gp4u_protocol.messages import AgentLife, NodeFacts
from gp4u_protocol.transparent import TransparentFacts
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.kit.ids import new_id
from gp4u_server.nodes import repository, score_repository
from gp4u_server.nodes.arrivals import NodeArrivals
from gp4u_server.nodes.decisions import check_facts, free_name, proven_key, slug
from gp4u_server.nodes.device_care import DeviceCare
from gp4u_server.nodes.duties import closed_downtime
from gp4u_server.nodes.errors import (
    DeviceElsewhere,
    DevicesTaken,
    EnrolmentTokenInvalid,
    KeyInUse,
    NodeBusy,
    NodeNameTaken,
    NodeNotFound,
    NodeWasRemoved,
    SimulationRefused,
)
from gp4u_server.nodes.events import NodeFactsChanged, NodeLivenessChanged, NodeRemoved
from gp4u_server.nodes.models import NodeRow
from gp4u_server.nodes.ports import HardwareCatalogue
from gp4u_server.nodes.scores import NodeScores, online_s_of
from gp4u_server.nodes.types import (
    DeviceView,
    Duty,
    EnrolmentToken,
    Joined,
    Liveness,
    MaintenanceWindow,
    NodeIdentity,
    NodeSession,
    NodeStatus,
    NodeView,
    TakenDevice,
)
from gp4u_server.nodes.windows import NodeWindows

ENROLMENT_TOKEN_LIFETIME = timedelta(minutes=10)
ENROLMENT_TOKEN_PREFIX = "gp4u_join_"  # noqa: S105 (a prefix, not a secret)
NAME_ATTEMPTS_MAX = 5
ORPHANS_BATCH_MAX = 1000


@dataclass(frozen=True)
class NodeService(NodeArrivals, NodeScores, NodeWindows, DeviceCare):
    """Enrolment, identity, liveness, duty, maintenance windows, devices and statistics of nodes.

    `allow_simulated` False refuses machines whose GPUs are invented (a marketplace for real money wants that).
    """

    catalogue: HardwareCatalogue
    allow_simulated: bool = True

    # --- enrolment -------------------------------------------------------------------------------------

    async def create_enrolment_token(
        self, session: AsyncSession, owner_id: str, *, region: str, node_name: str | None = None
    ) -> EnrolmentToken:
        """A one-time permission to join; only its hash is kept. Raises NodeNameTaken."""
        if node_name is not None and await repository.name_is_used(session, node_name):
            raise NodeNameTaken(
                f"There is a node called {node_name}; choose another name.", field="node_name"
            )
        now = self.clock.now()
        token = ENROLMENT_TOKEN_PREFIX + secrets.token_urlsafe(32)
        await repository.insert_token(
            session,
            id=new_id("enr"),
            owner_id=owner_id,
            token_hash=_hash(token),
            region=region,
            node_name=node_name,
            created_at=now,
            expires_at=now + ENROLMENT_TOKEN_LIFETIME,
        )
        return EnrolmentToken(token, now + ENROLMENT_TOKEN_LIFETIME)

    async def join(
        self,
        session: AsyncSession,
        *,
        token: str,
        public_key: str,
        signature: str,
        facts: NodeFacts,
        name: str | None = None,
    ) -> Joined:
        """Enrol a machine with a one-time token and a proof that it holds its key.

        Raises EnrolmentTokenInvalid, ProofInvalid, FactsInvalid, KeyInUse, NodeNameTaken, DeviceElsewhere,
        SimulationRefused. After a refusal the caller rolls back, and the token is still good.
        """
        raw_key = proven_key(token, public_key, signature)
        check_facts(facts)
        simulated = facts.simulated or any(device.simulated for device in facts.devices)
        if simulated and not self.allow_simulated:
            raise SimulationRefused("This marketplace takes real machines only.")
        now = self.clock.now()
        permission = await repository.consume_token(session, _hash(token), now)
        if permission is None:
            raise EnrolmentTokenInvalid("The enrolment token is unknown, used or expired; ask for a new one.")
        if await repository.key_is_used(session, raw_key):
            raise KeyInUse(
                "Another node has this key. Remove that node first, or let the agent make a new key."
            )
        findings = self.catalogue.findings(facts)
        # A simulated node has nothing that could be verified later; a real one is looked at when it connects.
        status = NodeStatus.VERIFIED if simulated and not findings else NodeStatus.PENDING
        node_id = new_id("node")
        values = {
            "id": node_id,
            "owner_id": permission.owner_id,
            "region": permission.region,
            "status": status,
            "findings": findings,
            "public_key": raw_key,
            "simulated": simulated,
            "enrolled_at": now,
            **_facts_columns(facts),
        }
        node_name = await self._insert_named(
            session, values, exact=permission.node_name, wanted=slug(name or facts.hostname)
        )
        await self._store_devices(session, node_id, facts)
        return Joined(node_id, node_name, status)

    async def _insert_named(
        self, session: AsyncSession, values: dict[str, object], *, exact: str | None, wanted: str
    ) -> str:
        for _ in range(NAME_ATTEMPTS_MAX):
            name = exact or free_name(wanted, await repository.names_like(session, wanted))
            try:
                async with session.begin_nested():
                    await repository.insert_node(session, name=name, **values)
            except IntegrityError as error:
                if "uq_nodes_public_key" in str(error.orig):
                    raise KeyInUse("Another node has this key.") from error
                if "uq_nodes_name" not in str(error.orig):
                    raise
                if exact is not None:
                    raise NodeNameTaken(f"There is a node called {exact}.", field="node_name") from error
            else:
                return name
        raise NodeNameTaken(f"Too many machines called {wanted} join at once; choose a name.", field="name")

    async def _store_devices(self, session: AsyncSession, node_id: str, facts: NodeFacts) -> None:
        order = sorted(
            enumerate(facts.devices), key=lambda item: item[1].uuid
        )  # one lock order for everybody
        for position, device in order:
            model = self.catalogue.canonical(device.model, device.vram_mb) or device.model
            if not await repository.upsert_device(
                session, new_id("dev"), node_id, device, model=model, position=position
            ):
                raise DeviceElsewhere(
                    f"GPU {device.uuid} is enrolled in another node. Remove it there first.", uuid=device.uuid
                )
        await repository.mark_absent(session, node_id, [device.uuid for device in facts.devices])

    # --- owners ----------------------------------------------------------------------------------------

    async def list_owned(
        self, session: AsyncSession, owner_id: str, *, before_id: str | None, limit: int
    ) -> list[NodeView]:
        """A page of an owner's nodes, newest first."""
        rows = await repository.owned_nodes(session, owner_id, before_id=before_id, limit=limit)
        return await self._views(session, list(rows))

    async def read_owned(self, session: AsyncSession, owner_id: str, node_id: str) -> NodeView:
        """One node of this owner. Raises NodeNotFound."""
        row = await repository.node(session, node_id, owner_id=owner_id)
        if row is None:
            raise NodeNotFound("There is no such node of yours.")
        return (await self._views(session, [row]))[0]

    async def set_pool(
        self, session: AsyncSession, node_id: str, *, owner_id: str | None, in_pool: bool
    ) -> None:
        """Put the node into the replacement pool, or take it out: there it takes only jobs that lost their node, and they
        are offered it before the market. Jobs that run there stay. Raises NodeNotFound."""
        row = await self._locked(session, node_id, owner_id)
        if row.in_pool != in_pool:
            await repository.change_node(session, node_id, in_pool=in_pool)
            await self.bus.publish(session, NodeFactsChanged(node_id=node_id))

    async def remove(self, session: AsyncSession, owner_id: str, node_id: str) -> None:
        """Remove a node; its name, key and devices are free again. Raises NodeNotFound, NodeBusy."""
        row = await repository.node(session, node_id, owner_id=owner_id, lock=True)
        if row is None:
            raise NodeNotFound("There is no such node of yours.")
        if await repository.running_jobs(session, [node_id]):
            raise NodeBusy("Jobs run on this node. Pause its offer and remove the node when they have ended.")
        now = self.clock.now()
        await repository.disenrol_devices(session, node_id)
        await repository.change_node(
            session,
            node_id,
            status=NodeStatus.REMOVED,
            liveness=Liveness.OFFLINE,
            removed_at=now,
            session_no=row.session_no + 1,  # whoever still holds its connection may write no more
            **_closed_exposure(row, now),
        )
        await self.bus.publish(session, NodeRemoved(node_id=node_id))
        await repository.bump_desired(session, node_id)

    # --- reading for other modules -----------------------------------------------------------------------

    async def view(self, session: AsyncSession, node_id: str, *, lock: bool = False) -> NodeView:
        """One node with its devices; `lock` holds its row until commit. Raises NodeNotFound."""
        row = await repository.node(session, node_id, lock=lock)
        if row is None:
            raise NodeNotFound("There is no such node.")
        return (await self._views(session, [row]))[0]

    async def views(self, session: AsyncSession, node_ids: Sequence[str]) -> dict[str, NodeView]:
        """Several nodes with their devices, unlocked; those that are removed or unknown are left out."""
        rows = [row for node_id in node_ids if (row := await repository.node(session, node_id)) is not None]
        return {view.id: view for view in await self._views(session, rows)}

    async def lock(self, session: AsyncSession, node_id: str) -> None:
        """Hold the node's row until commit: before its offer, always. Raises NodeNotFound (removed ones too)."""
        if await repository.node(session, node_id, lock=True) is None:
            raise NodeNotFound("There is no such node.")

    async def _views(self, session: AsyncSession, rows: list[NodeRow]) -> list[NodeView]:
        ids = [row.id for row in rows]
        devices: dict[str, list[DeviceView]] = {node_id: [] for node_id in ids}
        for device in await repository.devices_of(session, ids):
            devices[device.node_id].append(
                DeviceView(
                    id=device.id,
                    uuid=device.uuid,
                    model=device.model,
                    vram_gb=round(device.vram_mb / 1024),
                    simulated=device.simulated,
                    in_use=device.taken_as is not None,
                    reserved_for=device.reserved_for,
                    fault=None if device.faulted_at is None else device.fault_reason or "It failed.",
                    back_at=device.probation_until,
                )
            )
        windows = await self.windows_of(session, ids)
        jobs = await repository.running_jobs(session, ids)
        now = self.clock.now()
        known = await self.expectations(session, rows, now)
        views = []
        for row in rows:
            standing, prior = known[row.id]
            view = _view(row, tuple(devices[row.id]), tuple(windows[row.id]), jobs.get(row.id, 0), now)
            views.append(
                replace(
                    view,
                    host_losses=standing.host_losses,
                    network_losses=standing.network_losses,
                    away_s=standing.away_ms / 1000,
                    prior=prior,
                )
            )
        return views

    # --- gateway -----------------------------------------------------------------------------------------

    async def identity(self, session: AsyncSession, node_id: str) -> NodeIdentity | None:
        """Key and status of a node (removed ones too), or None for an unknown id."""
        row = await repository.identity(session, node_id)
        return None if row is None else NodeIdentity(row.public_key, NodeStatus(row.status))

    async def identities(self, session: AsyncSession, node_ids: Sequence[str]) -> dict[str, NodeIdentity]:
        """The same of several nodes; unknown ids are left out."""
        return {
            row.id: NodeIdentity(row.public_key, NodeStatus(row.status))
            for row in await repository.identities(session, node_ids)
        }

    async def transparent_facts(
        self, session: AsyncSession, node_ids: Collection[str]
    ) -> dict[str, TransparentFacts]:
        """What these nodes' probes proved of whole-job checkpoints; a node that told nothing is missing."""
        told = await repository.transparent_facts(session, node_ids)
        return {node_id: TransparentFacts.model_validate(facts) for node_id, facts in told.items()}

    async def record_connected(
        self,
        session: AsyncSession,
        node_id: str,
        *,
        gateway_id: str,
        facts: NodeFacts,
        now: datetime,
        life: AgentLife | None = None,
    ) -> int:
        """The node proved its key to this gateway: it is online, and only the session number answered may write.

        Raises NodeNotFound, NodeWasRemoved, FactsInvalid, DeviceElsewhere.
        """
        check_facts(facts)
        row = await repository.node(session, node_id, lock=True)
        if row is None:
            if await repository.identity(session, node_id) is None:
                raise NodeNotFound("There is no such node.")
            raise NodeWasRemoved("The owner removed this node.")
        columns = _facts_columns(facts)
        changed = any(columns[name] != getattr(row, name) for name in ("facts", "memory_mb", "cpus"))
        simulated = facts.simulated or any(device.simulated for device in facts.devices)
        findings = self.catalogue.findings(facts)
        if simulated != row.simulated:
            findings.append("The node joined as simulated and connects as real, or the other way round.")
        status = NodeStatus.PENDING if findings else NodeStatus.VERIFIED
        session_no = row.session_no + 1
        was = Liveness(row.liveness)
        began = row.online_since if was in (Liveness.ONLINE, Liveness.SUSPECT) else now
        if changed:
            await self._store_devices(session, node_id, facts)
        await repository.change_node(
            session,
            node_id,
            gateway_id=gateway_id,
            session_no=session_no,
            session_began_at=now,
            liveness=Liveness.ONLINE,
            online_since=began or now,
            **closed_downtime(row, now),
            last_seen_at=now,
            status=status,
            findings=findings,
            **columns,
        )
        if life is not None:
            await score_repository.keep_life(session, node_id, life.model_dump(mode="json"))
        if changed or status != row.status:
            await self.bus.publish(session, NodeFactsChanged(node_id=node_id))
        await self.record_devices_listed(session, node_id, [device.uuid for device in facts.devices])
        if was is not Liveness.ONLINE:
            await self._announce(session, node_id, was, Liveness.ONLINE, session_no, now)
        return session_no

    async def record_liveness(
        self,
        session: AsyncSession,
        node_id: str,
        *,
        session_no: int,
        liveness: Liveness,
        at: datetime,
        ours: bool = False,
        silent_s: float | None = None,
        socket_open: bool | None = None,
    ) -> bool:
        """Write a change of liveness. False: a newer session has the node, and nothing was written.

        `ours`: the platform lost sight of the node; a loss is then not held against it.
        """
        row = await repository.node(session, node_id, lock=True)
        if row is None or row.session_no != session_no:
            return False
        was = Liveness(row.liveness)
        if was is liveness:
            return True
        changes: dict[str, object] = {}
        if liveness in (Liveness.ONLINE, Liveness.SUSPECT):
            if was in (Liveness.OFFLINE, Liveness.LOST):
                changes |= {"online_since": at, **closed_downtime(row, at)}
        else:
            changes |= _closed_exposure(row, at)
        if liveness is Liveness.ONLINE:
            changes["last_seen_at"] = at
        lost = liveness is Liveness.LOST and was is not Liveness.OFFLINE
        # A machine in maintenance may be switched off: nobody counts on it.
        blameless = ours or row.duty == Duty.MAINTENANCE
        if lost and not blameless:
            changes |= {"losses": row.losses + 1, "down_since": at}
        await repository.change_node(session, node_id, liveness=liveness, **changes)
        await self.bus.publish(
            session,
            NodeLivenessChanged(
                node_id=node_id,
                liveness=liveness,
                was=was,
                session_no=session_no,
                at=at,
                ours=ours,
                silent_s=silent_s,
                socket_open=socket_open,
            ),
        )
        if lost:
            await self._lost(session, row, at, ours=blameless)
        return True

    async def record_left(
        self, session: AsyncSession, node_id: str, *, session_no: int, at: datetime
    ) -> bool:
        """The node said goodbye with nothing running: offline, and no loss counted. False: stale session."""
        return await self.record_liveness(
            session, node_id, session_no=session_no, liveness=Liveness.OFFLINE, at=at
        )

    async def _announce(
        self,
        session: AsyncSession,
        node_id: str,
        was: Liveness,
        now_is: Liveness,
        no: int,
        at: datetime,
    ) -> None:
        await self.bus.publish(
            session, NodeLivenessChanged(node_id=node_id, liveness=now_is, was=was, session_no=no, at=at)
        )

    async def lease_ttl_s(self, session: AsyncSession, node_id: str, *, least_s: float) -> float:
        """How long the longest lease in force of this node may last; from now on at least `least_s`. The caller holds the
        node's row."""
        ttl_ms, least_ms = await repository.lease_ttl_ms(session, node_id), round(least_s * 1000)
        if ttl_ms < least_ms:
            await repository.change_node(session, node_id, lease_ttl_ms=least_ms)
        return max(ttl_ms, least_ms) / 1000

    async def note_lease_ttl(
        self, session: AsyncSession, node_id: str, *, session_no: int, ttl_s: float, why: str | None
    ) -> bool:
        """How long the node's leases last from now on, and why. False: a newer session has the node."""
        return await repository.note_lease_ttl(session, node_id, session_no, round(ttl_s * 1000), why)

    async def longest_lease_ttls(self, session: AsyncSession, *, longer_than_s: float) -> dict[str, float]:
        """Gateway → the longest lease of its nodes, in seconds, where it is longer than that."""
        found = await repository.longest_lease_ttls(session, round(longer_than_s * 1000))
        return {gateway_id: ttl_ms / 1000 for gateway_id, ttl_ms in found.items()}

    async def bump_desired(self, session: AsyncSession, node_id: str) -> int:
        """The node's desired state changes: its next version. Wakes gateways on `gp4u_node_desired` at commit."""
        return await repository.bump_desired(session, node_id)

    async def desired_version(self, session: AsyncSession, node_id: str) -> int:
        """The version of the node's desired state."""
        return await repository.desired_version(session, node_id)

    async def nodes_of_gateway(self, session: AsyncSession, gateway_id: str) -> list[NodeSession]:
        """Nodes that the database calls online or suspect and that this gateway held last."""
        rows = await repository.live_sessions(session, gateway_id)
        return [NodeSession(row.id, row.session_no, Liveness(row.liveness)) for row in rows]

    async def gateway_seen(self, session: AsyncSession, gateway_id: str, now: datetime) -> None:
        """The gateway lives. Say so at start and every few seconds."""
        await repository.see_gateway(session, gateway_id, now)

    async def orphans(
        self, session: AsyncSession, *, silent_since: datetime, limit: int = ORPHANS_BATCH_MAX
    ) -> list[NodeSession]:
        """Nodes called online or suspect whose gateway has not been seen since `silent_since`."""
        rows = await repository.orphaned_sessions(session, silent_since, limit)
        return [NodeSession(row.id, row.session_no, Liveness(row.liveness)) for row in rows]

    # --- devices -----------------------------------------------------------------------------------------

    async def take_devices(
        self, session: AsyncSession, node_id: str, *, model: str, gpus: int
    ) -> list[TakenDevice]:
        """Take `gpus` free devices of one model. Raises DevicesTaken (then the caller's savepoint rolls back)."""
        taken = await repository.take_devices(
            session, node_id, model=model, gpus=gpus, taken_as=new_id("take")
        )
        if len(taken) < gpus:
            raise DevicesTaken(f"Only {len(taken)} of {gpus} GPUs were free.")
        return taken

    async def release_devices(self, session: AsyncSession, node_id: str, device_ids: list[str]) -> int:
        """Free devices; harmless when they are free already. Answers how many were taken until now."""
        return await repository.release_devices(session, node_id, device_ids)


def _hash(token: str) -> bytes:
    # 256 random bits need no slow hash: nothing can be guessed offline.
    return hashlib.sha256(token.encode()).digest()


def _facts_columns(facts: NodeFacts) -> dict[str, object]:
    return {
        "facts": facts.model_dump(mode="json", exclude={"disk_free_mb"}),
        "cpus": facts.cpus,
        "memory_mb": facts.memory_mb,
        "disk_mb": facts.disk_free_mb,
    }


def _closed_exposure(row: NodeRow, at: datetime) -> dict[str, object]:
    if row.online_since is None:
        return {}
    elapsed_ms = max(0, round((at - row.online_since).total_seconds() * 1000))
    return {"online_ms": row.online_ms + elapsed_ms, "online_since": None}


def _view(
    row: NodeRow,
    devices: tuple[DeviceView, ...],
    windows: tuple[MaintenanceWindow, ...],
    running_jobs: int,
    now: datetime,
) -> NodeView:
    away_s = 0.0 if row.down_since is None else max(0.0, (now - row.down_since).total_seconds())
    return NodeView(
        id=row.id,
        name=row.name,
        owner_id=row.owner_id,
        region=row.region,
        status=NodeStatus(row.status),
        liveness=Liveness(row.liveness),
        simulated=row.simulated,
        cpus=row.cpus,
        memory_gb=row.memory_mb // 1024,
        disk_gb=row.disk_mb // 1024,
        cpu_model=str(row.facts.get("cpu_model", "")),
        runtimes=dict(row.facts.get("runtimes", {})),
        devices=devices,
        losses=row.losses,
        online_s=online_s_of(row, now),
        down_s=row.down_ms / 1000 + away_s,
        running_jobs=running_jobs,
        lease_ttl_s=row.lease_ttl_ms / 1000 or None,
        lease_ttl_why=row.lease_ttl_why,
        watched_reason=row.watched_reason,
        last_seen_at=row.last_seen_at,
        enrolled_at=row.enrolled_at,
        findings=tuple(row.findings),
        duty=Duty(row.duty),
        duty_reason=row.duty_reason,
        duty_since=row.duty_since,
        drain_deadline_at=row.drain_deadline_at,
        quarantined_until=row.quarantined_until if row.duty == Duty.QUARANTINED else None,
        in_pool=row.in_pool,
        maintenance_until=row.maintenance_until,
        windows=windows,
    )
