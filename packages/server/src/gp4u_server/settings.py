"""Every setting of the platform, from the environment. One class, read once by the entry points.

`gp4u up` fills the environment of its children; a cluster fills it itself. Names are the field names in upper case
with the prefix GP4U_, except the two that every platform knows: DATABASE_URL and REDIS_URL.
"""

from pathlib import Path

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from gp4u_protocol.lease import HEARTBEAT_INTERVAL_S, LEASE_TTL_S


class Settings(BaseSettings):
    """See each field's description; `docs/settings.md` is made from them."""

    model_config = SettingsConfigDict(env_prefix="GP4U_", extra="ignore", frozen=True)

    database_url: str = Field(validation_alias=AliasChoices("DATABASE_URL", "GP4U_DATABASE_URL"))
    redis_url: str = Field(validation_alias=AliasChoices("REDIS_URL", "GP4U_REDIS_URL"))
    public_url: str = Field(
        default="http://127.0.0.1:8000", description="address that browsers and agents use"
    )
    secrets_dir: Path = Field(description="folder with signing.pem (Ed25519) and master.key (32 bytes)")

    object_store_dir: Path | None = Field(default=None, description="folder store; or set the S3 fields")
    s3_endpoint: str | None = Field(default=None, validation_alias="S3_ENDPOINT")
    s3_bucket: str | None = Field(default=None, validation_alias="S3_BUCKET")
    s3_region: str = Field(default="us-east-1", validation_alias="S3_REGION")
    s3_access_key_id: str | None = Field(default=None, validation_alias="S3_ACCESS_KEY_ID")
    s3_secret_access_key: SecretStr | None = Field(default=None, validation_alias="S3_SECRET_ACCESS_KEY")

    demo: bool = False
    demo_socket: Path | None = Field(default=None, description="control socket of the demo fleet")

    heartbeat_interval_s: float = HEARTBEAT_INTERVAL_S
    lease_ttl_s: float = LEASE_TTL_S
    owner_share_percent: int = Field(default=80, ge=0, le=100)
    operator_share_percent: int = Field(default=85, ge=0, le=100)
    billing_period_s: int = Field(default=60, ge=1, description="how often running time is posted")
    currency: str = "USD"
    log_level: str = "INFO"

    # Rates are per minute. They are wide enough for the demo and for load tests from one address.
    requests_per_minute: int = Field(default=60_000, ge=1, description="of one account, or of one address")
    sign_ins_per_minute: int = Field(default=300, ge=1, description="attempts from one address")
    failed_sign_ins_per_minute: int = Field(default=10, ge=1, description="attempts on one account")
    registrations_per_minute: int = Field(default=120, ge=1, description="new accounts from one address")
    body_bytes_max: int = Field(default=1 << 20, ge=1024, description="of a request; some routes differ")
