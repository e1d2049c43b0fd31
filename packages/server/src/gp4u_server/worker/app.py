"""The Celery application: `celery --app gp4u_server.worker.app:app worker` and `… beat`."""

from typing import Any

from celery import Celery

from gp4u_server.settings import Settings
from gp4u_server.worker.base import PlatformTask

SWEEP_EVERY_S = 300.0


def configuration() -> dict[str, Any]:
    """Read when the worker starts, not when this module is imported."""
    return {
        "broker_url": Settings().redis_url,
        "broker_connection_retry_on_startup": True,
        # Valkey gives a message out again when nobody acknowledged it for this long.
        "broker_transport_options": {"visibility_timeout": 3600, "global_keyprefix": "gp4u:celery:"},
        "task_default_queue": "gp4u",
        "task_ignore_result": True,
        "task_serializer": "json",
        "accept_content": ["json"],
        # Acknowledged when done: a task of a killed worker runs again. PlatformTask bounds how often.
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_soft_time_limit": 60,
        "task_time_limit": 90,
        "worker_prefetch_multiplier": 1,
        "worker_max_tasks_per_child": 1000,
        "worker_max_memory_per_child": 512_000,  # KiB
        "worker_concurrency": 2,
        "worker_hijack_root_logger": False,
        "timezone": "UTC",
        "beat_schedule": {
            name: {
                "task": f"gp4u_server.worker.sweeps.{name}",
                "schedule": SWEEP_EVERY_S,
                # One that waited longer than this has its successor behind it already.
                "options": {"expires": SWEEP_EVERY_S},
            }
            for name in ("idempotency_keys", "sessions", "enrolment_tokens", "outbox")
        },
    }


app = Celery("gp4u", task_cls=PlatformTask, include=["gp4u_server.worker.sweeps"])
app.add_defaults(configuration)
