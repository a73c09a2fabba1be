"""Declared streams, stored durably in the home and found by id.

An id is the digest of everything that the stream's batches depend on, so that every replica gives a declaration the
same id. A stream whose dataset or engine has changed is detected and not continued with other pixels.
"""

import json
import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import ConfigDict, Field, WithJsonSchema

from augment.dataset_stats import mean_std
from augment.dataset_stats.mean_std import MeanStd
from augment.datasets.dataset import Dataset
from augment.errors import CallError, problems_below
from augment.images.cache import CachePlace
from augment.mixing.mix import json_schema
from augment.normalize import section
from augment.normalize.pixel_format import PixelFormat
from augment.pipelines.spec import PipelineSpec
from augment.render.pipeline import Pipeline
from augment.render.renderer import RenderSource
from augment.render.views import VIEWS_MAX, View, take_views
from augment.streams.options import STREAM_OPTIONS, StreamOptions
from augment.streams.stream import Stream
from augment.validation import quoted
from service import schemas
from service.datasets import registry
from service.datasets.registration import DatasetEntry
from service.datasets.registry import Datasets
from service.errors import ConflictError, NotFoundError
from service.home import Home, storing, write_json
from service.pipelines import Pipelines
from service.settings import Settings

_log = logging.getLogger(__name__)

_PARTS_OF_MEMORY = 4
"""Copies of a batch in memory at once: rows, batch, floats and message."""

_PIPELINE = "Name of a preset or a saved pipeline, YAML text, or a JSON document."
_SectionOfEachView = Annotated[list[dict[str, Any] | None], Field(max_length=VIEWS_MAX)]


class ViewRequest(schemas.StrictSchema):
    """Request of one or more views of each record with one pipeline."""

    pipeline: str | dict[str, Any] = Field(description=_PIPELINE, examples=["simclr"])
    count: int = Field(1, ge=1, le=VIEWS_MAX, description="Number of views, each with another draw.")


_TYPES: dict[str, Any] = get_type_hints(StreamOptions) | {  # stricter in JSON
    "mix": Annotated[Any, WithJsonSchema({"anyOf": [*json_schema()["anyOf"], {"type": "null"}]})],
    "normalize": dict[str, Any] | _SectionOfEachView | None,
    "dtype": Literal["uint8", "float32", "float16"],
    "layout": Literal["NHWC", "NCHW"],
}


