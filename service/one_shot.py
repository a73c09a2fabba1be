"""One-shot requests: images received into files, rendered by the workers, answered as an image or a bundle.

Received images are kept in the folder of rendered batches (in memory while there is room), under unique names, and are
removed with the request. A late worker then finds no file.
"""

import asyncio
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from anyio import to_thread
from starlette.requests import Request

from augment import engine
from augment.datasets import keys
from augment.errors import CallError, RecordError, StorageError
from augment.formats import tree
from augment.images import encode
from augment.render import request_annotations, result_file
from augment.render.one_shot import Copies, ImageSizesTask, OneShotTask, RequestImage, Result
from augment.render.pipeline import Pipeline
from augment.render.renderer import ReferenceSource
from augment.render.request_annotations import NOTHING_SAID
from augment.render.result_file import Laid
from augment.validation import quoted
from augment.wire import bundle
from augment.wire.bundle import Bundle, BundleEntry
from augment.workers.task import Workers
from service.asgi import receive, requests
from service.datasets import registry
from service.datasets.registration import DatasetEntry
from service.datasets.registry import Datasets
from service.home import storing
from service.observe import Metrics
from service.settings import Settings
from service.streams.batch_files import BatchFile, BatchFiles

IMAGE_FIELDS = frozenset({"images", "image"})
MASK_FIELDS = frozenset({"masks", "mask"})
TEXT_FIELDS = frozenset(
    {"pipeline", "seed", "copies", "copy", "same_draw", "image_format", "quality", "format", request_annotations.FIELD}
)

FORM_LINE = "`curl -F images=@cat.jpg -F pipeline=flip-rotate-crop URL/v1/augment -o out.jpg`"
BODY_LINE = "`curl --data-binary @cat.jpg 'URL/v1/augment?pipeline=flip-rotate-crop' -o out.jpg`"
"""Working commands for error messages; ``problems`` fills in the service's URL."""

_FLUSH_BYTES = 2**20
_FLUSH_IN_MEMORY_BYTES = 2**18
"""Copying this much into memory takes a tenth of a millisecond, less than starting a thread."""
_HEAD_BYTES = 4096
_MAX_TEXT_BYTES = 2**16
"""Longest text field: that of a pipeline."""
_MAX_ANNOTATIONS_BYTES = 2**24
"""Enough for 64 images with some hundred polygons each."""


@dataclass(slots=True)
class RequestFiles:
    """The files of one request, including results. ``close`` removes them all."""

    files: BatchFiles
    max_images: int
    expected_bytes: int
    sources: list[RequestImage] = field(default_factory=list)
    masks: list[Path] = field(default_factory=list)
    head: bytearray = field(default_factory=bytearray)
    """The first bytes of the request's files."""
    _paths: list[Path] = field(default_factory=list)
    _waiting: list[tuple[Path, bytearray]] = field(default_factory=list)
    _num_waiting: int = 0

    def new_file(self, num_bytes: int) -> Path:
        """Create an empty file that is removed with the request."""
        path = self.files.new(num_bytes)
        self._paths.append(path)
        return path

    def begin(self, name: str) -> None:
        """Begin another image. Raises CallError beyond the limit."""
        if len(self.sources) >= self.max_images:
            raise CallError(
                f"the request has more than {self.max_images} images (AUGMENT_MAX_IMAGES); send several requests, or "
                "register a dataset"
            )
        path = self.new_file(self.expected_bytes)
        self.sources.append(RequestImage(name or f"image {len(self.sources)}", path))
        self._waiting.append((path, bytearray()))

    def begin_mask(self) -> None:
        """Begin another mask. Raises CallError beyond the limit."""
        if len(self.masks) >= self.max_images:
            raise CallError(
                f"the request has more than {self.max_images} masks (AUGMENT_MAX_IMAGES); send one for each image"
            )
        self.masks.append(self.new_file(self.expected_bytes))
        self._waiting.append((self.masks[-1], bytearray()))

    def describe(self, annotations: str | None) -> None:
        """Assign masks and annotations to the images, in their order. Raises CallError if they do not match."""
        if self.masks and len(self.masks) != len(self.sources):
            raise CallError(
                f"the request has {len(self.masks)} masks for {len(self.sources)} images; send one mask for each "
                "image, in the same order"
            )
        names = [source.name for source in self.sources]
        described = [NOTHING_SAID] * len(names) if annotations is None else request_annotations.read(annotations, names)
        masks: list[Path | None] = [*self.masks] or [None] * len(names)
        self.sources = [
            replace(source, said=each, mask=mask)
            for source, each, mask in zip(self.sources, described, masks, strict=True)
        ]

    @property
    def are_described(self) -> bool:
        """True if masks or annotations were sent, so that the answer has them too."""
        return bool(self.masks) or any(source.said != NOTHING_SAID for source in self.sources)

    def add(self, data: bytes) -> None:
        """Buffer the next bytes of the image or mask; ``flush`` writes them."""
        self._waiting[-1][1].extend(data)
        if len(self.head) < _HEAD_BYTES:
            self.head.extend(data[: _HEAD_BYTES - len(self.head)])
        self._num_waiting += len(data)

    async def flush(self, *, all_of_it: bool = False) -> None:
        """Write the buffered bytes if there are enough; with ``all_of_it`` always. Disks are written in a thread."""
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
            raise StorageError(f"an image cannot be stored: {error.strerror}; free space and try again") from error

    def close(self) -> None:
        """Remove all files."""
        for path in self._paths:
            path.unlink(missing_ok=True)


