"""What can be wrong with a transfer."""

from gp4u_server.kit.errors import DomainError, Kind


class InsufficientFunds(DomainError):
    """An account would fall below its minimum."""

    code = "insufficient_funds"
    kind = Kind.PAYMENT_REQUIRED


class IdempotencyMismatch(DomainError):
    """The key was used before for something else."""

    code = "transfer_key_reused"
    kind = Kind.CONFLICT


class InvalidTransfer(DomainError):
    """The legs make no transfer: unbalanced, empty, zero, or an unknown kind of account. A bug of the caller."""

    code = "invalid_transfer"
