"""Records of a dataset as samples: read and decoded, each with the targets that its dataset has."""

from collections.abc import Callable

from augment import decode, decoded
from augment.annotations import NOTHING, Annotations
from augment.dataset import Dataset
from augment.errors import RecordError
from augment.sample import Record, Sample
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

    @property
    def digest(self) -> str:
        return self._dataset.split_digest

    def key(self, index: int) -> str:
        return self._dataset.record(index).key

    def sample(self, index: int) -> Sample:
        record = self._dataset.record(index)
        return decode_record(self._dataset, record, max_pixels=self._max_pixels, eighths=_full)


def _full(height: int, width: int) -> int:
    del height, width
    return 8
