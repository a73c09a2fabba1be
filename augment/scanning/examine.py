"""Read, hash and probe every file that a format lists, once; record it or refuse it.

Threads read and hash; the result does not depend on their number. Memory holds the names of all files and the columns
of the results, together some 400 bytes a record at the end (measured over 200,000). Of the encoded bytes it holds at
most one large file, and a small one for each thread. A file that this machine read before and that did not change since
is not read again (``seen_files``).
"""

import math
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from augment.datasets import keys, read, seen_files
from augment.datasets.seen_files import SeenFile
from augment.errors import Reason, RecordError
from augment.formats.files import Watch
from augment.formats.format import Described, FileGroup, FileSlice, Listing, MaskPlace
from augment.images import decode, masks
from augment.samples.annotations import Annotations
from augment.validation import did_you_mean

DEFAULT_MAX_FILE_BYTES = 256 * 2**20
"""Default limit on files: room for an uncompressed image of four bytes a pixel at the default limit on pixels."""

_LARGE_BYTES = 16 * 2**20
"""Size above which files are read one at a time."""

_CHUNK = 32
"""Number of files that one thread takes at a time."""

_ROWS_AT_ONCE = 1024
"""Number of rows that are written together into the table of seen files."""

_PLAIN = Described()

_BINARY = "binary"
"""Value of ``SeenFile.conversions`` for a mask that has the values 0 and 255 and no other."""


@dataclass(frozen=True, slots=True)
class Mask:
    """Mask of an image; ``path`` is relative to the root, ``bits`` are the bits of a value.

    ``digest`` is that of ``read.mask_digest``. ``largest`` is the largest value, not counting ``masks.IGNORED``.
    ``is_binary`` is True if the file holds that value and 0 and nothing else.
    """

    path: str
    offset: int | None
    size_bytes: int
    digest: bytes
    bits: int
    largest: int
    is_binary: bool


class ExaminedImage(NamedTuple):
    """File whose header is an image's; ``digest`` is the record's, ``annotations`` are the JSON of ``said``."""

    height: int
    width: int
    size_bytes: int
    digest: bytes
    annotations: str | None = None
    mask: Mask | None = None
    said: Annotations | None = None
    encoding: str | None = None
    conversions: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    reason: Reason
    detail: str


class ListedFile(NamedTuple):
    """One file that a format listed; ``path`` is relative to the root, ``named`` gives the record's key."""

    group: FileGroup
    path: str
    described: Described

    @property
    def named(self) -> str:
        return self.described.named or self.path

    @property
    def place(self) -> str:
        """Path that is read: the file, or the file around a packed image (with the column of a Parquet file)."""
        return self.path if self.described.part is None else self.group.folder

    @property
    def class_name(self) -> str | None:
        return self.described.class_name or self.group.class_name