@schemas.with_options(STREAM_OPTIONS, _TYPES)
class StreamRequest(schemas.StrictSchema):
    """Declaration of a stream."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"dataset": "photos", "pipeline": "inception", "batch_size": 64, "seed": 7},
                {"dataset": "photos", "pipeline": "inception", "mix": {"MixUp": {"alpha": 0.8}}},
                {"dataset": "photos", "views": [{"pipeline": "inception", "count": 2}, {"pipeline": "light"}]},
            ],
        }
    )

    dataset: str = Field(description="Name of a registered dataset.", examples=["photos"])
    pipeline: str | dict[str, Any] | None = Field(None, description=_PIPELINE, examples=["inception"])
    views: list[ViewRequest] | None = Field(
        None, min_length=1, max_length=VIEWS_MAX, description="Several images of each record, instead of `pipeline`."
    )

    @property
    def options(self) -> StreamOptions:
        """Options of the stream."""
        return StreamOptions(**{name: getattr(self, name) for name in STREAM_OPTIONS})


_OPTIONS = tuple(name for name in STREAM_OPTIONS if name != "normalize")
"""Options passed unchanged to ``augment.Stream``."""


@dataclass(frozen=True, slots=True)
class OpenStream:
    """A readable stream: its description, and the sources from which workers render its views."""

    id: str
    stream: Stream
    sources: tuple[RenderSource, ...]
    entries: tuple[DatasetEntry, ...]
    """Its dataset and references in the home, readable while ``Datasets.reading`` holds them."""


class Streams:
    """Declared streams by id. Thread-safe; every method may read the disk."""

    def __init__(self, home: Home, datasets: Datasets, pipelines: Pipelines, settings: Settings) -> None:
        self._folder = home.path / "streams"
        self._datasets = datasets
        self._pipelines = pipelines
        self._max_pixels = settings.max_pixels
        self._worker_memory_bytes = settings.worker_memory_bytes
        self._cache = None
        if settings.decode_cache_bytes:
            self._cache = CachePlace(home.path / "decoded", settings.decode_cache_bytes)
        self._lock = threading.Lock()
        self._opened: dict[str, OpenStream] = {}
        self._documents = dict(self._read_home())

    @staticmethod
    def check_options(wanted: StreamRequest) -> None:
        """Raise PipelineError or CallError if ``normalize``, ``dtype`` or ``layout`` is invalid for any stream."""
        options = wanted.options
        num_sections = len(options.normalize) if isinstance(options.normalize, list) else 1
        section.choose([None] * num_sections, options.normalize, PixelFormat(options.dtype, options.layout))

    def needs_numbers(self, wanted: StreamRequest) -> bool:
        """True if the stream needs mean and deviation of the dataset. Raises the pipeline errors of ``declare``."""
        return section.any_needs_dataset(_sections(wanted, self._views(wanted)))

    def declare(self, wanted: StreamRequest, numbers: MeanStd | None = None) -> tuple[dict[str, Any], bool]:
        """Store a stream durably. Return its document, and True if it is new.

        ``numbers`` are the mean and deviation of the split if ``needs_numbers`` is True. Raises NotFoundError,
        PipelineError, DatasetError or CallError if the declaration is invalid.
        """
        views = self._views(wanted)
        has_views = wanted.views is not None
        for i, view in enumerate(views):
            registry.check(self._datasets, view.pipeline.spec, ("views", i, "pipeline") if has_views else ())
        dataset = self._datasets.get(wanted.dataset)
        sections = _sections(wanted, views)
        if numbers is not None:
            sections = mean_std.resolved(sections, dataset, numbers)
        stream = Stream(
            dataset,
            None if has_views else views[0].pipeline,
            views=[{"pipeline": view.pipeline, "count": view.count} for view in views] if has_views else None,
            references=self._references(view.pipeline.spec for view in views),
            normalize=sections,
            **{name: getattr(wanted, name) for name in _OPTIONS},
        )
        self._check_bytes(stream)
        document = _document(stream, wanted.dataset)
        with self._lock:
            known = self._documents.get(stream.id)
            if known is None or not self._holds(known["dataset"], known["dataset_digest"]):
                write_json(self._path(stream.id), document)
                self._documents[stream.id] = document
                self._opened.pop(stream.id, None)
            return self._documents[stream.id], known is None

    def _check_bytes(self, stream: Stream) -> None:
        """Raise CallError if a batch is too large for a worker."""
        num_bytes, limit = stream.batch_bytes or 0, self._worker_memory_bytes // _PARTS_OF_MEMORY
        if num_bytes > limit:
            raise CallError(
                f"the images of a batch have {num_bytes} bytes; the limit is {limit}, a quarter of a worker's memory "
                "(AUGMENT_WORKER_MEMORY_BYTES): use a smaller batch_size, fewer views, smaller images or dtype uint8"
            )

    def ids(self) -> list[str]:
        """Return all ids in order."""
        with self._lock:
            return sorted(self._documents)

    def document(self, stream_id: str) -> dict[str, Any]:
        """Return a stream's document. Raises NotFoundError."""
        with self._lock:
            document = self._documents.get(stream_id)
        if document is None:
            raise NotFoundError(
                f"this service has no stream {quoted(stream_id, 100)}; declare it with POST /v1/streams, which gives "
                "the same id on every replica"
            )
        return document

    def open(self, stream_id: str) -> OpenStream:
        """Return a stream, ready to be read. Raises ConflictError if its dataset or the engine has changed."""
        document = self.document(stream_id)
        referred = sorted(document["references"].items())
        read = [(document["dataset"], document["dataset_digest"]), *referred]
        entries = tuple(self._entry(name, digest) for name, digest in read)
        with self._lock:
            opened = self._opened.get(stream_id)
        if opened is None or opened.entries != entries:
            opened = self._open(stream_id, document, entries)
            with self._lock:
                self._opened[stream_id] = opened
        return opened

    def delete(self, stream_id: str) -> None:
        """Delete a stream. Running reads continue to their end. Raises NotFoundError."""
        self.document(stream_id)
        with self._lock:
            with storing(f"stream {stream_id} cannot be deleted"):
                self._path(stream_id).unlink(missing_ok=True)
            self._documents.pop(stream_id, None)
            self._opened.pop(stream_id, None)

    def _views(self, wanted: StreamRequest) -> tuple[View, ...]:
        pipeline = None if wanted.pipeline is None else self._pipeline(wanted.pipeline, "pipeline")
        views = None if wanted.views is None else [self._view(view, i) for i, view in enumerate(wanted.views)]
        return take_views(pipeline, views)

    def _pipeline(self, wanted: str | Mapping[str, Any], *loc: str | int) -> Pipeline:
        """Return the pipeline of a request. Places of problems in it are below ``loc``."""
        with problems_below(*loc):
            return self._pipelines.get(wanted)

    def _view(self, view: ViewRequest, place: int) -> dict[str, Any]:
        return {"pipeline": self._pipeline(view.pipeline, "views", place, "pipeline"), "count": view.count}

    def _references(self, pipelines: Iterable[PipelineSpec]) -> dict[str, Dataset]:
        entries = registry.entries(self._datasets, pipelines)
        return {name: self._datasets.open_entry(entry) for name, entry in entries.items()}

    def _entry(self, name: str, digest: str) -> DatasetEntry:
        """Return the dataset that a stream was declared with. Raises ConflictError if it was deleted or replaced."""
        if not self._holds(name, digest):  # an equal dataset may exist under another name
            name = next((other for other in self._datasets.names() if self._holds(other, digest)), name)
        try:
            entry = self._datasets.entry(name)
        except NotFoundError:
            raise ConflictError(
                f"the dataset {name!r} of this stream was deleted; register the same content again to use the stream"
            ) from None
        if entry.digest != digest:
            raise ConflictError(
                f"the dataset {name!r} has changed since this stream was declared; declare it again "
                "(POST /v1/streams), which gives another id"
            )
        return entry

    def _holds(self, name: str, digest: str) -> bool:
        try:
            return self._datasets.entry(name).digest == digest
        except (NotFoundError, ConflictError):
            return False

    def _open(self, stream_id: str, document: Mapping[str, Any], entries: tuple[DatasetEntry, ...]) -> OpenStream:
        dataset, *referred_to = [self._datasets.open_entry(entry) for entry in entries]
        names = sorted(document["references"])
        views = document["views"]
        stream = Stream(
            dataset,
            Pipeline.parse(json.dumps(document["pipeline"])) if views is None else None,
            views=None
            if views is None
            else [{"pipeline": Pipeline.parse(json.dumps(view["pipeline"])), "count": view["count"]} for view in views],
            references=dict(zip(names, referred_to, strict=True)),
            normalize=[document["normalize"]] if views is None else document["normalize"],
            **{name: document[name] for name in _OPTIONS},
        )
        if stream.id != stream_id:
            raise ConflictError(
                "this stream was declared for another engine (GET /version), which renders other pixels; declare it "
                "again (POST /v1/streams), which gives another id"
            )
        manifest, *others = [self._datasets.manifest(entry) for entry in entries]
        references = dict(zip(names, others, strict=True))
        sources = stream.sources(manifest, references, max_pixels=self._max_pixels, cache=self._cache)
        return OpenStream(stream_id, stream, sources, entries)

    def _read_home(self) -> list[tuple[str, dict[str, Any]]]:
        documents = []
        for path in self._folder.glob("*.json"):
            try:
                documents.append((path.stem, json.loads(path.read_bytes())))
            except (OSError, ValueError) as error:
                _log.warning("the stream in %s cannot be read: %s", path.name, error)
        return documents

    def _path(self, stream_id: str) -> Path:
        return self._folder / f"{stream_id}.json"


