"""Every setting of the platform, from the environment. One class, read once by the entry points.

`gp4u up` fills the environment of its children; a cluster fills it itself. Names are the field names in upper case
with the prefix GP4U_, except the two that every platform knows: DATABASE_URL and REDIS_URL.
"""

from pathlib import Path
from typing import Annotated

from gp4u_protocol.lease import HEARTBEAT_INTERVAL_S, LEASE_TTL_MAX_S, LEASE_TTL_S
from pydantic import AliasChoices, BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


def _separated(value: object) -> object:
    return tuple(part for part in value.replace(",", " ").split()) if isinstance(value, str) else value


Addresses = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_separated)]


class Settings(BaseSettings):
    """See each field's description; `docs/settings.md` is made from them."""

    model_config = SettingsConfigDict(env_prefix="GP4U_", extra="ignore", frozen=True)

    database_url: str = Field(
        validation_alias=AliasChoices("DATABASE_URL", "GP4U_DATABASE_URL"),
        description="PostgreSQL: the only truth",
    )
    redis_url: str = Field(
        validation_alias=AliasChoices("REDIS_URL", "GP4U_REDIS_URL"),
        description="Valkey or Redis, `redis://…` or `unix://…`: fan-out, rate limits, tasks; may be lost at any time",
    )
    public_url: str = Field(
        default="http://127.0.0.1:8000", description="address that browsers and agents use"
    )
    gateway_urls: Addresses = Field(
        default=(),
        description="where agents reach single gateways, comma-separated (`wss://a.example,wss://b.example:8443`); "
        "empty: all through the public address",
    )
    api_urls: Addresses = Field(
        default=(),
        description="addresses of the API that agents may use beside the public one, comma-separated",
    )
    trusted_proxies: Addresses = Field(
        default=("127.0.0.1", "::1"),
        description="addresses and networks of the proxies before the api, comma-separated: only they may say who calls",
    )
    secrets_dir: Path = Field(description="folder with signing.pem (Ed25519) and master.key (32 bytes)")

    object_store_dir: Path | None = Field(default=None, description="folder store; or set the S3 fields")
    s3_endpoint: str | None = Field(
        default=None,
        validation_alias="S3_ENDPOINT",
        description="address of an S3 store; unset for Amazon's own",
    )
    s3_bucket: str | None = Field(
        default=None, validation_alias="S3_BUCKET", description="bucket for packs and uploads"
    )
    s3_region: str = Field(
        default="us-east-1", validation_alias="S3_REGION", description="region of the bucket"
    )
    s3_access_key_id: str | None = Field(
        default=None, validation_alias="S3_ACCESS_KEY_ID", description="who we are at the store"
    )
    s3_secret_access_key: SecretStr | None = Field(
        default=None, validation_alias="S3_SECRET_ACCESS_KEY", description="and its secret"
    )

    demo: bool = Field(default=False, description="demo controls and simulated nodes; loopback only")
    demo_nodes: int = Field(
        default=6, ge=1, le=200, description="simulated nodes of the demo; after the sixth they repeat"
    )
    demo_socket: Path | None = Field(default=None, description="control socket of the demo fleet")

    heartbeat_interval_s: float = Field(
        default=HEARTBEAT_INTERVAL_S, description="how often an agent renews its leases"
    )
    lease_ttl_s: float = Field(
        default=LEASE_TTL_S,
        description="a node silent for this long is lost, and its jobs move (docs/design/leases.md); longer on a bad link",
    )
    lease_ttl_max_s: float = Field(
        default=LEASE_TTL_MAX_S,
        gt=0,
        le=LEASE_TTL_MAX_S,
        description="how long that may become for a node whose link is bad; not more than lease_ttl_s: never longer",
    )
    telemetry_every_s: float = Field(
        default=10.0,
        ge=1,
        le=300,
        description="how often an agent sends its readings; 10 s is what is stored",
    )
    telemetry_keep_samples_hours: int = Field(
        default=24, ge=3, description="how long readings are kept at 10 s (docs/design/telemetry.md)"
    )
    telemetry_keep_minutes_days: int = Field(default=31, ge=2, description="and summed up by minute")
    telemetry_keep_hours_days: int = Field(default=0, ge=0, description="and by hour; 0: for ever")
    drain_hold_nodes_min: int = Field(
        default=3,
        ge=2,
        description="so many nodes at least, and more than the percentage below, that show one critical sign within the window: "
        "their drains are held until an admin decides (docs/design/telemetry.md)",
    )
    drain_hold_percent: int = Field(default=5, ge=0, le=100, description="of the nodes that are connected")
    drain_hold_window_s: float = Field(default=600.0, ge=1, description="how far back is looked")
    notice_s: float = Field(
        default=60.0,
        ge=5,
        le=900,
        description="notice that a job gets before it leaves its node for maintenance, a drain with a deadline, or an "
        "on-demand job (interruptible bookings)",
    )
    incident_settle_pause_s: float = Field(
        default=15.0,
        ge=0,
        description="how long after a lost node is back, or a run ended, its incident is first looked at",
    )
    incident_time_limit_s: float = Field(
        default=6 * 3600.0,
        ge=1,
        description="a loss whose node is not back after this long is settled with what is known",
    )
    owner_share_percent: int = Field(default=80, ge=0, le=100, description="of each charge, to an owner")
    operator_share_percent: int = Field(
        default=85, ge=0, le=100, description="to an owner with the role operator"
    )
    standby_rate_bps: int = Field(
        default=500,
        ge=1,
        le=10_000,
        description="what a hot standby costs while it is ready, in basis points of its node's own rate",
    )
    checkpoint_keep_last: int = Field(
        default=5,
        ge=1,
        le=1000,
        description="newest checkpoints that a job keeps, unless its own rule says otherwise",
    )
    checkpoint_keep_hourly: int = Field(
        default=24, ge=0, le=1000, description="and the newest of each of this many hours that have one"
    )
    checkpoint_keep_ended_days: int = Field(
        default=30,
        ge=1,
        description="how long an ended job keeps its checkpoints and folder; pinned ones stay",
    )
    checkpoint_collect_every_s: int = Field(
        default=300, ge=1, description="how often a job's checkpoints are looked through"
    )
    checkpoint_collect_grace_s: int = Field(
        default=86_400,
        ge=3_600,
        description="how long nothing may have needed an object before it is deleted; longer than any signed address",
    )
    billing_period_s: int = Field(default=60, ge=1, description="how often running time is posted")
    currency: str = Field(default="USD", description="the one currency of this marketplace")
    log_level: str = Field(default="INFO", description="DEBUG, INFO, WARNING or ERROR")

    # Rates are per minute. They are wide enough for the demo and for load tests from one address.
    requests_per_minute: int = Field(default=60_000, ge=1, description="of one account, or of one address")
    sign_ins_per_minute: int = Field(default=300, ge=1, description="attempts from one address")
    failed_sign_ins_per_minute: int = Field(default=10, ge=1, description="attempts on one account")
    registrations_per_minute: int = Field(default=120, ge=1, description="new accounts from one address")
    body_bytes_max: int = Field(default=1 << 20, ge=1024, description="of a request; some routes differ")
