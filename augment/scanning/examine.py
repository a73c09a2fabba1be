"""Read, hash and probe every file that a format lists, once; record it or refuse it.

Threads read and hash; the result is the same whatever their number. In memory there are the names of all files and
the columns of what was found (together some 400 bytes a record at the end, measured over 200,000), and of encoded bytes
at any time at most one large file and a small one for each thread. Files that did not change since an earlier scan of
the same folder are not read again (``Previous``).
"""

import math
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from threading import Lock

import numpy as np

from augment.datasets import keys, read
from augment.datasets.manifest import Manifest, Row
from augment.errors import Reason, RecordError
from augment.formats.files import Watch
from augment.formats.format import Described, FileGroup, Listing, MaskPlace, Part
from augment.images import decode, masks
from augment.samples.annotations import Annotations
from augment.validation import did_you_mean


class Previous:
    """Finds records of an earlier manifest by their path. Holds 16 bytes a record; safe between threads."""

    def __init__(self, source: Manifest) -> None:
        self._manifest = source
        summary = source.summary
        hashes = np.fromiter(
            (hash(path) for batch in source.record_batches() for path in batch.column("path").to_pylist()),
            dtype=np.int64,
            count=summary.num_records,
        )
        self._rows = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._rows]

    def find(self, path: str, status: os.stat_result, class_name: str | None) -> Row | None:
        """The record of this file if its size, mtime and class are what they were, and its mtime can be trusted.

        Only of files that are a picture and have no mask. Whether its annotations are still the same, the caller sees.
        """
        wanted = path.encode()
        sought = np.int64(hash(path))
        first = int(np.searchsorted(self._hashes, sought))
        while first < len(self._hashes) and self._hashes[first] == sought:
            index = int(self._rows[first])
            if self._manifest.path(index) == wanted:
                row = self._manifest.row(index)
                return row if self._is_same(row, status, class_name) else None
            first += 1
        return None

    def _is_same(self, row: Row, status: os.stat_result, class_name: str | None) -> bool:
        summary = self._manifest.summary
        return (
            (row.mask, row.offset) == (None, None)
            and (row.size_bytes, row.mtime_ns) == (status.st_size, status.st_mtime_ns)
            and (None if row.label is None else summary.classes[row.label]) == class_name
            and read.is_settled(row.mtime_ns, summary.scanned_ns)
        )


DEFAULT_MAX_FILE_BYTES = 256 * 2**20
"""Holds an uncompressed picture of four bytes a pixel at the default limit on pixels."""

_LARGE_BYTES = 16 * 2**20
"""Files above this are read one at a time."""

_CHUNK = 32
"""Files that one thread takes at a time."""

_PLAIN = Described()


@dataclass(frozen=True, slots=True)
class Mask:
    """A picture's mask; ``digest`` is that of its encoded bytes, ``path`` relative to the root, ``bits`` a value's."""

    path: str
    offset: int | None
    size_bytes: int
    mtime_ns: int
    digest: bytes
    bits: int


@dataclass(frozen=True, slots=True)
class Picture:
    """A file that is a picture by its header; ``digest`` is the record's, ``annotations`` are the JSON of ``said``."""

    height: int
    width: int
    size_bytes: int
    mtime_ns: int
    digest: bytes
    annotations: str | None = None
    mask: Mask | None = None
    said: Annotations | None = None
    encoding: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class File:
    """One file that a format listed; ``path`` is relative to the root, ``named`` is what its record goes by."""

    group: FileGroup
    path: str
    described: Described

    @property
    def named(self) -> str:
        return self.described.named or self.path

    @property
    def place(self) -> str:
        """What is read: the file; of a picture inside of one, that file (with the column, of a Parquet file)."""
        return self.path if self.described.part is None else self.group.folder

    @property
    def class_name(self) -> str | None:
        return self.described.class_name or self.group.class_name


@dataclass(frozen=True, slots=True)
class Found:
    """One file and what became of it."""

    file: File
    verdict: Picture | Refused


@dataclass(frozen=True, slots=True)
class Limits:
    """What a scan accepts."""

    max_pixels: int = decode.DEFAULT_MAX_PIXELS
    max_file_bytes: int = DEFAULT_MAX_FILE_BYTES


