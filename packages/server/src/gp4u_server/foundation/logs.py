"""Logs: one JSON object a line on standard error, in UTC, with secrets blanked out. Used by every process."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

_SECRET_NAMES = re.compile(r"password|secret|token|authorization|cookie|api_?key|credential", re.IGNORECASE)
_SECRET_VALUES = re.compile(
    r"gp4u_[0-9A-Za-z]{38}"  # API keys
    r"|eyJ[\w-]{8,}\.[\w-]+\.[\w-]*"  # JSON Web Tokens
    r"|(?<=://)[^/@\s:]*:[^/@\s]+(?=@)"  # user:password in an address
    r"|(?<=[?&]sig=)[\w%-]+"  # signed addresses
)
_BLANK = "[redacted]"


def configure_logs(level: str, *, process: str) -> None:
    """Send everything that any library logs through the same formatter. Call once, first thing in a process."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    structlog.contextvars.bind_contextvars(process=process)


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blank out members that are named like secrets, and secrets inside texts."""
    for name, value in event.items():
        if _SECRET_NAMES.search(name):
            event[name] = _BLANK
        elif isinstance(value, str):
            event[name] = _SECRET_VALUES.sub(_BLANK, value)
    return event
