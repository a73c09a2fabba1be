"""Which column of a table is what: told by the names in its header, compared without case."""

from collections.abc import Sequence
from dataclasses import dataclass

PATHS = (
    *("file_name", "filename", "file", "path", "filepath", "file_path"),
    *("image", "image_path", "image_name", "image_file", "img", "img_path", "image_id", "id"),
)
LABEL = ("label", "class", "class_name", "category", "target", "class_label", "class_id")
LABELS = ("labels", "classes", "tags", "categories")
SPLIT = ("split", "subset", "set", "partition")
CORNERS = (
    ("xmin", "ymin", "xmax", "ymax"),
    ("x_min", "y_min", "x_max", "y_max"),
    ("x1", "y1", "x2", "y2"),
    ("left", "top", "right", "bottom"),
)
SIZE = ("width", "height")


@dataclass(frozen=True, slots=True)
class Columns:
    """The places of columns in a row; None where there is none. ``others`` are those without a meaning, by name."""

    path: int
    label: int | None
    labels: int | None
    split: int | None
    corners: tuple[int, ...] | None
    box_label: int | None
    size: tuple[int, ...] | None
    others: dict[str, int]

    @property
    def says_something(self) -> bool:
        """Whether it tells more of a picture than where it is."""
        return not (self.label is None and self.labels is None and self.corners is None)


def columns_of(header: Sequence[str]) -> Columns | None:
    """Find the columns; None where none is of paths. With corners, ``class`` is the box's and ``label`` the picture's.

    Where there is only one of these two beside corners, it is the box's.
    """
    places: dict[str, int] = {}
    for place, name in enumerate(header):
        places.setdefault(name.strip().lower(), place)

    def take(names: Sequence[str]) -> int | None:
        return next((places.pop(name) for name in names if name in places), None)

    path = take(PATHS)
    if path is None:
        return None
    corners = next((names for names in CORNERS if all(name in places for name in names)), None)
    taken = None if corners is None else tuple(places.pop(name) for name in corners)
    box_label, size = None, None
    if taken is not None:
        box_label = take(("class", "class_name", "category", *LABEL))
        size = tuple(places.pop(name) for name in SIZE) if all(name in places for name in SIZE) else None
    label, labels, split = take(LABEL), take(LABELS), take(SPLIT)
    others = {header[place].strip(): place for place in places.values()}
    return Columns(path, label, labels, split, taken, box_label, size, others)
