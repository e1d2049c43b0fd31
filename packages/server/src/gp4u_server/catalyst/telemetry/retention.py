"""How long readings are kept."""

from dataclasses import dataclass
from datetime import timedelta

from gp4u_server.catalyst.telemetry.summing import Resolution
from gp4u_server.settings import Settings


@dataclass(frozen=True)
class Retention:
    """How long rows are kept; None: for ever."""

    samples: timedelta = timedelta(hours=24)
    minutes: timedelta = timedelta(days=31)
    hours: timedelta | None = None

    @classmethod
    def of(cls, settings: Settings) -> "Retention":
        """As the operator set it."""
        days = settings.telemetry_keep_hours_days
        return cls(
            timedelta(hours=settings.telemetry_keep_samples_hours),
            timedelta(days=settings.telemetry_keep_minutes_days),
            timedelta(days=days) if days else None,
        )

    def as_table(self) -> dict[Resolution, timedelta | None]:
        """By resolution."""
        return {
            Resolution.TEN_SECONDS: self.samples,
            Resolution.MINUTE: self.minutes,
            Resolution.HOUR: self.hours,
        }
