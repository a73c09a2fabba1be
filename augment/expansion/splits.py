"""Splits of a dataset that are augmented or copied unchanged, and the check that no image is in two of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from augment.datasets.dataset import Dataset
from augment.errors import CallError, DatasetError

_NAMED = 3


@dataclass(frozen=True, slots=True)
class Part:
    """Records of one split; ``split`` is None if the dataset has none. ``copied`` ones are not augmented."""

    split: str | None
    num_records: int
    copied: bool = False


@dataclass(frozen=True, slots=True)
class Division:
    """Selection of a dataset's splits for an expansion. ``parts`` are sorted by the splits' names.

    ``split`` is the one to expand alone: its files are in the output's root. Otherwise each split has a folder,
    ``augmented`` names those with copies, and ``copy_splits`` is True if the others are copied unchanged.
    """

    parts: tuple[Part, ...]
    split: str | None
    augmented: tuple[str, ...]
    copy_splits: bool


def divide(
    dataset: Dataset, split: str | None, augment_splits: Sequence[str] | None, *, copy_splits: bool | None
) -> Division:
    """Choose the splits to augment and those to copy unchanged.

    By default the training split is augmented and the others are copied. ``split`` is expanded alone unless
    ``copy_splits``. A dataset of which one split is chosen already has no other.

    Raises DatasetError for an unknown or empty split and if the training split is ambiguous, CallError if the choices
    contradict one another.
    """
    if dataset.split is not None and split is None:
        split = dataset.split
    if split is not None and augment_splits:
        raise CallError(
            f"split is {split!r} and augment_splits is {', '.join(augment_splits)}: choose one of them; split expands "
            "one split alone"
        )
    filled = {name: number for name, number in dataset.splits.items() if number}
    if not filled:
        return _without_splits(dataset, split, augment_splits, copy_splits=copy_splits)
    if split is not None and not copy_splits:
        chosen = dataset.choose(split)
        return Division((Part(split, chosen.num_records),), split, (), copy_splits=False)
    augmented = (split,) if split is not None else tuple(dict.fromkeys(augment_splits or (_training(dataset),)))
    for name in augmented:
        dataset.choose(name)  # raises if the split does not exist, or has no record
    copied = copy_splits is None or copy_splits
    names = sorted(filled if copied else augmented, key=str.encode)
    parts = tuple(Part(name, filled[name], name not in augmented) for name in names)
    return Division(parts, None, tuple(sorted(augmented, key=str.encode)), copied)


def views(dataset: Dataset, parts: Sequence[Part]) -> Iterator[tuple[Part, Dataset]]:
    """Yield each part with its records, whose keys are relative to the split."""
    return ((part, dataset if part.split is None else dataset.choose(part.split)) for part in parts)


def full_key(split: str | None, key: str) -> str:
    """Return the key in the whole dataset of a record of a split."""
    return key if split is None else f"{split}/{key}"


def check_leaks(dataset: Dataset, division: Division) -> None:
    """Raise DatasetError if an augmented split and another one hold the same record: bytes and annotations.

    Otherwise a model would be trained on copies of its test images.
    """
    if len(dataset.splits) < 2:
        return
    rows = {name: dataset.choose(name).digests() for name, number in dataset.splits.items() if number}
    augmented = [part.split for part in division.parts if part.split is not None and not part.copied]
    for name in augmented:
        for other, digests in rows.items():
            if other == name or (other in augmented and other < name):
                continue
            both, first, second = np.intersect1d(rows[name], digests, return_indices=True)
            if not len(both):
                continue
            here, there = dataset.choose(name), dataset.choose(other)
            told = [
                f"{name}/{here.keys([int(i)])[0]} and {other}/{there.keys([int(k)])[0]}"
                for i, k in sorted(zip(first.tolist(), second.tolist(), strict=True))[:_NAMED]
            ]
            more = ", …" if len(both) > _NAMED else ""
            images = "1 image is" if len(both) == 1 else f"{len(both):,} images are"
            raise DatasetError(
                f"{images} in both {name} and {other} ({', '.join(told)}{more}), so that copies of one split would "
                "be images of the other; remove them from one of them, or expand with --allow-leaks (allow_leaks)"
            )


def _without_splits(
    dataset: Dataset, split: str | None, augment_splits: Sequence[str] | None, *, copy_splits: bool | None
) -> Division:
    if split is not None:
        dataset.choose(split)  # raises with the names of the splits
    if augment_splits or copy_splits:
        raise DatasetError(
            f"{dataset.root} has no splits to name or copy; leave augment_splits and copy_splits "
            "out, or divide the dataset first"
        )
    return Division((Part(None, dataset.num_records),), None, (), copy_splits=False)


def _training(dataset: Dataset) -> str:
    """Return the split that is augmented by default."""
    chosen = dataset.choose(None).split
    if chosen is None:
        raise DatasetError(
            f"{dataset.root} has the splits {', '.join(dataset.splits)}, none of which is named train; "
            "name the one to expand (split), or those to augment (augment_splits)"
        )
    return chosen