def _sections(wanted: StreamRequest, views: Sequence[View]) -> section.Sections:
    own = [view.pipeline.spec.normalize for view in views for _ in range(view.count)]
    options = wanted.options
    return section.choose(own, options.normalize, PixelFormat(options.dtype, options.layout))


def _document(stream: Stream, dataset: str) -> dict[str, Any]:
    spec = stream.spec
    return {name: getattr(spec, name) for name in _OPTIONS} | {
        "id": stream.id,
        "engine": spec.engine,
        "dataset": dataset,
        "dataset_digest": spec.dataset,
        "pipeline": stream.pipeline.spec.canonical(),
        "pipeline_name": stream.pipeline.name,
        "pipeline_digest": stream.pipeline.digest,
        "views": _views(stream) if spec.has_views else None,
        "references": dict(spec.references),
        "mix": None if spec.mix is None else spec.mix.canonical(),
        "normalize": stream.normalization,
        "num_records": stream.num_records,
        "num_batches": stream.num_batches,
        "image_shape": None if stream.image_shape is None else list(stream.image_shape),
        "classes": list(stream.classes),
        "targets": sorted(stream.targets),
        "notices": list(stream.notices),
    }


def _views(stream: Stream) -> list[dict[str, Any]]:
    documents, first = [], 0
    for view in stream.views:
        shape = stream.image_shapes[first]
        documents.append(
            {
                "pipeline": view.pipeline.spec.canonical(),
                "pipeline_name": view.pipeline.name,
                "pipeline_digest": view.pipeline.digest,
                "count": view.count,
                "image_shape": None if shape is None else list(shape),
            }
        )
        first += view.count
    return documents
