"""Names of classes and keypoints in packed datasets: those that are listed, and those that occur.

If the dataset lists its classes, an index refers to this list, and every name must be in it. If it does not, and shards
hold only indices, the classes are ``0``, ``1`` … up to the largest index that occurs, so that an index keeps its
meaning. Otherwise the names that occur are the classes. The index -1 means "no class", as in test sets of ``datasets``.
"""

import re
from collections.abc import Sequence

from augment.samples.annotations import Annotations
from augment.validation import quoted

NO_CLASS = -1
_INDEX = re.compile(r"0|[1-9][0-9]{0,4}")
INDEX_MAX = 99_999
"""Largest index without a list of classes; ImageNet has 21,841 classes."""


class ClassValues:
    """Collector of the class values in a dataset; afterwards ``classes`` and ``name`` give their meaning."""

    def __init__(self, listed: Sequence[str] | None) -> None:
        self._listed = None if listed is None else tuple(listed)
        self._known = frozenset(self._listed or ())
        self._largest = NO_CLASS
        self._names: set[str] = set()

    def note(self, value: int | str) -> None:
        """Collect one value; a name that is a number counts as an index."""
        if isinstance(value, str) and _INDEX.fullmatch(value):
            value = int(value)
        if isinstance(value, str):
            self._names.add(value)
        elif value <= INDEX_MAX:
            self._largest = max(self._largest, value)

    @property
    def listed(self) -> tuple[str, ...] | None:
        """List of classes that the dataset itself has, or None."""
        return self._listed

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Classes in the order of their indices, or None if only names occur."""
        if self._listed is not None:
            return self._listed
        if self._names or self._largest == NO_CLASS:
            return None
        return tuple(str(index) for index in range(self._largest + 1))

    def name(self, value: int | str) -> str | None:
        """Return the name of the class, or None for "no class". Raises ValueError if the value is invalid."""
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
        """Return the name of a record's class or else the problem; both are None for a record without a class."""
        try:
            return (None if value is None else self.name(value)), None
        except ValueError as error:
            return None, str(error)


class NamesInUse:
    """Collector of unlisted names in annotations; afterwards ``check`` verifies the names of each image.

    ``values`` are the dataset's classes, ``listed`` its names of keypoints, empty if they are not listed.
    """

    def __init__(self, values: ClassValues, listed: tuple[str, ...]) -> None:
        self.values = values
        self._listed = listed
        self._keypoints: set[str] = set()

    @property
    def keypoint_names(self) -> tuple[str, ...]:
        """Names of keypoints, in the order of their indices."""
        return self._listed or tuple(sorted(self._keypoints, key=str.encode))

    @property
    def complete(self) -> bool:
        """True if all names are listed, so that annotations need not be searched for them."""
        return self.values.listed is not None and bool(self._listed)

    def note(self, said: Annotations) -> None:
        """Collect the names in one image's annotations."""
        self._keypoints.update(said.keypoint_labels or ())
        for name in (*(said.labels or ()), *(said.box_labels or ())):
            self.values.note(name)

    def check(self, said: Annotations) -> None:
        """Raise ValueError if annotations use names that the dataset does not list."""
        for name in (*(said.labels or ()), *(said.box_labels or ())):
            self.values.name(name)
        unknown = set(said.keypoint_labels or ()) - set(self._listed)
        if self._listed and unknown:
            raise ValueError(f"unknown keypoint: {min(unknown)!r} is not among {', '.join(self._listed)}")
