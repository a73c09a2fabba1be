"""Verdicts on records that killed or outlived a worker: decided once, kept for ever.

A verdict is a create-only document: the first writer decides, and all readers get that decision. A record that was
rendered but came near the time limit gets one too, so that it is never refused for its time afterwards.
"""

import itertools
import json
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Protocol

from augment.errors import Reason, StorageError
from augment.samples.sample import Refusal
from augment.user_state import sync

_log = logging.getLogger(__name__)

_VERSION = 1


class Documents(Protocol):
    """Create-only documents by name. Safe between threads and processes."""

    def create(self, name: str, data: bytes) -> bytes:
        """Store a document unless the name exists; return the stored one, which survives a crash.

        Raises StorageError if it cannot be stored.
        """
        ...

    def read_all(self) -> Iterator[tuple[str, bytes]]:
        """Yield the name and the bytes of every document."""
        ...


class FolderDocuments:
    """``Documents`` as files ``NAME.json`` of a folder, which is created."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = Lock()

    def create(self, name: str, data: bytes) -> bytes:
        """Store a document as ``Documents`` describes."""
        path = self._folder / f"{name}.json"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._lock, tempfile.NamedTemporaryFile(dir=self._folder, prefix=".draft-") as draft:
                draft.write(data)
                draft.flush()
                os.fsync(draft.fileno())
                try:
                    os.link(draft.name, path)
                except FileExistsError:
                    return path.read_bytes()
            sync(self._folder)
        except OSError as error:
            reason = error.strerror or str(error)
            raise StorageError(
                f"a verdict cannot be written to {path}: {reason}; make the folder writable (it needs hard links)"
            ) from error
        return data

    def read_all(self) -> Iterator[tuple[str, bytes]]:
        """Yield the name and the bytes of every document, in the order of the names."""
        for path in sorted(self._folder.glob("*.json")):
            yield path.stem, path.read_bytes()


class Verdicts:
    """Verdicts by subject, in the order in which they became known: a refusal, or None for a record that was rendered.

    A subject names the record, the pipeline and the engine. Without ``documents`` they live as long as this object.
    Thread-safe.
    """

    def __init__(self, documents: Documents | None = None) -> None:
        self._documents = documents
        self._lock = Lock()
        self._known: dict[str, Refusal | None] = {}
        for subject, data in () if documents is None else documents.read_all():
            try:
                self._known[subject] = _from_json(data)
            except (ValueError, KeyError, TypeError) as error:
                _log.warning("the verdict %s.json cannot be read: %s; remove the file", subject, error)

    def add(self, subject: str, refusal: Refusal | None) -> Refusal | None:
        """Decide about a subject unless it is decided already; return the decision.

        Returns when the decision is on the disk. Raises StorageError if it cannot be stored.
        """
        if self._documents is not None:
            data = self._documents.create(subject, _to_json(subject, refusal))
            try:
                refusal = _from_json(data)
            except (ValueError, KeyError, TypeError) as error:
                raise StorageError(f"the verdict {subject}.json is damaged ({error}); remove the file") from error
        with self._lock:
            return self._known.setdefault(subject, refusal)

    def after(self, num_known: int) -> dict[str, Refusal | None]:
        """Return the verdicts that came after the first ``num_known``."""
        with self._lock:
            return dict(itertools.islice(self._known.items(), num_known, None))

    def refusals(self) -> dict[str, Refusal]:
        """Return the refused subjects: a copy."""
        return {subject: refusal for subject, refusal in self.after(0).items() if refusal is not None}


def _to_json(subject: str, refusal: Refusal | None) -> bytes:
    decided = (
        {"status": "rendered"}
        if refusal is None
        else {"status": "refused", "key": refusal.key, "reason": str(refusal.reason), "detail": refusal.detail}
    )
    return json.dumps({"version": _VERSION, "subject": subject, **decided}, indent=1).encode()


def _from_json(data: bytes) -> Refusal | None:
    document = json.loads(data)
    if document["version"] != _VERSION:
        raise ValueError(f"version {document['version']!r}, not {_VERSION}")
    if document["status"] == "rendered":
        return None
    if document["status"] != "refused":
        raise ValueError(f"status {document['status']!r}, not 'rendered' or 'refused'")
    return Refusal(str(document["key"]), Reason(document["reason"]), str(document["detail"]))
