"""Situations around incidents."""

from gp4u_server.kit.errors import DomainError, Kind, NotFound


class IncidentNotFound(NotFound):
    """No such incident that this caller may see."""

    code = "incident_not_found"


class NothingToUndo(DomainError):
    """Nobody ruled on this incident, or the ruling was taken back."""

    code = "nothing_to_undo"
    kind = Kind.CONFLICT
