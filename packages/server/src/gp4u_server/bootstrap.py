"""The only place where ports meet adapters: builds every service once and subscribes them to each other's events.

Each domain has one function here that takes the platform built so far and provides its services. The order is that
of the layers (docs/architecture.md), lowest first. The api, gateway, controller and worker all build the same
platform; what only one of them runs (loops, tasks) is started by that entry point.
"""

from datetime import timedelta
from ipaddress import ip_address
from urllib.parse import urlsplit

from redis.asyncio import Redis
from sqlalchemy import text

from gp4u_server.accounts.api_keys import ApiKeys
from gp4u_server.accounts.authenticator import Authenticator
from gp4u_server.accounts.cookies import Cookies
from gp4u_server.accounts.passwords import PasswordHasher
from gp4u_server.accounts.service import Accounts
from gp4u_server.accounts.tokens import TokenSigner
from gp4u_server.adapters.objectstore import FolderObjectStore, open_object_store
from gp4u_server.adapters.payments import SandboxPayments
from gp4u_server.admin.service import AdminDesk
from gp4u_server.billing.service import BillingService
from gp4u_server.billing.shares import OwnerShares
from gp4u_server.billing.statements import Statements
from gp4u_server.billing.top_ups import TopUpService
from gp4u_server.billing.types import BillingTerms
from gp4u_server.bookings.capacity import BookingCapacity
from gp4u_server.bookings.handlers import BookingHandlers
from gp4u_server.bookings.service import BookingService
from gp4u_server.bookings.standbys import StandbyMeters, StandbyObjects
from gp4u_server.catalyst.checkpoints.choosing import CheckpointChoices
from gp4u_server.catalyst.checkpoints.collection import CheckpointCollection, CollectionTerms
from gp4u_server.catalyst.checkpoints.ports import ObjectStore
from gp4u_server.catalyst.checkpoints.service import CheckpointService, StoredFootprint
from gp4u_server.catalyst.failover.handlers import CapacityHandlers
from gp4u_server.catalyst.health.service import HealthService
from gp4u_server.catalyst.incidents.decisions import Patience
from gp4u_server.catalyst.incidents.opening import Opening
from gp4u_server.catalyst.incidents.service import IncidentService
from gp4u_server.catalyst.jobs.data_keys import DataKeys
from gp4u_server.catalyst.jobs.live import LiveJobs
from gp4u_server.catalyst.jobs.reading import JobReader
from gp4u_server.catalyst.jobs.service import JobService
from gp4u_server.catalyst.routing.service import Router
from gp4u_server.catalyst.standby.handlers import StandbyHandlers
from gp4u_server.catalyst.standby.reading import StandbyReader
from gp4u_server.catalyst.standby.service import StandbyService
from gp4u_server.catalyst.standby.succession import Succession
from gp4u_server.catalyst.standby.types import StandbyTerms
from gp4u_server.catalyst.telemetry.drain_guard import GuardTerms
from gp4u_server.catalyst.telemetry.retention import Retention
from gp4u_server.catalyst.telemetry.service import TelemetryService
from gp4u_server.foundation.events import EventBus
from gp4u_server.foundation.incarnation import MarkStore
from gp4u_server.foundation.outbox import PostgresOutbox
from gp4u_server.foundation.platform import Platform
from gp4u_server.foundation.rate_limit import RateLimiter
from gp4u_server.foundation.streams import Streams
from gp4u_server.kit.clock import Clock, SystemClock
from gp4u_server.kit.db import Database, connect
from gp4u_server.ledger.service import LedgerService
from gp4u_server.market.catalogue import load as load_catalogue
from gp4u_server.market.handlers import MarketHandlers
from gp4u_server.market.service import MarketService
from gp4u_server.nodes.addresses import PublicAddress
from gp4u_server.nodes.service import NodeService
from gp4u_server.nodes.tokens import AgentTokens
from gp4u_server.settings import Settings

VALKEY_PATIENCE_S = 2.0


def build(settings: Settings, *, process: str = "gp4u", clock: Clock | None = None) -> Platform:
    """Wire the platform. Opens no connection yet; reads the keys in `settings.secrets_dir`."""
    platform = Platform(settings)
    clock = clock or SystemClock()
    _foundation(platform, process, clock)
    _accounts(platform, clock)
    _object_store(platform)
    _nodes_and_market(platform, clock)
    _money(platform, clock)
    _jobs(platform)
    _telemetry(platform, clock)
    _health(platform)
    _incidents(platform)
    _bookings(platform, clock)
    platform.provide(AdminDesk(platform.get(Database), platform.get(Streams), clock))
    return platform


def _foundation(platform: Platform, process: str, clock: Clock) -> None:
    settings = platform.settings
    database = connect(settings.database_url, application_name=f"gp4u-{process}")
    valkey = Redis.from_url(
        settings.redis_url, socket_timeout=VALKEY_PATIENCE_S, socket_connect_timeout=VALKEY_PATIENCE_S
    )
    limiter = RateLimiter.on_valkey(settings.redis_url)
    platform.provide(settings)
    platform.provide(clock, as_type=Clock)
    platform.provide(database)
    platform.provide(valkey, as_type=Redis)
    platform.provide(limiter)
    platform.provide(EventBus(PostgresOutbox()))
    platform.closers += [database.close, valkey.aclose, limiter.close]

    async def postgresql_answers() -> None:
        async with database.engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    async def valkey_answers() -> None:
        await valkey.ping()

    platform.probes |= {"postgresql": postgresql_answers, "valkey": valkey_answers}


