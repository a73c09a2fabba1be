"""Several encoded images as one file: zip, tar or Arrow, with their annotations in ``annotations.json``.

The same images give the same bytes: no time or owner is written, and members are in the order given. Names may be in
any script: zip marks them as UTF-8 (APPNOTE 4.4.4, bit 11), tar holds them in headers of POSIX.1-2001.
"""

import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import IO, Any

import pyarrow as pa

ANNOTATIONS = "annotations.json"
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


class Bundle(StrEnum):
    """Kinds of file."""

    ZIP = "zip"
    TAR = "tar"
    ARROW = "arrow"


@dataclass(frozen=True, slots=True)
class BundleEntry:
    """One image with its name, its annotations, and its mask (PNG) with another name."""

    name: str
    data: bytes | memoryview
    annotation: Mapping[str, Any]
    mask_name: str = ""
    mask: bytes | memoryview = b""

    def described(self) -> dict[str, Any]:
        """Return the annotations of the entry with the names of its files."""
        return {"name": self.name, **({"mask": self.mask_name} if self.mask_name else {}), **self.annotation}


def write(kind: Bundle, file: IO[bytes], entries: Sequence[BundleEntry], head: Mapping[str, Any]) -> None:
    """Write all entries. In zip and tar ``annotations.json`` is last: the head with ``results``, one for each entry.

    A result's mask follows its image, and the result names it as ``mask``. In Arrow each row has ``name``, ``image``
    (the encoded bytes), ``annotation`` (JSON) and, if any entry has one, ``mask``; the head is the schema's metadata
    under the key ``augment``.
    """
    _WRITERS[kind](file, entries, head)


def _zip(file: IO[bytes], entries: Sequence[BundleEntry], head: Mapping[str, Any]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:  # images do not compress further
        for name, data in _members(entries, head):
            info = zipfile.ZipInfo(name, _ZIP_EPOCH)
            info.create_system = 3  # Unix, on every system
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)


def _tar(file: IO[bytes], entries: Sequence[BundleEntry], head: Mapping[str, Any]) -> None:
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in _members(entries, head):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def _arrow(file: IO[bytes], entries: Sequence[BundleEntry], head: Mapping[str, Any]) -> None:
    columns = {
        "name": pa.array([one.name for one in entries], pa.string()),
        "image": pa.array([bytes(one.data) for one in entries], pa.large_binary()),
        "annotation": pa.array([_text(one.annotation) for one in entries], pa.string()),
    }
    if any(one.mask_name for one in entries):
        columns["mask"] = pa.array([bytes(one.mask) if one.mask_name else None for one in entries], pa.large_binary())
    batch = pa.RecordBatch.from_pydict(columns).replace_schema_metadata({"augment": _text(head)})
    with pa.ipc.new_stream(file, batch.schema) as stream:
        stream.write_batch(batch)


def _members(entries: Sequence[BundleEntry], head: Mapping[str, Any]) -> list[tuple[str, bytes | memoryview]]:
    told = {**head, "results": [one.described() for one in entries]}
    text = json.dumps(told, indent=1, sort_keys=True, ensure_ascii=False).encode()
    files = [file for one in entries for file in ((one.name, one.data), (one.mask_name, one.mask)) if file[0]]
    return [*files, (ANNOTATIONS, text)]


def _text(document: Mapping[str, Any]) -> str:
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


_WRITERS: Mapping[Bundle, Callable[[IO[bytes], Sequence[BundleEntry], Mapping[str, Any]], None]] = MappingProxyType(
    {Bundle.ZIP: _zip, Bundle.TAR: _tar, Bundle.ARROW: _arrow}
)
