"""Pictures of a one-shot request on their way from the connection to files: a raw body, or a multipart form.

They lie where rendered batches lie (in memory where there is room), under names that are never used again, and go with
the request: a worker that comes late finds nothing.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

from anyio import to_thread
from starlette.requests import Request

from augment import sent
from augment.errors import CallError, StorageError
from augment.oneshot import Source
from augment.sent import NOTHING_SAID
from service import body
from service.batch_files import BatchFiles

PICTURE_FIELDS = frozenset({"images", "image"})
MASK_FIELDS = frozenset({"masks", "mask"})
TEXT_FIELDS = frozenset({"pipeline", "seed", "copies", "image_format", "quality", "format", sent.FIELD})

_FLUSH_BYTES = 2**20
_FLUSH_IN_MEMORY_BYTES = 2**18
"""Copied into memory it is a tenth of a millisecond: less than a thread takes to hear of it."""
_MAX_TEXT_BYTES = 2**16
"""A pipeline's text has at most so many."""
_MAX_ANNOTATIONS_BYTES = 2**24
"""64 pictures with some hundred polygons each."""


@dataclass(slots=True)
class Pictures:
    """The files of one request; ``close`` removes them all, results among them."""

    files: BatchFiles
    max_pictures: int
    expected_bytes: int
    sources: list[Source] = field(default_factory=list)
    masks: list[Path] = field(default_factory=list)
    _paths: list[Path] = field(default_factory=list)
    _waiting: list[tuple[Path, bytearray]] = field(default_factory=list)
    _num_waiting: int = 0

    def new_file(self, num_bytes: int) -> Path:
        """An empty file that goes with the request."""
        path = self.files.new(num_bytes)
        self._paths.append(path)
        return path

    def begin(self, name: str) -> None:
        """What comes now is another picture."""
        if len(self.sources) >= self.max_pictures:
            raise CallError(
                f"there are more than {self.max_pictures} pictures (AUGMENT_MAX_PICTURES); send them in several "
                "requests, or register a dataset"
            )
        path = self.new_file(self.expected_bytes)
        self.sources.append(Source(name or f"picture {len(self.sources)}", path))
        self._waiting.append((path, bytearray()))

    def begin_mask(self) -> None:
        """What comes now is a mask."""
        if len(self.masks) >= self.max_pictures:
            raise CallError(f"there are more than {self.max_pictures} masks (AUGMENT_MAX_PICTURES); send one a picture")
        self.masks.append(self.new_file(self.expected_bytes))
        self._waiting.append((self.masks[-1], bytearray()))

    def describe(self, annotations: str | None) -> None:
        """Give each picture its mask, in their order, and what is said about it. CallError where they do not fit."""
        if self.masks and len(self.masks) != len(self.sources):
            raise CallError(
                f"there are {len(self.masks)} masks for {len(self.sources)} pictures; send one for each, in their order"
            )
        names = [source.name for source in self.sources]
        said = [NOTHING_SAID] * len(names) if annotations is None else sent.read(annotations, names)
        masks: list[Path | None] = [*self.masks] or [None] * len(names)
        self.sources = [
            replace(source, said=one, mask=mask) for source, one, mask in zip(self.sources, said, masks, strict=True)
        ]

    @property
    def are_described(self) -> bool:
        """Whether anything but pictures was sent: then anything but pictures is answered."""
        return bool(self.masks) or any(source.said != NOTHING_SAID for source in self.sources)

    def add(self, data: bytes) -> None:
        """The next bytes of the picture or mask; ``flush`` writes them."""
        self._waiting[-1][1].extend(data)
        self._num_waiting += len(data)

    async def flush(self, *, all_of_it: bool = False) -> None:
        """Write what waits, where it is enough to be worth it, or in any case; what goes to a disk, in a thread."""
        in_memory = all(self.files.is_in_memory(path) for path, _ in self._waiting)
        enough = _FLUSH_IN_MEMORY_BYTES if in_memory else _FLUSH_BYTES
        if not self._num_waiting or (self._num_waiting < enough and not all_of_it):
            return
        waiting, self._waiting, self._num_waiting = self._waiting, [(self._waiting[-1][0], bytearray())], 0
        try:
            if in_memory:
                _append(waiting)
            else:
                await to_thread.run_sync(_append, waiting)
        except OSError as error:
            raise StorageError(f"a picture cannot be kept: {error.strerror}; free space and try again") from error

    def close(self) -> None:
        """Remove everything."""
        for path in self._paths:
            path.unlink(missing_ok=True)


async def receive_raw(request: Request, pictures: Pictures) -> None:
    """The body is the picture."""
    pictures.begin("")
    await body.receive_raw(request, pictures)


async def receive_form(request: Request, pictures: Pictures) -> dict[str, str]:
    """The parts ``images`` are the pictures; the text fields are returned. MalformedError where it is no whole form."""

    def begin(name: str, filename: str) -> bool:
        if name in PICTURE_FIELDS:
            pictures.begin(filename)
        elif name in MASK_FIELDS:
            pictures.begin_mask()
        else:
            _check_text(name)
            return False
        return True

    max_parts = 2 * pictures.max_pictures + len(TEXT_FIELDS) + 1  # one too many of either is refused by its name
    longer = {sent.FIELD: _MAX_ANNOTATIONS_BYTES}
    fields = body.Fields(begin, _MAX_TEXT_BYTES, max_parts, "curl -F images=@cat.jpg", longer)
    texts = await body.receive_form(request, pictures, fields)
    if not pictures.sources:
        raise CallError("the form has no picture; send one or more in the field 'images'")
    await to_thread.run_sync(pictures.describe, texts.pop(sent.FIELD, None))
    return texts


def _check_text(name: str) -> None:
    if name not in TEXT_FIELDS:
        known = ", ".join(sorted(TEXT_FIELDS))
        raise CallError(f"the form has a field {name[:100]!r}; send images, masks, and {known}")


def _append(waiting: list[tuple[Path, bytearray]]) -> None:
    for path, data in waiting:
        if data:
            with path.open("r+b") as file:
                file.seek(0, 2)
                file.write(data)
