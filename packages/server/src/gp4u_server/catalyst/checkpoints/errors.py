"""Situations of checkpoints."""

from typing import ClassVar

from gp4u_server.kit.errors import DomainError, Kind, NotFound


class CheckpointNotFound(NotFound):
    """No such checkpoint of this job."""

    code: ClassVar[str] = "checkpoint_not_found"


class UploadNotFound(NotFound):
    """No such upload for this caller, or its bytes never arrived."""

    code: ClassVar[str] = "upload_not_found"


class CheckpointConflict(DomainError):
    """Another checkpoint has this epoch and sequence already."""

    code: ClassVar[str] = "checkpoint_conflict"
    kind: ClassVar[Kind] = Kind.CONFLICT


class ObjectsMissing(DomainError):
    """The commit names objects that are not stored as announced; nothing was committed."""

    code: ClassVar[str] = "objects_missing"
    kind: ClassVar[Kind] = Kind.CONFLICT


class PacksUnknown(DomainError):
    """The commit names packs that were never announced for this job, or with another length."""

    code: ClassVar[str] = "packs_unknown"
    kind: ClassVar[Kind] = Kind.INVALID


class TooManyPinned(DomainError):
    """The job has as many pinned checkpoints as it may have."""

    code: ClassVar[str] = "too_many_pinned"
    kind: ClassVar[Kind] = Kind.CONFLICT
