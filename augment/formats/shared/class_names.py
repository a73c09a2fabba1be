"""Names of classes and keypoints in packed datasets: those that are listed, and those that occur.

If the dataset lists its classes, an index counts in this list, and a name has to be in it. If it does not, and shards
hold only indices, the classes are called ``0``, ``1`` … up to the largest that occurs, so that an index keeps its
meaning; else the names that occur are the classes. The index -1 is "no class", as ``datasets`` has it for test sets.
"""

import re
from collections.abc import Sequence

from augment.samples.annotations import Annotations
from augment.validation import quoted

NO_CLASS = -1
_INDEX = re.compile(r"0|[1-9][0-9]{0,4}")
INDEX_MAX = 99_999
"""The largest index without a list of classes; ImageNet has 21,841 of them."""


class ClassValues:
    """Collects what a dataset says of classes; then ``classes`` and ``name`` tell what it means."""

    def __init__(self, listed: Sequence[str] | None) -> None:
        self._listed = None if listed is None else tuple(listed)
        self._known = frozenset(self._listed or ())
        self._largest = NO_CLASS
        self._names: set[str] = set()

    def note(self, value: int | str) -> None:
        """One value that occurs; the name of a class that is a number is its index."""
        if isinstance(value, str) and _INDEX.fullmatch(value):
            value = int(value)
        if isinstance(value, str):
            self._names.add(value)
        elif value <= INDEX_MAX:
            self._largest = max(self._largest, value)

    @property
    def listed(self) -> tuple[str, ...] | None:
        """The dataset's own list of classes."""
        return self._listed

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The classes in the order of their indices; None where names alone tell them."""
        if self._listed is not None:
            return self._listed
        if self._names or self._largest == NO_CLASS:
            return None
        return tuple(str(index) for index in range(self._largest + 1))

    def name(self, value: int | str) -> str | None:
        """The name of the class; None for no class. Raises ValueError where the value means none."""
        if value == NO_CLASS:
            return None
        if isinstance(value, str):
            if self._listed is not None and value not in self._known:
                raise ValueError(f"unknown class: {quoted(value)} is not among the {len(self._listed)} classes")
            return value
        if self._listed is not None:
            if not 0 <= value < len(self._listed):
                raise ValueError(f"unknown class: {value}, of {len(self._listed)} classes (the first is 0)")
            return self._listed[value]
        if not 0 <= value <= INDEX_MAX:
            raise ValueError(f"unknown class: {value}; without a list of classes they go from 0 to {INDEX_MAX}")
        return str(value)

    def name_or_problem(self, value: int | str | None) -> tuple[str | None, str | None]:
        """The name of a record's class, or why its value means none; two None where the record has no class."""
        try:
            return (None if value is None else self.name(value)), None
        except ValueError as error:
            return None, str(error)


class NamesInUse:
    """Collects what annotations name, where it is not listed; then says whether an image's names are known.

    ``values`` are the dataset's classes, ``listed`` its names of keypoints, empty where nothing lists them.
    """

    def __init__(self, values: ClassValues, listed: tuple[str, ...]) -> None:
        self.values = values
        self._listed = listed
        self._keypoints: set[str] = set()

    @property
    def keypoint_names(self) -> tuple[str, ...]:
        """The names of keypoints, in the order of their indices."""
        return self._listed or tuple(sorted(self._keypoints, key=str.encode))

    @property
    def complete(self) -> bool:
        """Whether all names are listed, so that none needs to be looked for."""
        return self.values.listed is not None and bool(self._listed)

    def note(self, said: Annotations) -> None:
        """Take in the names in one image's annotations."""
        self._keypoints.update(said.keypoint_labels or ())
        for name in (*(said.labels or ()), *(said.box_labels or ())):
            self.values.note(name)

    def check(self, said: Annotations) -> None:
        """Raise ValueError where annotations name what the dataset does not list."""
        for name in (*(said.labels or ()), *(said.box_labels or ())):
            self.values.name(name)
        unknown = set(said.keypoint_labels or ()) - set(self._listed)
        if self._listed and unknown:
            raise ValueError(f"unknown keypoint: {min(unknown)!r} is not among {', '.join(self._listed)}")
