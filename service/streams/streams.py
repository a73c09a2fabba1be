"""Declared streams: what they are made of, kept in the home so that they outlast a kill, and found by their id.

An id is the digest of everything that the stream's batches depend on, so that every replica gives one declaration one
id, and a stream whose dataset or engine has changed is noticed instead of continued with other pixels.
"""

import json
import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

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
from augment.streams.spec import BATCH_SIZE_MAX, REPEATS_MAX
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
"""Rows, the batch they become, its floats and the message of it lie in memory together."""

_PIPELINE = "The name of a preset or a saved pipeline, YAML text, or a JSON document."
_SectionOfEachView = Annotated[list[dict[str, Any] | None], Field(max_length=VIEWS_MAX)]


class ViewRequest(schemas.StrictSchema):
    """So many images of each record through one pipeline."""

    pipeline: str | dict[str, Any] = Field(description=_PIPELINE, examples=["simclr"])
    count: int = Field(1, ge=1, le=VIEWS_MAX, description="How many views, each another draw.")


class StreamRequest(schemas.StrictSchema):
    """What a stream is made of."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"dataset": "photos", "pipeline": "inception", "batch_size": 64, "seed": 7},
                {"dataset": "photos", "pipeline": "inception", "mix": {"MixUp": {"alpha": 0.8}}},
                {"dataset": "photos", "views": [{"pipeline": "inception", "count": 2}, {"pipeline": "light"}]},
            ],
        }
    )

    dataset: str = Field(description="The name of a registered dataset.", examples=["photos"])
    pipeline: str | dict[str, Any] | None = Field(None, description=_PIPELINE, examples=["inception"])
    views: list[ViewRequest] | None = Field(
        None, min_length=1, max_length=VIEWS_MAX, description="In place of `pipeline`: several images of each record."
    )
    split: str | None = Field(None, description="Omitted: `train` where the dataset has one, else all records.")
    batch_size: int = Field(64, ge=1, le=BATCH_SIZE_MAX, description="Rows of a global batch, over all ranks.")
    seed: int = Field(0, ge=0, description="Below 2**64. Other seeds, other draws and another order.")
    shuffle: bool | None = Field(
        None,
        description="True: each epoch has an order of its own. False: records come by key. Omitted: true for the "
        "training split and for a dataset without splits, else false.",
    )
    drop_last: bool | None = Field(
        None,
        description="True: an epoch leaves out a last batch that is not full. Omitted: as for `shuffle`.",
    )
    repeats: int = Field(
        1, ge=1, le=REPEATS_MAX, description="Rows of each record in a batch, each another draw; divides `batch_size`."
    )
    mix: Annotated[Any, WithJsonSchema({"anyOf": [*json_schema()["anyOf"], {"type": "null"}]})] = Field(
        None,
        description="How rows of a batch are mixed with each other, written as a step of a pipeline. Batches then have "
        "`label_weights`. Omitted: not at all.",
        examples=["MixUp", {"CutMix": {"alpha": 1.0, "per": "row"}}, {"OneOf": {"transforms": ["MixUp", "CutMix"]}}],
    )
    normalize: dict[str, Any] | _SectionOfEachView | None = Field(
        None,
        description="How pixels become floats, in place of the pipelines' own section; of a stream with views also a "
        "list with a section for each of them.",
        examples=[{"method": "standard", "statistics": "dataset"}],
    )
    dtype: Literal["uint8", "float32", "float16"] = Field(
        "uint8", description="What batches hold: pixels, normalised by the client, or floats."
    )
    layout: Literal["NHWC", "NCHW"] = Field("NHWC", description="Channels of an image last, or first.")


_OPTIONS = ("split", "batch_size", "seed", "shuffle", "drop_last", "repeats", "mix", "dtype", "layout")
"""What ``augment.Stream`` takes as it is."""


@dataclass(frozen=True, slots=True)
class OpenStream:
    """A stream that can be read: its description, and what a worker needs to render each view of it."""

    id: str
    stream: Stream
    sources: tuple[RenderSource, ...]
    entries: tuple[DatasetEntry, ...]
    """What of the home it reads, its dataset and its references, as long as ``Datasets.reading`` holds it."""


class Streams:
    """Ids to streams. Safe between threads; every method may read the disk."""

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
        """Raise PipelineError or CallError where ``normalize``, ``dtype`` or ``layout`` can be no stream's."""
        num_sections = len(wanted.normalize) if isinstance(wanted.normalize, list) else 1
        section.choose([None] * num_sections, wanted.normalize, PixelFormat(wanted.dtype, wanted.layout))

    def needs_numbers(self, wanted: StreamRequest) -> bool:
        """Whether it asks for mean and deviation of the dataset; raises what ``declare`` raises of pipelines."""
        return section.any_needs_dataset(_sections(wanted, self._views(wanted)))

    def declare(self, wanted: StreamRequest, numbers: MeanStd | None = None) -> tuple[dict[str, Any], bool]:
        """The stream's document, durably kept before this returns; the bool says whether it is new.

        ``numbers`` are those of the split, where ``needs_numbers`` says so. Raises NotFoundError, PipelineError,
        DatasetError or CallError where there can be no such stream.
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
        """Raise CallError where a batch is more than a worker can put together."""
        num_bytes, limit = stream.batch_bytes or 0, self._worker_memory_bytes // _PARTS_OF_MEMORY
        if num_bytes > limit:
            raise CallError(
                f"the images of a batch are {num_bytes} bytes, and at most {limit} are put together: a quarter of "
                "what a worker may use (AUGMENT_WORKER_MEMORY_BYTES); take a smaller batch_size, fewer views, smaller "
                "images or dtype uint8"
            )

    def ids(self) -> list[str]:
        """All ids in order."""
        with self._lock:
            return sorted(self._documents)

    def document(self, stream_id: str) -> dict[str, Any]:
        """What was declared; NotFoundError where nothing was."""
        with self._lock:
            document = self._documents.get(stream_id)
        if document is None:
            raise NotFoundError(
                f"there is no stream {quoted(stream_id, 100)} here; declare it with POST /v1/streams, which gives the "
                "same id on every replica"
            )
        return document

    def open(self, stream_id: str) -> OpenStream:
        """The stream, ready to be read; ConflictError where its dataset or the engine is no longer what it was."""
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
        """Forget a stream; what is being read is read to its end. NotFoundError where there is none."""
        self.document(stream_id)
        with self._lock:
            with storing(f"stream {stream_id} cannot be forgotten"):
                self._path(stream_id).unlink(missing_ok=True)
            self._documents.pop(stream_id, None)
            self._opened.pop(stream_id, None)

    def _views(self, wanted: StreamRequest) -> tuple[View, ...]:
        pipeline = None if wanted.pipeline is None else self._pipeline(wanted.pipeline, "pipeline")
        views = None if wanted.views is None else [self._view(view, i) for i, view in enumerate(wanted.views)]
        return take_views(pipeline, views)

    def _pipeline(self, wanted: str | Mapping[str, Any], *loc: str | int) -> Pipeline:
        """The pipeline; what is wrong in it is placed below ``loc``."""
        with problems_below(*loc):
            return self._pipelines.get(wanted)

    def _view(self, view: ViewRequest, place: int) -> dict[str, Any]:
        return {"pipeline": self._pipeline(view.pipeline, "views", place, "pipeline"), "count": view.count}

    def _references(self, pipelines: Iterable[PipelineSpec]) -> dict[str, Dataset]:
        there = registry.entries(self._datasets, pipelines)
        return {name: self._datasets.open_entry(entry) for name, entry in there.items()}

    def _entry(self, name: str, digest: str) -> DatasetEntry:
        """A dataset that a stream was declared with; ConflictError where it is gone or another."""
        if not self._holds(name, digest):  # equal datasets may have two names, and one of them may go
            name = next((other for other in self._datasets.names() if self._holds(other, digest)), name)
        try:
            entry = self._datasets.entry(name)
        except NotFoundError:
            raise ConflictError(
                f"the dataset {name!r} of this stream is gone; register it again, with the same content for the same id"
            ) from None
        if entry.digest != digest:
            raise ConflictError(
                f"the dataset {name!r} holds other content than when this stream was declared; declare it again "
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
        found = dict(zip(names, others, strict=True))
        sources = stream.sources(manifest, found, max_pixels=self._max_pixels, cache=self._cache)
        return OpenStream(stream_id, stream, sources, entries)

    def _read_home(self) -> list[tuple[str, dict[str, Any]]]:
        found = []
        for path in self._folder.glob("*.json"):
            try:
                found.append((path.stem, json.loads(path.read_bytes())))
            except (OSError, ValueError) as error:
                _log.warning("the stream in %s cannot be read: %s", path.name, error)
        return found

    def _path(self, stream_id: str) -> Path:
        return self._folder / f"{stream_id}.json"


def _sections(wanted: StreamRequest, views: Sequence[View]) -> section.Sections:
    own = [view.pipeline.spec.normalize for view in views for _ in range(view.count)]
    return section.choose(own, wanted.normalize, PixelFormat(wanted.dtype, wanted.layout))


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
    found, first = [], 0
    for view in stream.views:
        shape = stream.image_shapes[first]
        found.append(
            {
                "pipeline": view.pipeline.spec.canonical(),
                "pipeline_name": view.pipeline.name,
                "pipeline_digest": view.pipeline.digest,
                "count": view.count,
                "image_shape": None if shape is None else list(shape),
            }
        )
        first += view.count
    return found
