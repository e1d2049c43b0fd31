"""The base of every task: what happens when one fails, hangs, or takes its process down.

* It raises: tried again a few times, later and later and not all at once, then buried (foundation.dead_tasks).
* It hangs: stopped by the time limits, then as above.
* It kills its process (out of memory, a crash in C): the message comes back at once, because it is acknowledged late;
  deliveries are counted in Valkey, and after the third it is buried instead of run.
"""

from typing import Any

import redis
import structlog
from celery import Task
from celery.exceptions import Reject
from sqlalchemy.exc import InterfaceError, OperationalError

from gp4u_server.foundation.dead_tasks import bury
from gp4u_server.foundation.platform import Platform
from gp4u_server.kit.db import Database
from gp4u_server.settings import Settings
from gp4u_server.worker.runtime import run

log = structlog.get_logger(__name__)

DELIVERIES_MAX = 3
COUNTED_FOR_S = 86_400


class PlatformTask(Task):  # type: ignore[misc]
    """Set as the app's task class; tasks themselves only say what they do."""

    abstract = True
    autoretry_for = (OperationalError, InterfaceError, redis.RedisError, OSError)
    max_retries = 5
    retry_backoff = True
    retry_backoff_max = 300
    retry_jitter = True

    def before_start(self, task_id: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Bury a message that took its process down too often. Raises Reject, which drops it."""
        deliveries = _count_delivery(task_id, self.request.retries)
        if deliveries > DELIVERIES_MAX:
            self._bury(task_id, args, kwargs, f"its process died {DELIVERIES_MAX} times")
            raise Reject(f"{self.name} was delivered {deliveries} times", requeue=False)

    def on_failure(
        self, exc: BaseException, task_id: str, args: tuple[Any, ...], kwargs: dict[str, Any], einfo: object
    ) -> None:
        """After the last try."""
        if not isinstance(exc, Reject):
            self._bury(task_id, args, kwargs, f"{type(exc).__name__}: {exc}")

    def _bury(self, task_id: str, args: tuple[Any, ...], kwargs: dict[str, Any], reason: str) -> None:
        log.error("task given up", task=self.name, task_id=task_id, reason=reason)

        async def write(platform: Platform) -> None:
            arguments = {
                "args": [repr(arg) for arg in args],
                "kwargs": {k: repr(v) for k, v in kwargs.items()},
            }
            async with platform.get(Database).transaction() as session:
                await bury(
                    session, task_id=task_id, task=self.name, arguments=arguments, reason=reason[:1000]
                )

        run(write)


def _count_delivery(task_id: str, retries: int) -> int:
    # A retry is a delivery that we asked for, so each one is counted for itself.
    key = f"gp4u:task:{task_id}:{retries}"
    client = redis.Redis.from_url(Settings().redis_url, socket_timeout=2)
    try:
        count = int(client.incr(key))
        client.expire(key, COUNTED_FOR_S)
        return count
    except redis.RedisError:
        return 1  # without the broker there is no second delivery either
    finally:
        client.close()
