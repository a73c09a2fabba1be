"""Mean and standard deviation of one split, measured once: the numbers of ``statistics: dataset``.

They are computed over all pixels of the decoded images, at full size and before any transform. A note stores them by
(dataset digest, split, decode engine). If the note is lost or damaged, they are measured again.
"""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from augment import engine, user_state
from augment.address import digest_fields
from augment.dataset_stats.pixels import Progress, pixels_of
from augment.datasets.dataset import Dataset
from augment.errors import DatasetError, PipelineError
from augment.images import decode
from augment.normalize import section
from augment.normalize.parameters import Channels
from augment.normalize.section import Sections
from augment.workers.task import Workers

_FOLDER = "statistics"
_REFUSED_SHOWN = 3


@dataclass(frozen=True, slots=True)
class MeanStd:
    """Mean and standard deviation of red, green and blue in [0, 1], and the numbers of measured images and pixels."""

    mean: Channels
    std: Channels
    num_records: int
    num_pixels: int


def measured(
    dataset: Dataset,
    workers: Workers | None = None,
    *,
    folder: Path | None = None,
    max_pixels: int = decode.DEFAULT_MAX_PIXELS,
    progress: Progress | None = None,
) -> MeanStd:
    """Return the numbers of a dataset's view, from their note or measured now.

    They are measured in ``workers`` if given. ``folder`` keeps the note; it is by default a folder in the user's state
    folder. Records that cannot be decoded are left out. Raises DatasetError if no record can be decoded or if one
    cannot be read now; StorageError, WorkerError.
    """
    if (noted := kept(dataset, folder)) is not None:
        return noted
    found = pixels_of(dataset, workers, max_pixels=max_pixels, progress=progress)
    passing = [each for each in found.refusals if each.reason.is_transient]  # another run may count them
    if passing or not found.pixels.num_pixels:
        some = passing or found.refusals
        named = ", ".join(f"{each.key} ({each.reason})" for each in some[:_REFUSED_SHOWN])
        problem = "cannot be read now" if passing else "are refused"
        raise DatasetError(
            f"mean and deviation of {dataset.root} cannot be measured: of {dataset.num_records} records {len(some)} "
            f"{problem}, for example {named}; repair the dataset and scan it again"
        )
    pixels = found.pixels
    numbers = MeanStd(pixels.mean, pixels.std, pixels.num_records, pixels.num_pixels)
    if (note := _note(dataset, folder)) is not None:
        user_state.write_note(note, asdict(numbers))
    return numbers


def resolved(sections: Sections, dataset: Dataset, numbers: MeanStd) -> Sections:
    """Return the sections with these numbers in place of ``dataset``.

    Raises DatasetError if a deviation is too small to divide by.
    """
    try:
        return section.resolve_all(sections, numbers.mean, numbers.std)
    except PipelineError as error:
        raise DatasetError(
            f"the deviations of {dataset.root} are {', '.join(f'{each:.3g}' for each in numbers.std)} in red, green "
            "and blue, and one of them is too small to divide by; give a mean and std in `normalize`"
        ) from error


def kept(dataset: Dataset, folder: Path | None = None) -> MeanStd | None:
    """Return the numbers from their note, or None if the note is missing or damaged."""
    note = _note(dataset, folder)
    return None if note is None else _read(user_state.read_note(note))


def _note(dataset: Dataset, folder: Path | None) -> Path | None:
    try:
        folder = folder or user_state.state_path() / _FOLDER
    except RuntimeError:  # the user has no home folder
        return None
    split = "" if dataset.split is None else f"split:{dataset.split}"
    name = digest_fields((dataset.digest, split, engine.decode_id()), person=b"augment.measure").hex()
    return folder / f"statistics-{name}.json"


def _read(value: Any) -> MeanStd | None:
    try:
        mean, std = (_channels(value[name]) for name in ("mean", "std"))
        numbers = [value[name] for name in ("num_records", "num_pixels")]
    except (KeyError, TypeError, ValueError):
        return None
    if not all(isinstance(number, int) and not isinstance(number, bool) and number > 0 for number in numbers):
        return None
    return MeanStd(mean, std, *numbers)


def _channels(value: Any) -> Channels:
    red, green, blue = value
    if not all(isinstance(each, float) and math.isfinite(each) and 0 <= each <= 1 for each in value):
        raise ValueError("a mean or deviation is in [0, 1]")
    return red, green, blue