class Examiner:
    """Examines files of one dataset, from several threads at once."""

    def __init__(
        self, root: Path, limits: Limits, previous: Previous | None, listing: Listing, watch: Watch | None = None
    ) -> None:
        self._root = root
        self._limits = limits
        self._previous = previous
        self._listing = listing
        self._one_large = Lock()
        self._watch = watch or Watch(math.inf)

    def examine_all(self, *, num_threads: int) -> Iterator[list[Found]]:
        """What became of each file of the listing, a few at a time, in the order of its groups."""
        files = (
            File(group, f"{group.folder}/{name}" if group.folder else name, group.described.get(i, _PLAIN))
            for group in self._listing.groups
            for i, name in enumerate(group.names)
        )
        with ThreadPoolExecutor(num_threads, thread_name_prefix="scan") as pool:
            pending: deque[Future[list[Found]]] = deque()
            try:
                while True:
                    while len(pending) < 4 * num_threads and (chunk := tuple(islice(files, _CHUNK))):
                        pending.append(pool.submit(self._examine_some, chunk))
                    if not pending:
                        return
                    yield pending.popleft().result()
            finally:
                for future in pending:
                    future.cancel()

    def _examine_some(self, files: tuple[File, ...]) -> list[Found]:
        try:
            return [Found(file, self._examine(file)) for file in files]
        finally:
            self._watch.done()

    def _examine(self, file: File) -> Picture | Refused:
        self._watch.at(file.path)
        try:
            verdict = self._judge(file)
        except read.NotAFileError as error:
            return Refused(Reason.UNREADABLE, str(error))
        except FileNotFoundError:
            full = self._root / file.path
            detail = "a link to nothing" if full.is_symlink() else "it went away while the folder was scanned"
            return Refused(Reason.UNREADABLE, detail)
        except OSError as error:
            blamed = read.refusal(error, file.path)
            return Refused(blamed.reason, blamed.detail)
        except RecordError as error:
            return Refused(error.reason, error.detail)
        if file.group.misplaced is not None:
            return Refused(Reason.MISPLACED, file.group.misplaced)
        return verdict

    def _judge(self, file: File) -> Picture | Refused:
        if file.described.problem is not None:
            return Refused(Reason.ANNOTATION, file.described.problem)
        if file.class_name is not None:
            if not keys.is_utf8(file.class_name):
                return Refused(Reason.ANNOTATION, f"not text: the class {file.class_name!r} holds half of a character")
            if unknown := self._unknown("class", [file.class_name]):
                return Refused(Reason.ANNOTATION, unknown)
        if (known := self._known(file)) is not None:
            return known
        content = self._read(file.place, file.described.part)
        if isinstance(content, Refused):
            return content
        header = decode.probe(content.data, max_pixels=self._limits.max_pixels)
        said = self._said(file.described, header.height, header.width)
        if isinstance(said, Refused):
            return said
        text = None if said is None else said.to_json()
        mask = self._mask(file.described.mask, header)
        if isinstance(mask, Refused):
            return mask
        digest = read.record_digest(
            read.content_digest(content.data), file.class_name, text, None if mask is None else mask.digest
        )
        encoding = decode.encoding(content.data)
        size_bytes, mtime_ns = content.size_bytes, content.mtime_ns
        return Picture(header.height, header.width, size_bytes, mtime_ns, digest, text, mask, said, encoding)

    def _known(self, file: File) -> Picture | None:
        """What an earlier scan says of the file, where it is still true."""
        if self._previous is None or file.described.mask is not None or file.described.part is not None:
            return None
        status = (self._root / file.path).stat()
        read.check_regular(status)
        row = self._previous.find(file.path, status, file.class_name)
        if row is None or row.height * row.width > self._limits.max_pixels:
            return None
        said = self._said(file.described, row.height, row.width)
        if isinstance(said, Refused):
            return None  # the picture may be another now, of the size that its annotations ask for
        text = None if said is None else said.to_json()
        if text != (None if row.annotations is None else row.annotations.decode()):
            return None
        return Picture(row.height, row.width, row.size_bytes, row.mtime_ns, row.digest, text, None, said, row.encoding)

    def _mask(self, place: MaskPlace | None, picture: decode.Header) -> Mask | Refused | None:
        if place is None or self._is_null(place):
            return None
        content = self._read(place.path, place.part)
        if isinstance(content, Refused):
            return Refused(Reason.ANNOTATION, f"mask unreadable: {keys.printable(place.path)}: {content.detail}")
        try:
            values = masks.decode_mask(content.data, max_pixels=self._limits.max_pixels)
        except RecordError as error:
            return Refused(Reason.ANNOTATION, f"mask unreadable: {keys.printable(place.path)}: {error.detail}")
        if values.shape != (picture.height, picture.width):
            size = f"{values.shape[1]} x {values.shape[0]}, the picture {picture.width} x {picture.height}"
            return Refused(Reason.ANNOTATION, f"mask of another size: {keys.printable(place.path)} has {size}")
        bound = self._listing.num_mask_values
        if bound is not None and (unknown := values[(values >= bound) & (values != masks.IGNORED)]).size:
            detail = f"unknown class: {keys.printable(place.path)} has the value {unknown[0]}, of {bound} classes"
            return Refused(Reason.ANNOTATION, detail)
        offset = None if place.part is None else place.part.offset
        digest = read.content_digest(content.data)
        bits = 8 * values.itemsize
        return Mask(place.path, offset, content.size_bytes, content.mtime_ns, digest, bits)

    def _read(self, name: str, part: Part | None) -> read.FileContent | Refused:
        full = self._root / name
        limit = self._limits.max_file_bytes
        if part is None:
            status = full.stat()
            read.check_regular(status)  # before it is opened: opening a device may do something
            size_bytes: int | None = status.st_size
        else:
            size_bytes = part.size_bytes
        if size_bytes is not None and (refused := self._bounded(size_bytes)) is not None:
            return refused
        is_large = (size_bytes or 0) > _LARGE_BYTES
        if is_large:
            self._watch.done()  # it waits for its turn, which is no fault of its own
        with self._one_large if is_large else nullcontext():
            self._watch.at(name)
            if part is not None:
                content = read.read_part(full, part.offset, size_bytes=size_bytes)
            else:
                content = read.read_file(full, max_bytes=limit)
            wanted = content.size_bytes if part is None or size_bytes is None else size_bytes
            if not content.steady or len(content.data) != wanted:
                return Refused(Reason.CHANGED, "it was written to while it was read; scan the dataset again")
        if size_bytes is None and (refused := self._bounded(len(content.data))) is not None:
            return refused
        return content

    def _is_null(self, place: MaskPlace) -> bool:
        """Whether a mask that only reading tells of is not there: a cell of a Parquet file may be null."""
        part = place.part
        if part is None or part.size_bytes is not None:
            return False
        return not read.read_part(self._root / place.path, part.offset, size_bytes=None).data

    def _bounded(self, size_bytes: int) -> Refused | None:
        limit = self._limits.max_file_bytes
        if size_bytes > limit:
            return Refused(Reason.TOO_MANY_BYTES, f"{size_bytes} bytes, of {limit} allowed (max_file_bytes)")
        return None if size_bytes else Refused(Reason.FORMAT, "the file is empty")

    def _said(self, described: Described, height: int, width: int) -> Annotations | Refused | None:
        """What is said of a picture of this size, with boxes cut at its edges."""
        annotations = described.annotations
        if described.annotate is not None:
            try:
                annotations = described.annotate(height, width)
            except ValueError as error:
                return Refused(Reason.ANNOTATION, str(error))
        if annotations is None:
            return None
        problems = [*annotations.problems(height, width), *self._unknown_names(annotations)]
        if problems:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            return Refused(Reason.ANNOTATION, problems[0] + more)
        return annotations.within(height, width)

    def _unknown_names(self, annotations: Annotations) -> Iterator[str]:
        for what, names in (
            ("class", annotations.labels),
            ("class", annotations.box_labels),
            ("keypoint", annotations.keypoint_labels),
        ):
            if names and (unknown := self._unknown(what, names)):
                yield unknown

    def _unknown(self, what: str, names: Iterable[str]) -> str | None:
        """The problem of the first name that the dataset does not declare; classes need not be declared at all."""
        known = self._listing.keypoint_names if what == "keypoint" else self._listing.classes
        if known is None:
            return None
        unknown = next((name for name in names if name not in known), None)
        if unknown is None:
            return None
        return (
            f"unknown {what}: {unknown!r} is none of the {len(known)} that are declared{did_you_mean(unknown, known)}"
        )
