"""Number of copies of each record: one number for all, a number per class, or as many as bring all classes to one size.

A rule that depends on classes becomes a share for each class: a number of copies for every record, and one more for the
records whose keys have the smallest digests. A share thus gives the number of copies for any key, the sum is exact, and
a record's number hardly changes when other records are added.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from augment import validation
from augment.address import digest_fields
from augment.datasets.dataset import Dataset, in_ranges
from augment.errors import CallError, DatasetError
from augment.expansion.options import Copies

COPIES_MAX = 10_000
"""Most copies of a record, above any published recipe; more belong in a stream."""

OTHERS = "*"
"""Key for all classes that are not named, and for records without a class."""

_BALANCE = re.compile(r"balance(?::([1-9]\d*))?")


@dataclass(frozen=True, slots=True)
class Share:
    """Number of copies in one class. ``class_name`` is None for records without one.

    Every record gets ``copies``; ``more`` of them get one more: those whose key's digest is at most ``last``.
    """

    class_name: str | None
    num_records: int
    copies: int
    more: int = 0
    last: str | None = None

    @property
    def num_copies(self) -> int:
        """Number of copies of all its records."""
        return self.num_records * self.copies + self.more

    def of(self, split: str | None, key: str) -> int:
        """Return the number of copies of a record."""
        return self.copies + int(self.last is not None and _place(split, key) <= self.last)


def parse(text: str) -> Copies:
    """Read a rule from the command line: ``4``, ``cat=4,dog=2,*=1``, the same as JSON, ``balance`` or ``balance:500``.

    Raises CallError.
    """
    if re.fullmatch(r"-?\d{1,9}", text) or _BALANCE.fullmatch(text):
        return text if text.startswith("balance") else int(text)
    if text.startswith("{"):
        return check(validation.read_json("copies", text), least=0)
    try:
        pairs = [each.rpartition("=") for each in text.split(",")]
        named = {name: int(number) for name, _, number in pairs}
        if len(named) != len(pairs) or not all(name for name in named):
            raise ValueError
        return check(named, least=0)
    except ValueError:
        raise CallError(
            f"copies is {validation.quoted(text)}; give a number like 4, numbers by class like cat=4,dog=2 (*=1 "
            "for all others; as JSON if a name has a comma), balance, or balance:500"
        ) from None


def check(copies: object, *, least: int = 1) -> Copies:
    """Return the rule. Raises CallError if it is invalid, or a number is outside [``least``, 10,000]."""
    if isinstance(copies, str) and _BALANCE.fullmatch(copies):
        return copies
    if isinstance(copies, Mapping) and copies and all(isinstance(name, str) for name in copies):
        return {name: validation.integer(f"copies of {name!r}", copies[name], 0, COPIES_MAX) for name in sorted(copies)}
    if isinstance(copies, str | Mapping):
        raise CallError(
            f"copies is {validation.quoted(copies)}; give a number, an object of numbers by class (* for all others), "
            "'balance' or 'balance:500'"
        )
    if least and not isinstance(copies, bool) and copies == 0:
        raise CallError(
            "copies is 0, which only converts: include the originals (include_originals), or ask for at least 1"
        )
    return validation.integer("copies", copies, least, COPIES_MAX)


def shares(
    datasets: Sequence[tuple[str | None, Dataset]], copies: Copies, *, include_originals: bool
) -> tuple[Share, ...]:
    """Return the share of each class under a rule by class; empty if the rule is one number for all.

    ``datasets`` are the splits that are augmented; their records are counted together. Raises DatasetError if the
    records have no single class or the rule cannot hold for them, CallError for an unknown class.
    """
    if isinstance(copies, int):
        return ()
    counts = count(datasets)
    _check_classes(datasets, copies, counts)
    if isinstance(copies, Mapping):
        named = {name: OTHERS if name is None or name not in copies else name for name in counts}
        return tuple(Share(name, number, copies[named[name]]) for name, number in counts.items())
    wanted = _BALANCE.fullmatch(copies)
    total = int(wanted[1]) if wanted is not None and wanted[1] else max(counts.values())
    left = {name: total - (number if include_originals else 0) for name, number in counts.items()}
    for name, copies_left in left.items():
        if copies_left < 0:
            raise CallError(
                f"copies is {copies!r} and class {name!r} already has {counts[name]} images, which stay; give at "
                f"least balance:{max(counts.values())}, or leave out --include-originals (include_originals)"
            )
        if copies_left > COPIES_MAX * counts[name]:
            raise CallError(
                f"copies is {copies!r}, which asks for {copies_left} copies of the {counts[name]} images of class "
                f"{name!r}; at most {COPIES_MAX} of each are made: choose a smaller number"
            )
    extra = {name: copies_left % counts[name] for name, copies_left in left.items()}
    last = _last(datasets, {name: number for name, number in extra.items() if number})
    return tuple(
        Share(name, number, left[name] // number, extra[name], last.get(name)) for name, number in counts.items()
    )


def count(datasets: Iterable[tuple[str | None, Dataset]]) -> dict[str | None, int]:
    """Return the number of records of each class, in the classes' order; those without a class are last, under None."""
    found: Counter[int | None] = Counter()
    names: tuple[str, ...] = ()
    for _, dataset in datasets:
        found.update(dataset.labels())
        names = dataset.classes
    counts: dict[str | None, int] = {name: found[label] for label, name in enumerate(names) if found[label]}
    return counts | ({None: found[None]} if found[None] else {})


