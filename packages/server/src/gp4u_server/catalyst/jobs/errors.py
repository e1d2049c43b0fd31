"""Situations of jobs."""

from typing import ClassVar

from gp4u_server.kit.errors import DomainError, Kind, NotFound


class JobNotFound(NotFound):
    """No such job for this caller; another renter's job answers the same."""

    code: ClassVar[str] = "job_not_found"


class StaleEpoch(DomainError):
    """The placement is over or another epoch owns the job: whoever asked must stop its run."""

    code: ClassVar[str] = "stale_epoch"
    kind: ClassVar[Kind] = Kind.CONFLICT


class JobAlreadyPlaced(DomainError):
    """Somebody else placed or ended the job in the meantime."""

    code: ClassVar[str] = "job_already_placed"
    kind: ClassVar[Kind] = Kind.CONFLICT
