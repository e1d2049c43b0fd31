"""Pure rules of bookings."""

from collections.abc import Collection, Iterable

from gp4u_protocol.job_spec import BookingKind, JobSpec

from gp4u_server.market.types import OfferView


def cheapest_rate(offers: Iterable[OfferView], spec: JobSpec, models: Collection[str]) -> int | None:
    """Micro-units per hour of the cheapest offer that could run the job now, None when there is none.

    `models` are the catalogue's names that the job accepts; empty means any.
    Only what makes a price comparable is looked at; the router has the last word on what fits.
    """
    wanted = spec.resources
    rates = [
        offer.rate_per_hour_micros(wanted.gpus, spec.kind)
        for offer in offers
        if offer.is_bookable
        and offer.gpus_free >= wanted.gpus
        and offer.vram_gb >= wanted.vram_gb_min
        and (not models or offer.gpu_model in models)
        and (not wanted.regions or offer.region in wanted.regions)
        and offer.cpus >= wanted.cpus
        and offer.memory_gb >= wanted.memory_gb
        and (spec.kind is BookingKind.ON_DEMAND or offer.interruptible_floor_micros is not None)
    ]
    ceiling = spec.budget.per_hour_micros_max
    return min((rate for rate in rates if ceiling is None or rate <= ceiling), default=None)