async def receive_form(request: Request, images: RequestFiles) -> dict[str, str]:
    """Receive a form's images and masks, and return its text fields. Raises MalformedError for a broken form."""

    def begin(name: str, filename: str) -> bool:
        if name in IMAGE_FIELDS:
            images.begin(filename)
        elif name in MASK_FIELDS:
            images.begin_mask()
        else:
            _check_text(name, filename)
            return False
        return True

    max_parts = 2 * images.max_images + len(TEXT_FIELDS) + 1  # one more, so that `begin` names an excess image
    longer = {request_annotations.FIELD: _MAX_ANNOTATIONS_BYTES}
    fields = receive.Fields(begin, _MAX_TEXT_BYTES, max_parts, "curl -F images=@cat.jpg", longer)
    texts = await receive.receive_form(request, images, fields)
    if not images.sources:
        raise CallError(f"the form has no image; send one or more in the field `images`: {FORM_LINE}")
    await to_thread.run_sync(images.describe, texts.pop(request_annotations.FIELD, None))
    return texts


def _check_text(name: str, filename: str) -> None:
    if name in TEXT_FIELDS:
        return
    if filename:
        raise CallError(
            f"the form has a file in the field {quoted(name, 100)}; send images in the field `images`, masks in "
            f"`masks`: {FORM_LINE}"
        )
    known = ", ".join(sorted(TEXT_FIELDS))
    raise CallError(f"the form has an unknown field {quoted(name, 100)}; fields are images, masks, {known}")


def _append(waiting: list[tuple[Path, bytearray]]) -> None:
    for path, data in waiting:
        if data:
            with path.open("r+b") as file:
                file.seek(0, 2)
                file.write(data)


PROVENANCE = "Augment-Provenance"
PROVENANCE_MAX_BYTES = 4096
"""Half of the limit that common servers and proxies set for all headers together."""

_ROOM_FACTOR = 2

