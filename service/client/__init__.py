"""What trainers and scripts import: needs NumPy, pyarrow and the standard library, and no part of the server."""

from service.client.client import Client
from service.client.errors import ClientError, JobError, RefusedError, TooManyFailuresError, UnreachableError
from service.client.stream import ClientStream

__all__ = [
    "Client",
    "ClientError",
    "ClientStream",
    "JobError",
    "RefusedError",
    "TooManyFailuresError",
    "UnreachableError",
]
