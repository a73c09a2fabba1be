"""Statistics of a dataset's images: their pixels, each image decoded once, and the counts of its manifest.

For each channel, the occurrences of each of the 256 values are counted. Sums of integers do not depend on their order,
so mean and standard deviation do not depend on the number of workers and are rounded only once. Every pixel counts the
same, so a large image counts more than a small one.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment import engine
from augment.dataset_stats import counts
from augment.dataset_stats.counts import Census
from augment.datasets.dataset import Dataset, in_ranges
from augment.errors import RecordError
from augment.images import histogram, masks
from augment.images.decode import DEFAULT_MAX_PIXELS, decode_image
from augment.samples.sample import Record, Refusal
from augment.workers import task
from augment.workers.files import MemoryFile
from augment.workers.task import Guard, Workers

_TOP = histogram.LEVELS - 1
_IMAGES_A_TASK = 32
_REFUSALS_KEPT = 1000

Progress = Callable[[int, int, int], None]
"""Called with the numbers of records that are done, of all records, and of refused records."""


@dataclass(frozen=True)
class Pixels:
    """Pixel counts of some images: ``counts`` is int64 (3, 256), the occurrences of each value of red, green and blue.

    ``num_records`` images were decoded. ``mask_values`` maps each value of the masks to its number of pixels.
    """

    num_records: int
    counts: NDArray[np.int64]
    mask_values: Mapping[int, int]

    @property
    def num_pixels(self) -> int:
        return int(self.counts[0].sum())

    @property
    def mean(self) -> tuple[float, float, float]:
        """Mean of red, green and blue in [0, 1], as normalisation takes them; NaN if there are no pixels."""
        red, green, blue = (histogram.mean_and_std(channel, _TOP)[0] for channel in self.counts)
        return red, green, blue

    @property
    def std(self) -> tuple[float, float, float]:
        """Standard deviation of red, green and blue in [0, 1], over all pixels (divided by their number); NaN without
        any.
        """
        red, green, blue = (histogram.mean_and_std(channel, _TOP)[1] for channel in self.counts)
        return red, green, blue


@dataclass(frozen=True)
class DatasetStatistics:
    """Counts and pixels of a dataset, for each split and for the whole.

    ``parts`` has the census and the pixels of each split, or one entry for a dataset without splits. Pixels are None if
    no image was decoded. ``whole`` is the sum over all splits. ``refused`` counts, by reason, files that the scan
    refused and records that could not be decoded. ``refusals`` names the first thousand of these records.
    """

    dataset: Dataset
    parts: tuple[tuple[Census, Pixels | None], ...]
    whole: Pixels | None
    refused: Mapping[str, int]
    refusals: tuple[Refusal, ...]

    @property
    def mean(self) -> tuple[float, float, float] | None:
        """Mean over all splits; for normalisation take the mean of the training split."""
        return None if self.whole is None else self.whole.mean

    @property
    def std(self) -> tuple[float, float, float] | None:
        """Standard deviation over all splits."""
        return None if self.whole is None else self.whole.std

    def mask_class(self, value: int) -> str:
        """Return the class name of a mask's value."""
        if value < len(self.dataset.classes):
            return self.dataset.classes[value]
        return "(ignored)" if value == masks.IGNORED else str(value)


@dataclass(slots=True)
class _Sum:
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros((3, histogram.LEVELS), np.int64))
    mask_values: Counter[int] = field(default_factory=Counter)
    num_records: int = 0
    refusals: list[Refusal] = field(default_factory=list)

    def add(self, other: "_Sum") -> None:
        self.counts += other.counts
        self.mask_values.update(other.mask_values)
        self.num_records += other.num_records
        self.refusals += other.refusals

    def pixels(self) -> Pixels:
        return Pixels(self.num_records, self.counts, dict(sorted(self.mask_values.items())))


