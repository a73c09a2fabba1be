"""A job as its client sees it: asked for, followed to its end, with a bar on a terminal."""

import sys
import time
import uuid
from collections.abc import Mapping
from typing import Any, TextIO

from service.client.errors import JobError
from service.client.transport import Server, Transport

_POLL_S = 0.25
_FINAL = frozenset({"succeeded", "failed", "cancelled"})
_BAR = 30


def run(transport: Transport, wanted: Mapping[str, Any], *, wait: bool, progress: bool) -> dict[str, Any]:
    """The job's last document; JobError where it ended otherwise than succeeded."""
    server = transport.current  # a job belongs to one home: no other server knows it
    headers = {"Idempotency-Key": uuid.uuid4().hex}  # an answer that was lost does not make two jobs
    document: dict[str, Any] = transport.json("POST", "/v1/jobs", dict(wanted), headers=headers, only=server)
    if not wait:
        return document
    shown = Progress(sys.stderr) if progress else None
    try:
        document = _follow(transport, server, str(document["id"]), shown)
    finally:
        if shown is not None:
            shown.end()
    if document["state"] != "succeeded":
        raise JobError(document)
    return document


def _follow(transport: Transport, server: Server, job_id: str, shown: "Progress | None") -> dict[str, Any]:
    while True:
        document: dict[str, Any] = transport.json("GET", f"/v1/jobs/{job_id}", only=server)
        if shown is not None:
            shown.show(document)
        if document["state"] in _FINAL:
            return document
        time.sleep(_POLL_S)


class Progress:
    """A bar that is drawn over itself on a terminal; elsewhere a line for each state and tenth."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._is_terminal = file.isatty()
        self._last: tuple[object, int] | None = None

    def show(self, document: Mapping[str, Any]) -> None:
        """Draw what the job says of itself."""
        counts = document.get("progress") or {}
        done, total, failed = (int(counts.get(name) or 0) for name in ("done", "total", "failed"))
        share = done / total if total else 0.0
        words = f"{document['state']}: {done} of {total}" + (f", {failed} refused" if failed else "")
        if self._is_terminal:
            filled = round(share * _BAR)
            self._file.write(f"\r[{'#' * filled}{'.' * (_BAR - filled)}] {words}\x1b[K")
        elif (step := (document["state"], int(share * 10))) != self._last:
            self._last = step
            self._file.write(f"{words}\n")
        self._file.flush()

    def end(self) -> None:
        """Leave the line."""
        if self._is_terminal:
            self._file.write("\n")
