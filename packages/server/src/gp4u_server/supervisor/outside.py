"""Servers of the host's own, named in the environment: each is tried before anything is built on it."""

import asyncio
from collections.abc import Mapping

import psycopg
import redis

from gp4u_server.adapters.objectstore import S3ObjectStore
from gp4u_server.catalyst.checkpoints.ports import StoreUnavailable
from gp4u_server.supervisor.errors import OptionsConflict, UpFailed

TIMEOUT_S = 5
STORE_TIMEOUT_S = 15.0
POSTGRES_VERSION_MIN = 180000


def try_database(url: str) -> None:
    """Raises UpFailed when PostgreSQL 18 or newer does not answer at `url`."""
    try:
        with psycopg.connect(url, connect_timeout=TIMEOUT_S) as connection:
            version = connection.info.server_version
    except psycopg.Error as error:
        raise UpFailed(
            f"DATABASE_URL is set, but the database does not answer: {_reason(error)}. Correct it, or unset it to "
            "use the embedded PostgreSQL."
        ) from error
    if version < POSTGRES_VERSION_MIN:
        raise UpFailed(
            f"The database of DATABASE_URL is PostgreSQL {version // 10000}; GP4U needs 18 or newer."
        )


def try_cache(url: str) -> None:
    """Raises UpFailed when no Valkey or Redis answers at `url`."""
    try:
        client = redis.Redis.from_url(url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)
        client.ping()
        client.close()
    except (redis.RedisError, ValueError) as error:
        raise UpFailed(
            f"REDIS_URL is set, but the server does not answer: {_reason(error)}. Correct it, or unset it to use the "
            "embedded Valkey."
        ) from error


def names_a_store(environment: Mapping[str, str]) -> bool:
    """Whether S3 is to be used instead of the folder. Raises OptionsConflict for an endpoint without a bucket."""
    if environment.get("S3_ENDPOINT") and not environment.get("S3_BUCKET"):
        raise OptionsConflict(
            "S3_ENDPOINT is set, but S3_BUCKET is not. Name a bucket that exists, or unset both to keep checkpoints in "
            "the data folder."
        )
    return bool(environment.get("S3_BUCKET"))


async def try_store(environment: Mapping[str, str], timeout_s: float = STORE_TIMEOUT_S) -> None:
    """Raises UpFailed when the bucket of S3_BUCKET cannot be read."""
    bucket = environment["S3_BUCKET"]
    store = S3ObjectStore.connect(
        endpoint=environment.get("S3_ENDPOINT") or None,
        bucket=bucket,
        region=environment.get("S3_REGION") or "us-east-1",
        access_key_id=environment.get("S3_ACCESS_KEY_ID") or None,
        secret=environment.get("S3_SECRET_ACCESS_KEY") or None,
    )
    try:
        async with asyncio.timeout(timeout_s):
            await store.size_of("readiness-probe")
    except (StoreUnavailable, TimeoutError) as error:
        why = _reason(error.__cause__) if error.__cause__ else ""
        where = environment.get("S3_ENDPOINT") or "Amazon S3"
        raise UpFailed(
            f"S3_BUCKET is set, but {bucket!r} at {where} cannot be used"
            f"{f': {why}' if why else f': no answer within {timeout_s:.0f} s'}. Correct the S3_* variables, or unset them "
            "to keep checkpoints in the data folder."
        ) from error


def _reason(error: BaseException) -> str:
    """The first line of what the library says, without its full stop."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")[:300]
