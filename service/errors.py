"""Errors of the service itself; those of the engine are in ``augment.errors``.

ServiceError
├── MalformedError          400  the request cannot be understood
├── UnauthorizedError       401  no key, or one that is not known
├── ForbiddenError          403  a path outside the data roots, a preset that is read-only
├── NotFoundError           404  no such dataset, pipeline, stream, job, sample
├── SlowBodyError           408  the next piece of the body does not come
├── ConflictError           409  the name holds something else, or is in use
├── TooLargeError           413  the body, or what it unpacks to
│   └── NoRoomError         413  the home holds as many bytes as it may
├── MediaTypeError          415  a content type or format that is not served
├── RepeatedKeyError        422  an Idempotency-Key that came with another request before
├── BusyError               429  the queue is full; carries the seconds after which to ask again
├── MeasuringError          503  a dataset's mean and deviation are not there yet
├── StartingError           503  the workers are not ready yet
└── DrainingError           503  the service is about to stop
"""

from collections.abc import Sequence

from augment.errors import Problem


class ServiceError(Exception):
    """Anything the service refuses; the message is one line and ends with the remedy.

    ``problems`` are the places in the request that are wrong, if they are known. In messages ``URL/`` stands for the
    service's own address, and a command is between backticks.
    """

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        self.problems = tuple(problems)
        super().__init__(message)


class MalformedError(ServiceError):
    """The request cannot be understood."""


class UnauthorizedError(ServiceError):
    """No key was presented, or one that is not known."""


class ForbiddenError(ServiceError):
    """The caller is known, but this is not theirs to touch."""


class NotFoundError(ServiceError):
    """There is nothing under this name or address."""


class SlowBodyError(ServiceError):
    """The next piece of a body did not come in time; the connection is closed."""


class ConflictError(ServiceError):
    """The state of what is named does not allow it."""


class TooLargeError(ServiceError):
    """More bytes than a limit allows."""


class NoRoomError(TooLargeError):
    """The home holds as many bytes as it may."""


class MediaTypeError(ServiceError):
    """A content type or a format that is not served."""


class RepeatedKeyError(ServiceError):
    """The Idempotency-Key came with another request before (draft-ietf-httpapi-idempotency-key-header)."""


class BusyError(ServiceError):
    """The queue is full; ``retry_after_s`` says when to ask again."""

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class MeasuringError(ServiceError):
    """A dataset's mean and deviation are being measured; the same request succeeds once they are."""


class StartingError(ServiceError):
    """The workers are not ready yet; only the probe of readiness says so, requests wait for them."""


class DrainingError(ServiceError):
    """The service is about to stop and takes nothing new."""

    def __init__(
        self, message: str = "the service is about to stop; ask another replica, or this one again in a few seconds"
    ) -> None:
        super().__init__(message)