_SEPARATORS = re.compile(r"[/\\]")
_RESERVED = re.compile(r'[<>:"|?*\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+')
"""Characters reserved by Windows (Microsoft, "Naming Files, Paths, and Namespaces"), and line breaks."""
_DEVICE = re.compile(r"(?i)(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?=\.|$)")
_STEM_BYTES = 220
"""Longest stem: of the 255 bytes of a file's name, the rest is for the number, the copy and ``.mask.png``."""


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a one-shot request. With ``same_draw`` all its images have one key."""

    pipeline: Pipeline
    seed: int
    copies: int
    image_format: str
    quality: int
    first_copy: int = 0
    same_draw: bool = False
    references: Mapping[str, DatasetEntry] = field(default_factory=dict)
    """Datasets whose images transforms use, by the names in the pipeline."""


@dataclass(frozen=True, slots=True)
class ImageCopies:
    """All copies of one image, in one file."""

    source: RequestImage
    path: Path
    results: Sequence[Result]


class OneShot:
    """Renderer of one-shot requests. For the event loop's thread only."""

    def __init__(
        self, files: BatchFiles, datasets: Datasets, workers: Workers, metrics: Metrics, settings: Settings
    ) -> None:
        self.files = files
        self._datasets = datasets
        self._workers = workers
        self._metrics = metrics
        self._settings = settings

    async def render(self, images: RequestFiles, options: Options) -> list[ImageCopies]:
        """Render all copies of all images. Cancelling stops the work at once.

        Raises RecordError for the first image that cannot be used, CallError beyond a limit, ConflictError if
        references have changed.
        """
        settings, sources = self._settings, images.sources
        num_results = len(sources) * options.copies
        if num_results > settings.max_images:
            raise CallError(
                f"{len(sources)} images with {options.copies} copies each are {num_results} results; one request has "
                f"at most {settings.max_images} (AUGMENT_MAX_IMAGES): send several requests, or start a job"
            )
        try:
            if num_results > 1:  # a single one is bounded by AUGMENT_MAX_PIXELS
                await self._check_pixels(sources, options.copies)
            async with registry.reading(self._datasets, options.references.values()):
                try:
                    results = await self._render(images, options)
                except StorageError:  # results may be larger than expected; remove idle batches to make room
                    if not self.files.reclaim(settings.batch_cache_bytes):
                        raise
                    results = await self._render(images, options)
        except RecordError as error:
            self._metrics.records_refused.labels(str(error.reason)).inc()
            raise
        self._metrics.images.inc(num_results)
        return results

    async def _check_pixels(self, sources: Sequence[RequestImage], copies: int) -> None:
        task = ImageSizesTask(tuple(sources), self._settings.max_pixels)
        sizes = await asyncio.wrap_future(self._workers.submit(task))
        total = copies * sum(height * width for height, width in sizes)
        if total > self._settings.max_request_pixels:
            raise CallError(
                f"the images have {total} pixels, counted once for each copy; the limit of one request is "
                f"{self._settings.max_request_pixels} (AUGMENT_MAX_REQUEST_PIXELS): send several requests"
            )

    async def _render(self, images: RequestFiles, options: Options) -> list[ImageCopies]:
        files: list[Path] = []
        futures: list[Future[Copies]] = []
        results: list[ImageCopies] = []
        references = tuple(
            ReferenceSource(name, self._datasets.manifest(entry), entry.digest)
            for name, entry in options.references.items()
        )
        try:
            for source in images.sources:
                files.append(images.new_file(_ROOM_FACTOR * images.expected_bytes * options.copies))
                task = OneShotTask(
                    source,
                    options.pipeline.spec,
                    options.seed,
                    options.copies,
                    options.image_format,
                    options.quality,
                    self._settings.max_pixels,
                    files[-1],
                    references,
                    options.first_copy,
                    images.sources[0].path if options.same_draw else None,
                )
                futures.append(self._workers.submit(task))
            waiting = [asyncio.wrap_future(future) for future in futures]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_EXCEPTION)
            failed = [one for one in waiting if one.done() and one.exception() is not None]
            if failed:
                failed[0].result()
            for source, path, one in zip(images.sources, files, waiting, strict=True):
                copies = one.result()
                self._metrics.observe_stages(copies.seconds)
                results.append(ImageCopies(source, path, copies.results))
            return results
        finally:
            for future in futures:
                future.cancel()  # a late worker stops before its next copy, because its file is gone
            for path in files if not results else ():
                path.unlink(missing_ok=True)


