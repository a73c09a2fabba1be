"""Client of the service. Needs NumPy, pyarrow and the standard library, and no part of the server."""

from augment.client.client import Client
from augment.client.replicas import ReplicaStatus, ReplicaWarning
from augment.client.stream import ClientStream, ReplacedRowsWarning
from augment.client.transport import ClientError, JobError, RefusedError, TooManyFailuresError, UnreachableError
from augment.client.version_warning import VersionWarning

__all__ = [
    "Client",
    "ClientError",
    "ClientStream",
    "JobError",
    "RefusedError",
    "ReplacedRowsWarning",
    "ReplicaStatus",
    "ReplicaWarning",
    "TooManyFailuresError",
    "UnreachableError",
    "VersionWarning",
]