class Found(NamedTuple):
    """One file and its verdict."""

    file: ListedFile
    verdict: ExaminedImage | Refused


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Files that one thread examines: their known rows, the verdicts, and new rows."""

    files: tuple[ListedFile, ...]
    places: list[bytes]
    known: Mapping[bytes, SeenFile]
    found: list[Found] = field(default_factory=list)
    new: list[SeenFile] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ScanLimits:
    """Limits on the images and files that a scan accepts."""

    max_pixels: int = decode.DEFAULT_MAX_PIXELS
    max_file_bytes: int = DEFAULT_MAX_FILE_BYTES


class Examiner:
    """Examiner of the files of one dataset, from several threads at once."""

    def __init__(self, root: Path, limits: ScanLimits, listing: Listing, watch: Watch | None = None) -> None:
        self._root = root
        self._prefix = f"{root}/"
        self._limits = limits
        self._listing = listing
        self._declared = {
            what: None if names is None else dict.fromkeys(names)  # keeps the order, with fast lookup
            for what, names in (("class", listing.classes), ("keypoint", listing.keypoint_names))
        }
        self._one_large = Lock()
        self._watch = watch or Watch(math.inf)
        self._seen = seen_files.table()

    def examine_all(self, *, num_threads: int) -> Iterator[list[Found]]:
        """Yield the verdict on each file of the listing, a few at a time, in the order of its groups."""
        files = (
            ListedFile(group, f"{group.folder}/{name}" if group.folder else name, group.described.get(i, _PLAIN))
            for group in self._listing.groups
            for i, name in enumerate(group.names)
        )
        chunks = iter(lambda: self._chunk(tuple(islice(files, _CHUNK))), None)
        places: list[bytes] = []
        new: list[SeenFile] = []
        with ThreadPoolExecutor(num_threads, thread_name_prefix="scan") as pool:
            pending: deque[Future[None]] = deque()
            under_way: deque[_Chunk] = deque()
            try:
                while True:
                    while len(pending) < 4 * num_threads and (chunk := next(chunks, None)) is not None:
                        pending.append(self._start(pool, chunk))
                        under_way.append(chunk)
                    if not pending:
                        break
                    pending.popleft().result()
                    chunk = under_way.popleft()
                    places += chunk.places
                    new += chunk.new
                    if len(new) >= _ROWS_AT_ONCE:
                        self._seen.add(new)
                        new = []
                    yield chunk.found
            finally:
                for future in pending:
                    future.cancel()
                self._seen.add(new)
        self._seen.end_scan(self._root, places)

    def _chunk(self, files: tuple[ListedFile, ...]) -> "_Chunk | None":
        """Look up the known rows of some files.

        This is not done in the threads, because each SQLite call in a thread waits for the others.
        """
        places = [self._place(file.place, file.described.part) for file in files]
        places += [self._place(mask.path, mask.part) for file in files if (mask := file.described.mask) is not None]
        return _Chunk(files, places, self._seen.find(places)) if files else None

    def _start(self, pool: ThreadPoolExecutor, chunk: "_Chunk") -> "Future[None]":
        """Examine files in a thread, or immediately if nothing has to be read."""
        if len(chunk.known) < len(chunk.places):
            return pool.submit(self._examine_chunk, chunk)
        done: Future[None] = Future()
        self._examine_chunk(chunk)
        done.set_result(None)
        return done

    def _examine_chunk(self, chunk: "_Chunk") -> None:
        try:
            for file, place in zip(chunk.files, chunk.places, strict=False):  # the masks' rows come after the images'
                chunk.found.append(Found(file, self._examine(file, place, chunk)))
        finally:
            self._watch.done()

    def _place(self, path: str, part: FileSlice | None) -> bytes:
        return seen_files.place_of(self._prefix + path, None if part is None else part.offset)

    def _examine(self, file: ListedFile, place: bytes, chunk: "_Chunk") -> ExaminedImage | Refused:
        self._watch.at(file.path)
        try:
            verdict = self._judge(file, place, chunk)
        except read.NotAFileError as error:
            return Refused(Reason.UNREADABLE, str(error))
        except FileNotFoundError:
            full = self._root / file.path
            detail = "a dangling link" if full.is_symlink() else "it disappeared during the scan"
            return Refused(Reason.UNREADABLE, detail)
        except OSError as error:
            blamed = read.refusal(error, file.path)
            return Refused(blamed.reason, blamed.detail)
        except RecordError as error:
            return Refused(error.reason, error.detail)
        if file.group.misplaced is not None:
            return Refused(Reason.MISPLACED, file.group.misplaced)
        return verdict

    def _judge(self, file: ListedFile, place: bytes, chunk: "_Chunk") -> ExaminedImage | Refused:
        if file.described.problem is not None:
            return Refused(Reason.ANNOTATION, file.described.problem)
        class_name = file.class_name
        if class_name is not None:
            if not keys.is_utf8(class_name):
                return Refused(Reason.ANNOTATION, f"not text: the class {class_name!r} holds half of a character")
            if unknown := self._unknown("class", [class_name]):
                return Refused(Reason.ANNOTATION, unknown)
        image = self._look(file.place, file.described.part, place, chunk, is_mask=False)
        if isinstance(image, Refused):
            return image
        said = self._said(file.described, image.height, image.width)
        if isinstance(said, Refused):
            return said
        text = None if said is None else said.to_json()
        mask = self._mask(file.described.mask, image, chunk)
        if isinstance(mask, Refused):
            return mask
        digest = read.record_digest(image.digest, class_name, text, None if mask is None else mask.digest)
        return ExaminedImage(
            image.height,
            image.width,
            image.size_bytes,
            digest,
            text,
            mask,
            said,
            image.encoding,
            image.conversions or None,
        )

    def _look(
        self, path: str, part: FileSlice | None, place: bytes, chunk: "_Chunk", *, is_mask: bool
    ) -> SeenFile | Refused:
        """Describe an image or a mask, from its known row or else from its bytes.

        Raises RecordError if the bytes cannot be used, and as ``read.read_file`` does.
        """
        legend = self._listing.mask_legend if is_mask else ()
        known = None if legend else chunk.known.get(place)  # known rows do not depend on a legend
        if known is not None and self._still(known, path, part, is_mask=is_mask):
            return known
        content = self._read(path, part)
        if isinstance(content, Refused):
            return content
        status, size_bytes, digest = content.status, content.size_bytes, read.content_digest(content.data)
        if is_mask:
            values, by_legend = masks.read_mask(content.data, max_pixels=self._limits.max_pixels, legend=legend)
            height, width = values.shape
            ignored = values == masks.IGNORED
            largest = int(values[~ignored].max(initial=0))
            is_binary = not largest and ignored.any() and not ignored.all()
            more = ("", 8 * values.itemsize, largest, _BINARY if is_binary else "")
            if legend:
                digest = read.mask_digest(digest, legend if by_legend else ())
                return SeenFile(place, status.packed, digest, size_bytes, height, width, *more)
        else:
            header = decode.probe(content.data, max_pixels=self._limits.max_pixels)
            height, width = header.height, header.width
            more = (decode.encoding(content.data), 0, 0, " ".join(header.conversions))
        found = SeenFile(place, status.packed, digest, size_bytes, height, width, *more)
        if status.is_settled:
            chunk.new.append(found)
        return found

    def _still(self, known: SeenFile, path: str, part: FileSlice | None, *, is_mask: bool) -> bool:
        """True if the known row still holds: same file, same use and same limits."""
        limits = self._limits
        if bool(known.mask_bits) != is_mask or known.size_bytes > limits.max_file_bytes:
            return False
        if known.height * known.width > limits.max_pixels:
            return False
        if part is not None and read.is_parquet_cell(self._root / path):
            path = path.rpartition("/")[0]
        status = os.stat(self._prefix + path)  # noqa: PTH116 - making a Path takes three times as long
        return seen_files.packed(status) == known.status

    def _mask(self, place: MaskPlace | None, image: SeenFile, chunk: "_Chunk") -> Mask | Refused | None:
        if place is None or self._is_null(place):
            return None
        shown = keys.printable(place.path)
        try:
            mask = self._look(place.path, place.part, self._place(place.path, place.part), chunk, is_mask=True)
        except RecordError as error:
            mask = Refused(error.reason, error.detail)
        if isinstance(mask, Refused):
            return Refused(Reason.ANNOTATION, f"mask unreadable: {shown}: {mask.detail}")
        if (mask.height, mask.width) != (image.height, image.width):
            size = f"{mask.width} x {mask.height}, the image {image.width} x {image.height}"
            return Refused(Reason.ANNOTATION, f"mask of another size: {shown} has {size}")
        bound = self._listing.num_mask_values
        if bound is not None and mask.mask_largest >= bound:
            detail = f"unknown class: {shown} has the value {mask.mask_largest}, of {bound} classes"
            return Refused(Reason.ANNOTATION, detail)
        offset = None if place.part is None else place.part.offset
        is_binary = mask.conversions == _BINARY and not self._listing.mask_legend
        return Mask(
            place.path, offset, mask.size_bytes, mask.digest, mask.mask_bits, mask.mask_largest, is_binary=is_binary
        )

    def _read(self, name: str, part: FileSlice | None) -> read.FileContent | Refused:
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
            self._watch.done()  # the wait for its turn does not count
        with self._one_large if is_large else nullcontext():
            self._watch.at(name)
            if part is not None:
                content = read.read_part(full, part.offset, size_bytes=size_bytes)
            else:
                content = read.read_file(full, max_bytes=limit)
            wanted = content.size_bytes if part is None or size_bytes is None else size_bytes
            if not content.steady or len(content.data) != wanted:
                return Refused(Reason.CHANGED, "it was written to during the read; scan the dataset again")
        if size_bytes is None and (refused := self._bounded(len(content.data))) is not None:
            return refused
        return content

    def _is_null(self, place: MaskPlace) -> bool:
        """True if a mask is missing, which only reading can show: a cell of a Parquet file may be null."""
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
        """Return the annotations of an image of this size, with boxes cut at its edges."""
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
        """Return the problem with the first name that is not declared, or None. A dataset may declare no classes."""
        known = self._declared[what]
        if known is None:
            return None
        unknown = next((name for name in names if name not in known), None)
        if unknown is None:
            return None
        return f"unknown {what}: {unknown!r} is not one of the {len(known)} declared{did_you_mean(unknown, known)}"
