"""Situations of standbys."""

from gp4u_server.kit.errors import DomainError, Kind


class StandbyNotFound(DomainError):
    """This node stands by for no such job (any more)."""

    code = "standby_not_found"
    kind = Kind.NOT_FOUND
