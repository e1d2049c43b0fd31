"""Situations around nodes."""

from gp4u_server.kit.errors import DomainError, Kind, NotFound


class NodeNotFound(NotFound):
    """No such node of this caller."""

    code = "node_not_found"


class EnrolmentTokenInvalid(DomainError):
    """Unknown, used or expired: which of them is told to nobody."""

    code = "enrolment_token_invalid"
    kind = Kind.UNAUTHENTICATED


class ProofInvalid(DomainError):
    """The signature does not belong to the public key."""

    code = "proof_invalid"
    kind = Kind.UNAUTHENTICATED


class KeyInUse(DomainError):
    """Another node has this key."""

    code = "key_in_use"
    kind = Kind.CONFLICT


class NodeNameTaken(DomainError):
    """Another node has this name."""

    code = "node_name_taken"
    kind = Kind.CONFLICT


class DeviceElsewhere(DomainError):
    """A GPU with this UUID is enrolled in another node."""

    code = "device_elsewhere"
    kind = Kind.CONFLICT


class SimulationRefused(DomainError):
    """Simulated nodes are for demonstrations only."""

    code = "simulation_refused"
    kind = Kind.FORBIDDEN


class NodeWasRemoved(DomainError):
    """The owner removed this node; its key opens nothing any more."""

    code = "node_removed"
    kind = Kind.FORBIDDEN


class NodeBusy(DomainError):
    """Jobs run on the node."""

    code = "node_busy"
    kind = Kind.CONFLICT


class AgentTokenInvalid(DomainError):
    """The bearer token is not one of an agent, or is over."""

    code = "agent_token_invalid"
    kind = Kind.UNAUTHENTICATED


class DevicesTaken(DomainError):
    """Fewer devices are free than were asked for."""

    code = "devices_taken"
    kind = Kind.CONFLICT


class WindowInvalid(DomainError):
    """A maintenance window that cannot be planned like this."""

    code = "window_invalid"


class WindowNotFound(NotFound):
    """The node has no such maintenance window."""

    code = "window_not_found"
