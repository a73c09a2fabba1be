"""What a client raises.

ClientError
├── RefusedError           the service's answer is a problem document; carries it
├── UnreachableError       no server answered within the deadline
├── TooManyFailuresError   more rows than max_failures allows stand for refused records
└── JobError               a job ended otherwise than succeeded
"""

import json
from collections.abc import Mapping
from typing import Any


class ClientError(Exception):
    """Anything that the client raises on purpose."""


class UnreachableError(ClientError):
    """No server answered within the deadline; the cause is the last failure."""


class TooManyFailuresError(ClientError):
    """The records of this run are worse than its ``max_failures`` allows."""


class JobError(ClientError):
    """A job failed or was cancelled; ``document`` is its last state."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = dict(document)
        error = document.get("error") or {}
        super().__init__(
            f"job {document.get('id')} is {document.get('state')}: {error.get('detail', 'no reason given')}"
        )


class RefusedError(ClientError):
    """A problem document (RFC 9457): ``status``, ``title``, ``detail`` and each place that is wrong in ``errors``."""

    def __init__(self, status: int, document: Mapping[str, Any], retry_after_s: float | None = None) -> None:
        self.status = status
        self.document = dict(document)
        self.title = str(document.get("title", ""))
        self.detail = str(document.get("detail", ""))
        self.errors: list[Any] = list(document.get("errors") or ())
        self.retry_after_s = retry_after_s
        super().__init__(f"{status} {self.title}: {self.detail}")

    @classmethod
    def read(cls, status: int, body: bytes, retry_after: str | None) -> "RefusedError":
        """From an answer; what is no problem document (a proxy's page) becomes its detail."""
        try:
            document = json.loads(body)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            document = {"title": "No problem document", "detail": body[:200].decode("utf-8", "replace")}
        try:
            seconds = None if retry_after is None else float(retry_after)
        except ValueError:  # a date, which no server of ours sends
            seconds = None
        return cls(status, document, seconds)
