"""Which loops a controller runs."""

from gp4u_server.billing.control import MeteringLoop, TopUpLoop
from gp4u_server.billing.service import BillingService
from gp4u_server.billing.top_ups import TopUpService
from gp4u_server.bookings.control import BookingSweepLoop
from gp4u_server.bookings.handlers import BookingHandlers
from gp4u_server.catalyst.checkpoints.collection import CheckpointCollection
from gp4u_server.catalyst.checkpoints.control import CollectionLoop, DeletionLoop, FolderLoop
from gp4u_server.catalyst.failover.control import (
    AskedStopsLoop,
    CapacityLoop,
    LimitsLoop,
    PlacingLoop,
)
from gp4u_server.catalyst.failover.moves import MovesLoop
from gp4u_server.catalyst.health.authority import AuthorityWatch
from gp4u_server.catalyst.health.control import DeadGatewayLoop, DutyLoop
from gp4u_server.catalyst.health.service import HealthService
from gp4u_server.catalyst.incidents.control import IncidentLoop, TallyLoop
from gp4u_server.catalyst.incidents.service import IncidentService
from gp4u_server.catalyst.jobs.service import JobService
from gp4u_server.catalyst.routing.service import Router
from gp4u_server.catalyst.standby.control import StandbyLoop
from gp4u_server.catalyst.standby.service import StandbyService
from gp4u_server.catalyst.telemetry.control import HeldDrainsLoop, PartitionLoop, rollup_loops
from gp4u_server.catalyst.telemetry.holds import DrainHolds
from gp4u_server.catalyst.telemetry.retention import Retention
from gp4u_server.controller.runner import ControlLoop
from gp4u_server.controller.turns import InTurn
from gp4u_server.foundation.incarnation import MarkStore
from gp4u_server.foundation.incarnation_watch import IncarnationWatch
from gp4u_server.foundation.platform import Platform
from gp4u_server.foundation.relay import OutboxPruning, OutboxRelay
from gp4u_server.foundation.streams import Streams
from gp4u_server.foundation.turns import Turns
from gp4u_server.kit.clock import Clock
from gp4u_server.kit.db import Database
from gp4u_server.market.control import OfferRefreshLoop
from gp4u_server.market.service import MarketService
from gp4u_server.nodes.service import NodeService


def control_loops(platform: Platform) -> list[ControlLoop]:
    """Every loop, each on the services that bootstrap provided."""
    database, jobs = platform.get(Database), platform.get(JobService)
    clock: Clock = platform.provided[Clock]
    turns = Turns(database, clock)
    watch = IncarnationWatch(database, platform.provided[MarkStore])
    return [
        InTurn(OutboxRelay(database, platform.get(Streams)), turns),
        InTurn(OutboxPruning(database), turns),
        watch,
        PlacingLoop(database, jobs, platform.get(Router), gate=watch),
        AskedStopsLoop(database, jobs),
        MovesLoop(database, jobs, platform.get(NodeService), clock, notice_s=platform.settings.notice_s),
        CapacityLoop(database, jobs, platform.get(NodeService)),
        LimitsLoop(database, jobs),
        StandbyLoop(database, platform.get(StandbyService)),
        DeadGatewayLoop(
            database,
            platform.get(HealthService),
            clock,
            AuthorityWatch(ttl_s=platform.settings.lease_ttl_s),
        ),
        PartitionLoop(database, clock, Retention.of(platform.settings)),
        *rollup_loops(database, clock),
        HeldDrainsLoop(database, platform.get(DrainHolds)),
        DutyLoop(database, platform.get(NodeService)),
        IncidentLoop(database, platform.get(IncidentService), platform.get(NodeService)),
        InTurn(TallyLoop(database, platform.get(NodeService)), turns),
        MeteringLoop(database, platform.get(BillingService), jobs, platform.get(HealthService)),
        TopUpLoop(platform.get(TopUpService)),
        InTurn(OfferRefreshLoop(database, platform.get(MarketService), clock), turns),
        CollectionLoop(database, platform.get(CheckpointCollection)),
        DeletionLoop(database, platform.get(CheckpointCollection)),
        FolderLoop(database, platform.get(CheckpointCollection)),
        BookingSweepLoop(database, jobs, platform.get(BookingHandlers)),
    ]
