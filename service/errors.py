"""Errors of the service itself; those of the engine are in ``augment.errors``.

ServiceError
├── MalformedError          400  the request cannot be understood
├── UnauthorizedError       401  no key, or an unknown one
├── ForbiddenError          403  a path outside the data roots, a preset that is read-only
├── NotFoundError           404  no such dataset, pipeline, stream, job, sample
├── SlowBodyError           408  the next piece of the body did not come in time
├── ConflictError           409  the name holds something else, or is in use
├── TooLargeError           413  the body, or what it unpacks to
│   └── NoRoomError         413  the home is full
├── MediaTypeError          415  a content type or format that is not served
├── RepeatedKeyError        422  an Idempotency-Key that was used for another request
├── BusyError               429  the queue is full; carries the seconds after which to retry
├── MeasuringError          503  a dataset's mean and deviation are still being measured
├── StartingError           503  the workers are not ready yet
└── DrainingError           503  the service is about to stop
"""

from collections.abc import Sequence

from augment.errors import Problem


class ServiceError(Exception):
    """Base class of the service's errors. The message is one line and ends with the remedy.

    ``problems`` are the known places in the request that are wrong. In messages, ``URL/`` is a placeholder for the
    service's address, and commands are between backticks.
    """

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        self.problems = tuple(problems)
        super().__init__(message)


class MalformedError(ServiceError):
    """The request cannot be understood."""


class UnauthorizedError(ServiceError):
    """The request has no key, or an unknown one."""


class ForbiddenError(ServiceError):
    """The caller is known but may not access this."""


class NotFoundError(ServiceError):
    """Nothing exists under this name or address."""


class SlowBodyError(ServiceError):
    """The next piece of a body did not come in time; the connection is closed."""


class ConflictError(ServiceError):
    """The state of the named thing does not allow the request."""


class TooLargeError(ServiceError):
    """The request has more bytes than a limit allows."""


class NoRoomError(TooLargeError):
    """The home is full (AUGMENT_MAX_HOME_BYTES)."""


class MediaTypeError(ServiceError):
    """The content type or the format is not served."""


class RepeatedKeyError(ServiceError):
    """The Idempotency-Key was used for another request (draft-ietf-httpapi-idempotency-key-header)."""


class BusyError(ServiceError):
    """The queue is full; retry after ``retry_after_s`` seconds."""

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class MeasuringError(ServiceError):
    """A dataset's mean and deviation are being measured; the same request succeeds once they are."""


class StartingError(ServiceError):
    """The workers are not ready yet. Only the readiness probe raises it; requests wait for them."""


class DrainingError(ServiceError):
    """The service is about to stop and accepts no new requests."""

    def __init__(
        self, message: str = "the service is about to stop; use another replica, or try again in a few seconds"
    ) -> None:
        super().__init__(message)
