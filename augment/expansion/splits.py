"""Splits of a dataset that are augmented or copied unchanged, and the check that no image is in two of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from augment.datasets.dataset import Dataset
from augment.errors import CallError, DatasetError

_NAMED = 3


@dataclass(frozen=True, slots=True)
class Part:
    """The records of one split; ``split`` is None where the dataset has none. ``copied`` ones are not augmented."""

    split: str | None
    num_records: int
    copied: bool = False


@dataclass(frozen=True, slots=True)
class Division:
    """What an expansion takes of a dataset. ``parts`` are sorted by the splits' names.

    ``split`` is the one that was chosen to be expanded alone: its files lie in the output's root. Else each split has
    a folder, ``augmented`` names those of which there are copies, and ``copy_splits`` tells whether the others pass
    through.
    """

    parts: tuple[Part, ...]
    split: str | None
    augmented: tuple[str, ...]
    copy_splits: bool


def divide(
    dataset: Dataset, split: str | None, augment_splits: Sequence[str] | None, *, copy_splits: bool | None
) -> Division:
    """Say what is augmented, and what passes through.

    Where nothing is chosen the training split is augmented and the others pass through. ``split`` is expanded alone
    unless ``copy_splits``. A dataset of which one split is chosen already has no other.

    Raises DatasetError for an unknown or empty split and where no training split can be told, CallError where the
    choices contradict one another.
    """
    if dataset.split is not None and split is None:
        split = dataset.split
    if split is not None and augment_splits:
        raise CallError(
            f"split is {split!r} and augment_splits is {', '.join(augment_splits)}: choose one of both; split expands "
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
        dataset.choose(name)  # raises where there is no such split, or it has no record
    copied = copy_splits is None or copy_splits
    names = sorted(filled if copied else augmented, key=str.encode)
    parts = tuple(Part(name, filled[name], name not in augmented) for name in names)
    return Division(parts, None, tuple(sorted(augmented, key=str.encode)), copied)


def views(dataset: Dataset, parts: Sequence[Part]) -> Iterator[tuple[Part, Dataset]]:
    """Each part with its records, whose keys are relative to the split."""
    return ((part, dataset if part.split is None else dataset.choose(part.split)) for part in parts)


def full_key(split: str | None, key: str) -> str:
    """The key in the whole dataset of a record of a split."""
    return key if split is None else f"{split}/{key}"


def check_leaks(dataset: Dataset, division: Division) -> None:
    """Raise DatasetError where a split that is augmented and another one hold the same record: bytes and annotations.

    Copies of what a model is tested with would be trained on.
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
                "be images of the other; remove them from one of both, or expand with --allow-leaks (allow_leaks)"
            )


def _without_splits(
    dataset: Dataset, split: str | None, augment_splits: Sequence[str] | None, *, copy_splits: bool | None
) -> Division:
    if split is not None:
        dataset.choose(split)  # raises, and says what there is
    if augment_splits or copy_splits:
        raise DatasetError(
            f"{dataset.root} has no splits, so that none can be named or copied; leave augment_splits and copy_splits "
            "out, or divide the dataset first"
        )
    return Division((Part(None, dataset.num_records),), None, (), copy_splits=False)


def _training(dataset: Dataset) -> str:
    """The split that is augmented where none is named."""
    chosen = dataset.choose(None).split
    if chosen is None:
        raise DatasetError(
            f"{dataset.root} has the splits {', '.join(dataset.splits)} and none of them is named train, so that it "
            "is not known which to augment; name one (split), or those to be augmented (augment_splits)"
        )
    return chosen
