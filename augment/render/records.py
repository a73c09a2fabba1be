"""Records of a dataset as samples: read and decoded, with the targets of the dataset."""

import functools
import os
import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from augment import validation
from augment.datasets import targets
from augment.datasets.dataset import Dataset
from augment.errors import CallError, KeyedErrors
from augment.images.cache import DecodedCache, name_of
from augment.images.decode import DEFAULT_MAX_PIXELS, decode_image
from augment.samples.annotations import NOTHING, Annotations
from augment.samples.inputs import as_image, as_sample
from augment.samples.sample import Record, Sample


class Stages:
    """Stopwatch of the seconds spent in each stage of the work. Not thread-safe."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._last_s = 0.0

    def begin(self) -> None:
        """Start a stage."""
        self._last_s = time.perf_counter()

    def end(self, stage: str) -> None:
        """End the stage and start the next."""
        now_s = time.perf_counter()
        self._seconds[stage] = self._seconds.get(stage, 0.0) + now_s - self._last_s
        self._last_s = now_s

    def take(self) -> dict[str, float]:
        """Return the seconds of each stage since the last call, in the order of first use."""
        seconds, self._seconds = self._seconds, {}
        return seconds


Eighths = Callable[[int, int], int]


def annotations_of(record: Record) -> Annotations:
    """Return the annotations of a record."""
    return Annotations.from_json(record.annotations) if record.annotations else NOTHING


def decode_record(
    dataset: Dataset,
    record: Record,
    *,
    max_pixels: int,
    eighths: Eighths,
    cache: DecodedCache | None = None,
    stages: Stages | None = None,
) -> Sample:
    """Read and decode one record; ``eighths`` returns the decoded size in eighths for a height and width.

    ``cache`` keeps decoded images. It is used only if the file cannot have changed since the scan, so that refusals do
    not depend on the cache. The arrays of the sample must not be changed.

    Raises RecordError with the record's key if the file is not an image or differs from the manifest, StorageError if
    the machine fails to read it.
    """
    stages = stages or Stages()
    stages.begin()
    read = functools.partial(_image, dataset, record, max_pixels, eighths, stages)
    annotations = annotations_of(record)
    with KeyedErrors(record.key):
        if cache is not None and dataset.is_unchanged(record):
            image = cache.array(name_of(record.digest, eighths(record.height, record.width)), read)
        else:
            image = read()
        sample = targets.with_targets(
            image,
            annotations,
            None if record.mask is None else functools.partial(dataset.decode_mask, record, max_pixels=max_pixels),
            dataset.vocabulary,
            full_size=(record.height, record.width),
        )
    sample.label = record.label
    stages.end("decode")
    return sample


def _image(dataset: Dataset, record: Record, max_pixels: int, eighths: Eighths, stages: Stages) -> NDArray[np.uint8]:
    encoded = dataset.read(record)
    stages.end("read")
    return decode_image(encoded, max_pixels=max_pixels, eighths=eighths)


class RecordSource:
    """Records of a dataset, or of its chosen split, as a ``donors.source.Source``."""

    def __init__(
        self, dataset: Dataset, *, max_pixels: int = DEFAULT_MAX_PIXELS, cache: DecodedCache | None = None
    ) -> None:
        self._dataset = dataset
        self._max_pixels = max_pixels
        self._cache = cache

    @property
    def num_records(self) -> int:
        return self._dataset.num_records

    def key(self, index: int) -> str:
        return self._dataset.record(index).key

    def sample(self, index: int) -> Sample:
        record = self._dataset.record(index)
        return decode_record(self._dataset, record, max_pixels=self._max_pixels, eighths=_full, cache=self._cache)


class Loose:
    """Images in memory as a ``donors.source.Source``; their keys are their positions.

    Raises CallError if one is not uint8 (H, W, 3) RGB, or if there are none.
    """

    def __init__(self, given: Sequence[Sample | ArrayLike]) -> None:
        if isinstance(given, str | os.PathLike) or not isinstance(given, Iterable):
            raise CallError(
                f"references are {validation.quoted(given)}; give a dataset (augment.scan reads a folder) or images"
            )
        self._samples = [as_sample(each) if isinstance(each, Sample) else Sample(as_image(each)) for each in given]
        if not self._samples:
            raise CallError("references has no images; give at least one")

    @property
    def num_records(self) -> int:
        return len(self._samples)

    def key(self, index: int) -> str:
        return str(index)

    def sample(self, index: int) -> Sample:
        return self._samples[index]


def source_of(
    given: Dataset | Sequence[Sample | ArrayLike],
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    cache: DecodedCache | None = None,
) -> RecordSource | Loose:
    """Return the references as a source for transforms: of a dataset with splits, the training split."""
    if isinstance(given, Dataset):
        return RecordSource(given.choose(None), max_pixels=max_pixels, cache=cache)
    return Loose(given)


def _full(height: int, width: int) -> int:
    del height, width
    return 8