@dataclass(frozen=True, slots=True)
class MeasureTask:
    """Decode a range of a view's records, and their masks unless they are not wanted, and count values."""

    dataset: Dataset
    part: int
    records: range
    masks: bool = True
    max_pixels: int = DEFAULT_MAX_PIXELS

    def run(self, guard: Guard) -> tuple[int, _Sum]:
        """Return the part's number and its counts; refused records are not counted."""
        total = _Sum()
        for record in self.dataset.records(self.records):
            try:
                counts, values = guard(
                    f"{record.digest}-measure-{engine.decode_id()}", record.key, partial(self._count, record)
                )
            except RecordError as error:
                total.refusals.append(Refusal(record.key, error.reason, error.detail))
            else:
                total.counts += counts
                total.mask_values.update(values)
                total.num_records += 1
        return self.part, total

    def _count(self, record: Record) -> tuple[NDArray[np.int64], dict[int, int]]:
        counts = histogram.count(decode_image(self.dataset.read(record), max_pixels=self.max_pixels))
        if record.mask is None or not self.masks:
            return counts, {}
        values, numbers = np.unique(self.dataset.decode_mask(record), return_counts=True)
        return counts, dict(zip(values.tolist(), numbers.tolist(), strict=True))


def dataset_statistics(
    dataset: Dataset, workers: Workers | None = None, *, pixels: bool = True, progress: Progress | None = None
) -> DatasetStatistics:
    """Describe a dataset for each split; each image is decoded once, unless ``pixels`` is False.

    Without ``workers`` the images are decoded in this process. ``progress`` is called from this thread. Raises
    StorageError, WorkerError.
    """
    views = counts.views(dataset)
    taken = [counts.take(view) for view in views]
    sums = _measure(dataset, views, workers, progress) if pixels else [_Sum() for _ in views]
    refused = Counter(str(each.reason) for each in dataset.refused)
    refusals = [
        Refusal(
            each.key if view.split in {None, dataset.split} else f"{view.split}/{each.key}", each.reason, each.detail
        )
        for view, part in zip(views, sums, strict=True)
        for each in sorted(part.refusals, key=lambda each: each.key.encode())
    ]
    refused.update(str(each.reason) for each in refusals)
    measured = [part.pixels() if pixels else None for part in sums]
    whole = _Sum()
    for part in sums:
        whole.add(part)
    return DatasetStatistics(
        dataset,
        tuple(zip(taken, measured, strict=True)),
        whole.pixels() if pixels else None,
        dict(sorted(refused.items())),
        tuple(refusals[:_REFUSALS_KEPT]),
    )


@dataclass(frozen=True, slots=True)
class Counted:
    """Pixels of one view, without its masks, and the records that could not be decoded, by key."""

    pixels: Pixels
    refusals: tuple[Refusal, ...]


def pixels_of(
    dataset: Dataset,
    workers: Workers | None = None,
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    progress: Progress | None = None,
) -> Counted:
    """Count the pixels of a view; see ``dataset_statistics``."""
    [total] = _measure(dataset, [dataset], workers, progress, masks=False, max_pixels=max_pixels)
    return Counted(total.pixels(), tuple(sorted(total.refusals, key=lambda each: each.key.encode())))


def _measure(
    dataset: Dataset, views: list[Dataset], workers: Workers | None, progress: Progress | None, **options: Any
) -> list[_Sum]:
    """Count the values of each view; ``options`` are those of ``MeasureTask``."""
    sums = [_Sum() for _ in views]
    done = failed = 0
    with MemoryFile("dataset") as file:
        file.write(dataset.to_buffer())
        shared = Dataset.open(file.path)
        opened = [shared if view.split is None else shared.choose(view.split) for view in views]
        tasks = (
            MeasureTask(view, part, some, **options)
            for part, view in enumerate(opened)
            for some in in_ranges(view, _IMAGES_A_TASK)
        )
        with contextlib.closing(task.run_all(workers, tasks, lambda _: None)) as results:
            for part, counted in results:
                sums[part].add(counted)
                done += counted.num_records + len(counted.refusals)
                failed += len(counted.refusals)
                if progress is not None:
                    progress(done, dataset.num_records, failed)
    return sums