def _check_classes(
    datasets: Sequence[tuple[str | None, Dataset]], copies: Mapping[str, int] | str, counts: Mapping[str | None, int]
) -> None:
    dataset = datasets[0][1]
    if "label" not in dataset.targets:
        has = f"their targets are {', '.join(sorted(dataset.targets))}" if dataset.targets else "they have no targets"
        raise DatasetError(
            f"copies is {_shown(copies)}, and the images in {dataset.root} have no single class each ({has}); an "
            "image with several objects cannot be counted for one class: give one number of copies for all"
        )
    if isinstance(copies, str):
        if None in counts:
            told = "is 1 image" if counts[None] == 1 else f"are {counts[None]} images"
            first = next(each.first_unlabelled for _, each in datasets if each.first_unlabelled is not None)
            raise DatasetError(
                f"copies is {copies!r}, and there {told} without a class, {first} the first; move them into a class, "
                "or give numbers by class with * for these"
            )
        return
    for name in copies:
        if name != OTHERS and name not in dataset.classes:
            raise CallError(
                f"copies names class {name!r}, which {dataset.root} does not have; it has {', '.join(dataset.classes)}"
            )
    for counted in counts:
        if (counted is None or counted not in copies) and OTHERS not in copies:
            what = "images without a class" if counted is None else f"class {counted!r}"
            own = "" if counted is None else f"{counted}=N, or "
            raise CallError(f"copies does not say how many {what} get; add {own}*=N for all that are not named")


def _last(datasets: Iterable[tuple[str | None, Dataset]], extra: Mapping[str | None, int]) -> dict[str | None, str]:
    """Return for each class the largest key's digest among its ``extra`` smallest."""
    places: dict[str | None, list[str]] = {name: [] for name in extra}
    for split, dataset in datasets:
        for some in in_ranges(dataset, 4096):
            for key, label in zip(dataset.keys(some), dataset.labels(some), strict=True):
                name = None if label is None else dataset.classes[label]
                if name in places:
                    places[name].append(_place(split, key))
    return {name: sorted(places[name])[number - 1] for name, number in extra.items()}


def _place(split: str | None, key: str) -> str:
    """Return the digest that decides which records get one copy more: random, but always the same."""
    fields = (key,) if split is None else (split, key)
    return digest_fields(fields, person=b"augment.more").hex()


def _shown(copies: Mapping[str, int] | str) -> str:
    return repr(copies) if isinstance(copies, str) else json.dumps(dict(copies))