def _accounts(platform: Platform, clock: Clock) -> None:
    settings, database = platform.settings, platform.get(Database)
    signer = TokenSigner.load(settings.secrets_dir, clock)
    hasher = PasswordHasher()
    platform.provide(signer)
    demo = _demo_is_open(settings)
    platform.provide(Accounts(database, signer, hasher, clock, demo))
    platform.provide(ApiKeys(clock))
    platform.provide(Authenticator(database, signer, Cookies.of(settings.public_url), clock, demo))
    platform.closers.append(hasher.aclose)


def _demo_is_open(settings: Settings) -> bool:
    """Whether demo accounts are let in: where the demo runs, and only this machine can reach it."""
    host = urlsplit(settings.public_url).hostname or ""
    if not settings.demo:
        return False
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _object_store(platform: Platform) -> None:
    store = open_object_store(platform.settings)
    platform.provide(store, as_type=ObjectStore)
    platform.provide(store, as_type=MarkStore)
    if isinstance(store, FolderObjectStore):
        platform.provide(store)  # its own signed addresses are served by our api

    async def answers() -> None:
        await store.size_of("readiness-probe")

    platform.probes["object_store"] = answers


def _nodes_and_market(platform: Platform, clock: Clock) -> None:
    bus, settings = platform.get(EventBus), platform.settings
    catalogue = load_catalogue()
    nodes = NodeService(bus, clock, catalogue, allow_simulated=platform.settings.demo)
    market = MarketService(nodes, catalogue, clock)
    platform.provide(AgentTokens(platform.get(TokenSigner)))
    platform.provide(catalogue)
    platform.provide(nodes)
    platform.provide(market)
    platform.provide(PublicAddress.of(settings.public_url, settings.gateway_urls, settings.api_urls))
    MarketHandlers(market).subscribe(bus)


def _money(platform: Platform, clock: Clock) -> None:
    settings, database = platform.settings, platform.get(Database)
    ledger = LedgerService()
    shares = OwnerShares(
        platform.get(Accounts), settings.owner_share_percent, settings.operator_share_percent
    )
    terms = BillingTerms(
        period_s=settings.billing_period_s, confirm_lag_s=settings.lease_ttl_s, currency=settings.currency
    )
    statements = Statements(ledger, shares, clock, settings.currency)
    platform.provide(ledger)
    platform.provide(BillingService(ledger, platform.get(EventBus), clock, shares, terms))
    platform.provide(statements)
    platform.provide(TopUpService(database, ledger, statements, SandboxPayments(), clock, settings.currency))


def _bookings(platform: Platform, clock: Clock) -> None:
    market, billing = platform.get(MarketService), platform.get(BillingService)
    jobs = platform.get(JobService)
    checkpoints = CheckpointService(jobs, platform.provided[ObjectStore])
    choices = CheckpointChoices(jobs)
    meters = StandbyMeters(billing)
    router = Router(
        market,
        jobs,
        BookingCapacity(market, billing),
        clock,
        StoredFootprint(),
        Succession(jobs, meters),
        notice_s=platform.settings.notice_s,
    )
    standbys = StandbyService(
        jobs,
        meters,
        nodes=platform.get(NodeService),
        market=market,
        scoring=router,
        objects=StandbyObjects(checkpoints),
        terms=StandbyTerms(rate_bps=platform.settings.standby_rate_bps),
    )
    handlers = BookingHandlers(market, billing, jobs)
    platform.provide(router)
    platform.provide(standbys)
    platform.provide(handlers)
    platform.provide(
        BookingService(jobs, router, market, billing, platform.get(Statements), checkpoints, choices)
    )
    platform.provide(checkpoints)
    platform.provide(choices)
    platform.provide(
        CheckpointCollection(jobs, platform.provided[ObjectStore], CollectionTerms.of(platform.settings))
    )
    handlers.subscribe(platform.get(EventBus))
    CapacityHandlers(jobs).subscribe(platform.get(EventBus))
    StandbyHandlers(standbys).subscribe(platform.get(EventBus))


def _jobs(platform: Platform) -> None:
    settings, database = platform.settings, platform.get(Database)
    streams = Streams.connect(settings.redis_url)
    reader = JobReader(streams, StandbyReader())
    platform.provide(streams)
    platform.provide(reader)
    platform.provide(LiveJobs(database, reader, streams))
    platform.provide(
        JobService(
            platform.get(EventBus), DataKeys.from_folder(settings.secrets_dir), platform.get(NodeService)
        )
    )
    platform.closers.append(streams.close)


def _telemetry(platform: Platform, clock: Clock) -> None:
    retention = Retention.of(platform.settings)
    guard = GuardTerms(
        nodes_min=platform.settings.drain_hold_nodes_min,
        percent=platform.settings.drain_hold_percent,
        window=timedelta(seconds=platform.settings.drain_hold_window_s),
    )
    telemetry = TelemetryService(platform.get(EventBus), clock, platform.get(NodeService), retention, guard)
    platform.provide(telemetry)
    platform.provide(telemetry.holds)


def _health(platform: Platform) -> None:
    platform.provide(
        HealthService(platform.get(NodeService), platform.get(JobService), platform.settings.lease_ttl_s)
    )


def _incidents(platform: Platform) -> None:
    bus, nodes = platform.get(EventBus), platform.get(NodeService)
    patience = Patience(
        settle_pause_s=platform.settings.incident_settle_pause_s,
        node_limit_s=platform.settings.incident_time_limit_s,
    )
    Opening(bus, nodes, patience).subscribe()
    platform.provide(
        IncidentService(bus, nodes, platform.get(JobService), platform.get(TelemetryService), patience)
    )
