"""What users of data clusters are told, as types; ``code`` is the name of the error in Sahara's API.

Everything that a request says wrong is an :class:`Invalid`; only what its path names can be NotFound.
"""

from __future__ import annotations

from framework.model.errors import Forbidden, Invalid, NotFound


class SchemaViolated(Invalid):
    """The request's body has not the shape that it should have; ``path: sentence`` for each fault."""

    code = "VALIDATION_ERROR"


class InvalidData(Invalid):
    """What the body says has the right shape, and cannot be."""

    code = "INVALID_DATA"


class InvalidReference(Invalid):
    """Something that the request names is not known, or not in a state that allows what is asked."""

    code = "INVALID_REFERENCE"


class NotThere(Invalid):
    """Something that the body needs, or names, is not there."""

    code = "NOT_FOUND"


class NameExists(Invalid):
    """Another object of the project has this name."""

    code = "NAME_ALREADY_EXISTS"

    def __init__(self, what: str, name: str) -> None:
        super().__init__(f"{what} with name '{name}' already exists")


class DuplicateEntry(Invalid):
    """Another object of the project has this name; said where Sahara leaves it to its database."""

    code = "DB_DUPLICATE_ENTRY"

    def __init__(self, what: str) -> None:
        super().__init__(f"Duplicate entry for {what}: ['name', 'tenant_id']")


class UpdateFailed(Invalid):
    """The object may not be changed, or not so."""

    code = "UPDATE_FAILED"


class DeletionFailed(Invalid):
    """The object may not be deleted, or is in use."""

    code = "DELETION_FAILED"


class ImageNotRegistered(Invalid):
    """The catalogue has the image, and nobody has registered it."""

    code = "IMAGE_NOT_REGISTERED"

    def __init__(self, image_id: str) -> None:
        super().__init__(f"Image {image_id} is not registered in Sahara")


class MalformedBody(Invalid):
    """The body is no JSON object."""

    code = "MALFORMED_REQUEST_BODY"

    def __init__(self, why: str) -> None:
        super().__init__(f"Malformed message body: {why}")


class BadPage(Invalid):
    """``limit``, ``sort_by`` or a filter of a list is wrong."""

    code = "400"


class NoSuchObject(NotFound):
    """What the path names is not there, or not for this caller."""

    code = "NOT_FOUND"

    def __init__(self, **identity: str) -> None:
        super().__init__(f"Object with {identity!r} not found")


class NotAllowed(Forbidden):
    """The caller may not do this."""

    code = "FORBIDDEN"

    def __init__(self, what: str = "You are not authorized to complete this action") -> None:
        super().__init__(what)
