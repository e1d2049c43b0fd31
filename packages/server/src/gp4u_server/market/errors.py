"""Situations of the market."""

from gp4u_server.kit.errors import DomainError, Kind, NotFound


class OfferNotFound(NotFound):
    """No such offer for this caller."""

    code = "offer_not_found"


class OfferTaken(DomainError):
    """The offer has not enough free GPUs any more, or is not listed any more."""

    code = "offer_taken"
    kind = Kind.CONFLICT


class OfferExists(DomainError):
    """The node has a live offer."""

    code = "offer_exists"
    kind = Kind.CONFLICT


class OfferWithdrawn(DomainError):
    """A withdrawn offer stays withdrawn."""

    code = "offer_withdrawn"
    kind = Kind.CONFLICT


class NodeHasNoGpu(DomainError):
    """There is nothing to offer."""

    code = "node_has_no_gpu"
    kind = Kind.CONFLICT


class TermsInvalid(DomainError):
    """Price, floor or durations contradict each other."""

    code = "terms_invalid"


class QueryInvalid(DomainError):
    """The query line cannot be read. Extra members: `position` (from 0), `field`, `suggestion`."""

    code = "query_invalid"


class UnknownField(QueryInvalid):
    """No such search field."""

    code = "unknown_field"


class BadValue(QueryInvalid):
    """The field exists; the value does not fit it."""

    code = "bad_value"


class BadOperator(QueryInvalid):
    """The field exists; the operator does not fit it."""

    code = "bad_operator"


class UnknownModel(DomainError):
    """No such GPU model in the catalogue. Extra member: `suggestion`."""

    code = "unknown_gpu_model"