def single(copies: ImageCopies, options: Options, *, in_memory: bool) -> tuple[BatchFile, dict[str, str]]:
    """Return the file and the headers of a single result."""
    result = copies.results[0]
    name = f"{safe_stem(copies.source.name)}__{result.copy}.{encode.EXTENSIONS[options.image_format]}"
    file = BatchFile(copies.path, Laid(result.num_bytes, result.num_bytes), in_memory=in_memory)
    headers = {
        "Content-Type": f"image/{options.image_format}",
        "Content-Length": str(result.num_bytes),
        "Content-Disposition": requests.disposition("inline", name),
        PROVENANCE: provenance_header(_annotation(result) | _head(options)),
    }
    return file, headers


def pack(kind: Bundle, images: Sequence[ImageCopies], options: Options, into: Path) -> int:
    """Write all results into a bundle and return its size in bytes. Blocks."""
    names, extension = _Names(), encode.EXTENSIONS[options.image_format]
    entries = []
    for image in images:
        length = sum(result.num_bytes + result.mask_bytes for result in image.results)
        data = result_file.read_content(image.path, Laid(length, length))
        stem = names.stem(image.source.name)
        entries += [
            BundleEntry(
                f"{stem}__{result.copy}.{extension}",
                data[result.start : result.start + result.num_bytes],
                {"image": image.source.name, **_annotation(result)},
                *_mask(f"{stem}__{result.copy}", result, data),
            )
            for result in image.results
        ]
    with storing("the results cannot be packed"), into.open("r+b") as file:
        bundle.write(kind, file, entries, _head(options))
    return into.stat().st_size


def provenance_header(document: Mapping[str, Any]) -> str:
    """Return ASCII JSON of at most 4 kB. Parameters that make it longer are left out, and ``left_out`` says so."""
    text = _ascii(document)
    if len(text) <= PROVENANCE_MAX_BYTES:
        return text
    names = [each["name"] for each in document["applied"]]
    shorter = {**document, "applied": [{"name": name} for name in names], "left_out": "params"}
    while len(text := _ascii(shorter)) > PROVENANCE_MAX_BYTES:
        names = names[: len(names) // 2]
        shorter |= {"applied": [{"name": name} for name in names], "left_out": "params and transforms"}
    return text


def _annotation(result: Result) -> dict[str, Any]:
    return {
        "key": result.key,
        "copy": result.copy,
        "height": result.height,
        "width": result.width,
        **result.provenance.as_json(),
        **result.annotations,
    }


def _mask(stem: str, result: Result, data: memoryview) -> tuple[str, memoryview] | tuple[()]:
    if not result.mask_bytes:
        return ()
    start = result.start + result.num_bytes
    return f"{stem}.mask.png", data[start : start + result.mask_bytes]


def _head(options: Options) -> dict[str, Any]:
    pipeline = options.pipeline
    return {
        "engine": engine.engine_id(),
        "pipeline": {"name": pipeline.name[:100], "digest": pipeline.digest},
        "seed": options.seed,
        **({"same_draw": True} if options.same_draw else {}),
    }


def _ascii(document: Mapping[str, Any]) -> str:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


class _Names:
    """Generator of distinct file names, ignoring case."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def stem(self, name: str) -> str:
        plain = safe_stem(name)
        stem, count = plain, 1
        while stem.casefold() in self._taken:
            count += 1
            stem = f"{plain}-{count}"
        self._taken.add(stem.casefold())
        return stem


def safe_stem(name: str) -> str:
    """Return an image's name without folders and extension, in any script, safe to unpack on any system.

    The name is in NFC. Control characters and those that Windows reserves become ``_``. Leading dots are removed,
    because they would hide the file. Long names are cut.
    """
    last = _SEPARATORS.split(unicodedata.normalize("NFC", name))[-1]
    stem = keys.without_extension(last) if tree.is_image(last) else last
    stem = _RESERVED.sub("_", stem).lstrip(".")
    stem = _DEVICE.sub(r"_\g<0>", stem, count=1) if _DEVICE.match(stem) else stem
    return stem.encode()[:_STEM_BYTES].decode(errors="ignore").strip() or "image"
