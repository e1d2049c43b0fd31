"""Situations of routing."""

from gp4u_server.kit.errors import DomainError, Kind


class RequirementsNotMet(DomainError):
    """The chosen offer can never run this job as it is specified."""

    code = "requirements_not_met"
    kind = Kind.INVALID
