"""The names that packed datasets give to classes and keypoints: those that are listed, and those that occur."""

from augment.annotations import Annotations
from augment.formats.class_values import ClassValues


class NamesInUse:
    """Collects what annotations name, where it is not listed; then says whether a picture's names are known.

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
        """Take in the names in one picture's annotations."""
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
