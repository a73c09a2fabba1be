"""File that holds a worker's result: the content, served unchanged, then its description in JSON.

The file exists before the worker is asked and is never created here. If the requester has gone, its name is already
removed, and late writes vanish when the worker closes the file.
"""

import errno
import json
import mmap
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from augment.errors import StorageError
from augment.samples.sample import Refusal

_PARTS_AT_ONCE = 1024
"""Most buffers that Linux takes in one call (IOV_MAX)."""

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True, slots=True)
class Laid:
    """Layout and statistics of a written result.

    ``content_bytes`` of the file's ``num_bytes`` are the content. ``refusals`` are the refused records,
    ``num_replaced`` counts rows that replace another record, ``seconds`` are the durations of the stages.
    """

    content_bytes: int
    num_bytes: int
    refusals: tuple[Refusal, ...] = ()
    num_replaced: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)


def write(into: Path, content: Sequence[bytes | memoryview], description: object = None) -> tuple[int, int] | None:
    """Write content and description (JSON) into an existing file. Return the bytes of the content and of all.

    The file is written, never mapped, so that a full file system is an error and not a signal. Returns None if there is
    no room. Raises StorageError if the file cannot be written.
    """
    parts = [memoryview(part).cast("B") for part in content]
    content_bytes = sum(map(len, parts))
    if description is not None:
        parts.append(memoryview(json.dumps(description, separators=(",", ":")).encode()))
    num_bytes = sum(map(len, parts))
    try:
        with into.open("r+b", buffering=0) as file:
            file.truncate()
            _write_all(file.fileno(), parts)
    except OSError as error:
        if error.errno in _NO_ROOM:
            return None
        raise StorageError(f"a rendered batch cannot be written: {error.strerror}; try again") from error
    return content_bytes, num_bytes


def read_content(path: Path, laid: Laid) -> memoryview:
    """Return the content, read-only and mapped; it stays readable after the file is removed."""
    return memoryview(_map(path, laid))[: laid.content_bytes]


def read_description(path: Path, laid: Laid) -> Any:
    """Return the description that was given to ``write``."""
    return json.loads(memoryview(_map(path, laid))[laid.content_bytes :].tobytes())


def _map(path: Path, laid: Laid) -> mmap.mmap | bytes:
    if not laid.num_bytes:
        return b""  # an empty file cannot be mapped
    try:
        with path.open("rb", buffering=0) as file:
            return mmap.mmap(file.fileno(), laid.num_bytes, prot=mmap.PROT_READ)
    except (OSError, ValueError) as error:
        raise StorageError(f"a rendered batch cannot be read: {error}; ask for it again") from error


def _write_all(descriptor: int, parts: list[memoryview]) -> None:
    left = [part for part in parts if part]
    while left:
        written = os.writev(descriptor, left[:_PARTS_AT_ONCE])
        while written:  # a partly written buffer is first in the next round
            part = left[0][written:]
            written -= len(left[0]) - len(part)
            left[:1] = [part] if part else []
