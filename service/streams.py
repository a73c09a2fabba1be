"""Declared streams: what they are made of, kept in the home so that they outlast a kill, and found by their id.

An id is the digest of everything that the stream's batches depend on, so that every replica gives one declaration one
id, and a stream whose dataset or engine has changed is noticed instead of continued with other pixels.
"""

import json
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augment.render import RenderSource
from augment.stream import Stream
from augment.transforms.load import Pipeline
from service.datasets import Datasets
from service.errors import ConflictError, NotFoundError
from service.home import Home, storing, write_json
from service.pipelines import Pipelines
from service.registration import Entry
from service.settings import Settings

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a client asks for."""

    dataset: str
    pipeline: str | Mapping[str, Any]
    split: str | None
    batch_size: int
    seed: int
    shuffle: bool
    drop_last: bool


@dataclass(frozen=True, slots=True)
class OpenStream:
    """A stream that can be read: its description, and what a worker needs to render it."""

    id: str
    stream: Stream
    source: RenderSource
    entry: Entry
    """What of the home it reads, as long as ``Datasets.reading`` holds it."""


class Streams:
    """Ids to streams. Safe between threads; every method may read the disk."""

    def __init__(self, home: Home, datasets: Datasets, pipelines: Pipelines, settings: Settings) -> None:
        self._folder = home.path / "streams"
        self._datasets = datasets
        self._pipelines = pipelines
        self._max_pixels = settings.max_pixels
        self._lock = threading.Lock()
        self._opened: dict[str, OpenStream] = {}
        self._documents = dict(self._read_home())

    def declare(self, wanted: Declaration) -> tuple[dict[str, Any], bool]:
        """The stream's document, durably kept before this returns; the bool says whether it is new.

        Raises NotFoundError, PipelineError, DatasetError or CallError where there can be no such stream.
        """
        pipeline = self._pipelines.get(wanted.pipeline)
        stream = Stream(
            self._datasets.get(wanted.dataset),
            pipeline,
            batch_size=wanted.batch_size,
            seed=wanted.seed,
            split=wanted.split,
            shuffle=wanted.shuffle,
            drop_last=wanted.drop_last,
        )
        document = _document(stream, wanted.dataset)
        with self._lock:
            known = self._documents.get(stream.id)
            if known is None or known["dataset"] != wanted.dataset:  # equal datasets may have two names, and lose one
                write_json(self._path(stream.id), document)
                self._documents[stream.id] = document
                self._opened.pop(stream.id, None)
            return self._documents[stream.id], known is None

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
                f"there is no stream {stream_id[:100]!r} here; declare it with POST /v1/streams, which gives the same "
                "id on every replica"
            )
        return document

    def open(self, stream_id: str) -> OpenStream:
        """The stream, ready to be read; ConflictError where its dataset or the engine is no longer what it was."""
        document = self.document(stream_id)
        name = document["dataset"]
        try:
            entry = self._datasets.entry(name)
        except NotFoundError:
            raise ConflictError(
                f"the dataset {name!r} of this stream is gone; register it again, with the same content for the same id"
            ) from None
        if entry.digest != document["dataset_digest"]:
            raise ConflictError(
                f"the dataset {name!r} holds other content than when this stream was declared; declare it again "
                "(POST /v1/streams), which gives another id"
            )
        with self._lock:
            opened = self._opened.get(stream_id)
        if opened is None or opened.entry != entry:
            opened = self._open(stream_id, document, entry)
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

    def _open(self, stream_id: str, document: Mapping[str, Any], entry: Entry) -> OpenStream:
        stream = Stream(
            self._datasets.open_entry(entry),
            Pipeline.parse(json.dumps(document["pipeline"])),
            batch_size=document["batch_size"],
            seed=document["seed"],
            split=document["split"],
            shuffle=document["shuffle"],
            drop_last=document["drop_last"],
        )
        if stream.id != stream_id:
            raise ConflictError(
                "this stream was declared for another engine (GET /version), which renders other pixels; declare it "
                "again (POST /v1/streams), which gives another id"
            )
        source = RenderSource(
            manifest=self._datasets.manifest(entry),
            dataset_digest=stream.spec.dataset,
            split=stream.spec.split,
            spec=stream.pipeline.spec,
            seed=stream.spec.seed,
            max_pixels=self._max_pixels,
        )
        return OpenStream(stream_id, stream, source, entry)

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


def _document(stream: Stream, dataset: str) -> dict[str, Any]:
    spec = stream.spec
    return {
        "id": stream.id,
        "engine": spec.engine,
        "dataset": dataset,
        "dataset_digest": spec.dataset,
        "split": spec.split,
        "pipeline": stream.pipeline.spec.canonical(),
        "pipeline_name": stream.pipeline.name,
        "pipeline_digest": stream.pipeline.digest,
        "batch_size": spec.batch_size,
        "seed": spec.seed,
        "shuffle": spec.shuffle,
        "drop_last": spec.drop_last,
        "num_records": stream.num_records,
        "num_batches": stream.num_batches,
        "image_shape": None if stream.image_shape is None else list(stream.image_shape),
        "classes": list(stream.classes),
        "targets": sorted(stream.dataset.targets),
        "notices": list(stream.pipeline.notices),
    }
