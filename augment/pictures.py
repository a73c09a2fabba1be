"""Records of a dataset as samples: read and decoded, each with the targets that its dataset has."""

import os
from collections.abc import Callable, Iterable, Sequence

from numpy.typing import ArrayLike

from augment import arguments, decode, decoded
from augment.annotations import NOTHING, Annotations
from augment.dataset import Dataset
from augment.errors import CallError, RecordError
from augment.sample import Record, Sample, as_image, as_sample
from augment.stages import Stages

Eighths = Callable[[int, int], int]


def decode_record(
    dataset: Dataset, record: Record, *, max_pixels: int, eighths: Eighths, stages: Stages | None = None
) -> Sample:
    """Read and decode one record; ``eighths`` says from height and width how much of it is decoded.

    Raises RecordError with the record's key where the file is not what the manifest describes or no picture,
    StorageError where the machine fails to read it.
    """
    stages = stages or Stages()
    stages.begin()
    encoded = dataset.read(record)
    annotations = Annotations.from_json(record.annotations) if record.annotations else NOTHING
    mask = None if record.mask is None else dataset.read_mask(record)
    stages.end("read")
    try:
        sample = decoded.decode_picture(
            encoded,
            annotations,
            mask,
            dataset.vocabulary,
            full_size=(record.height, record.width),
            max_pixels=max_pixels,
            eighths=eighths,
        )
    except RecordError as error:
        raise RecordError(record.key, error.reason, error.detail) from error
    sample.label = record.label
    stages.end("decode")
    return sample


class Pictures:
    """The records of a dataset (of its chosen split) that transforms may take from: a ``transforms.source.Source``."""

    def __init__(self, dataset: Dataset, *, max_pixels: int = decode.DEFAULT_MAX_PIXELS) -> None:
        self._dataset = dataset
        self._max_pixels = max_pixels

    @property
    def num_records(self) -> int:
        return self._dataset.num_records

    def key(self, index: int) -> str:
        return self._dataset.record(index).key

    def sample(self, index: int) -> Sample:
        record = self._dataset.record(index)
        return decode_record(self._dataset, record, max_pixels=self._max_pixels, eighths=_full)


class Loose:
    """Pictures that lie in memory, as a ``transforms.source.Source``; their keys are their places.

    CallError where one is no uint8 (H, W, 3) RGB, or where there is none.
    """

    def __init__(self, given: Sequence[Sample | ArrayLike]) -> None:
        if isinstance(given, str | os.PathLike) or not isinstance(given, Iterable):
            raise CallError(
                f"references are {arguments.shown(given)}; give a dataset (augment.scan reads a folder) or pictures"
            )
        self._samples = [as_sample(each) if isinstance(each, Sample) else Sample(as_image(each)) for each in given]
        if not self._samples:
            raise CallError("references are no pictures at all; give at least one")

    @property
    def num_records(self) -> int:
        return len(self._samples)

    def key(self, index: int) -> str:
        return str(index)

    def sample(self, index: int) -> Sample:
        return self._samples[index]


def source_of(
    given: Dataset | Sequence[Sample | ArrayLike], *, max_pixels: int = decode.DEFAULT_MAX_PIXELS
) -> Pictures | Loose:
    """Where transforms find the references that somebody gave: of a dataset with splits those of the training split."""
    return Pictures(given.choose(None), max_pixels=max_pixels) if isinstance(given, Dataset) else Loose(given)


def _full(height: int, width: int) -> int:
    del height, width
    return 8
