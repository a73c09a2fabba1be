"""One image's lines in YOLO's text file to annotations and back.

    class x y w h                      a box: its centre and size, as shares of the image's width and height
    class x1 y1 x2 y2 x3 y3 …          an object's outline, of three or more points (its box is around them)
    class x y w h px1 py1 [v1] …       a box and its keypoints, if data.yaml has their number (``kpt_shape``)

- **The number of columns** determines the kind of each line; a file may hold several. Six columns are a box and a
  detector's confidence: such a file holds predictions, which must not be trained on by accident, and is refused. Lines
  of oriented boxes, and of keypoints of unknown number, look like outlines; ``other_kind`` detects them from all lines
  together.
- **Coordinates.** Edges of boxes and points of outlines are shares of the image, measured at the edges of pixels.
  Keypoints are COCO's, divided by width and height, as in all other tools. Shares are written with ten decimals and
  read to a hundred-thousandth of a pixel, so that such numbers are kept exactly on images of up to 65,535 pixels.
- **Keypoints** with two columns are visible, unless they are 0 0 or negative, which means missing. A third column is
  COCO's visibility. Three are always written. A point outside the image, which YOLO cannot express, is written as
  missing. One in the outer half of a pixel at the edge, whose share would be negative, moves to 0.
- **Masks** are written as outlines along the edges of pixels (see ``mask_outline``). An object in several parts or with
  holes becomes one outline, whose pieces are connected by lines without width. An object without a mask, among others
  that have one, is written as the rectangle of its box, because readers expect a file of outlines or of boxes, not
  both. An object with an empty mask is left out, because nothing of it is visible.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from augment.formats.shared import mask_outline, object_rules
from augment.formats.shared.object_rules import DECIMALS, decimal, enclosing
from augment.images import masks
from augment.samples.annotations import Annotations, Corners, Polygons, Rle
from augment.validation import quoted

_SHARE_DECIMALS = 10
_BOX, _SURE, _ORIENTED = 5, 6, 9
_MOST = 0.9
"""Least share of boxes inside the image, and of keypoints inside their box: tools round, and people are careless."""

MAX_CLASSES = 100_000
"""Largest number of classes without names; a larger number is taken for a mistake."""

_HALF = 0.5


@dataclass(frozen=True, slots=True)
class Words:
    """Names of classes and keypoints in a dataset's lines, and the number of columns of each keypoint (2 or 3)."""

    classes: tuple[str, ...]
    keypoint_names: tuple[str, ...] = ()
    columns: int = 3


def parse(text: str, words: Words, *, height: int, width: int) -> Annotations:
    """Read the lines about an image of this size. Raises ValueError with the line and the problem."""
    boxes: list[Corners] = []
    labels: list[str] = []
    outlines: list[Polygons | None] = []
    points: list[tuple[float, float]] = []
    visibility: list[int] = []
    for number, line in enumerate(text.splitlines(), start=1):
        columns = line.split()
        if not columns:
            continue
        labels.append(_class(columns[0], words, number))
        shares = [_share(column, number) for column in columns[1:]]
        if words.keypoint_names:
            wanted = _BOX + len(words.keypoint_names) * words.columns
            if len(columns) != wanted:
                found = f"line {number} has {len(columns)}, but {wanted} by the kpt_shape of data.yaml"
                raise ValueError(f"number of columns: {found}")
            _add_keypoints(points, visibility, shares[4:], words, (height, width))
            shares = shares[:4]
        if len(shares) == _BOX - 1:
            boxes.append(_box(shares, height, width))
            outlines.append(None)
        else:
            polygon = _outline(shares, number, height, width)
            boxes.append(enclosing((polygon,)))
            outlines.append((polygon,))
    num_names = len(words.keypoint_names)
    has_points = num_names > 0
    return Annotations(
        boxes=tuple(boxes),
        box_labels=tuple(labels),
        instance_masks=tuple(outlines) if any(outlines) else None,
        keypoints=tuple(points) if has_points else None,
        keypoint_labels=words.keypoint_names * len(boxes) if has_points else None,
        keypoint_visibility=tuple(visibility) if has_points else None,
        keypoint_boxes=tuple(i for i in range(len(boxes)) for _ in range(num_names)) if has_points else None,
    )


def num_classes(text: str) -> int:
    """Return the largest class number in the lines plus 1; invalid numbers are reported when the line is parsed."""
    found = (decimal(line.split(maxsplit=1)[0]) for line in text.splitlines() if line.strip())
    return max((int(value) + 1 for value in found if 0 <= value < MAX_CLASSES), default=0)


def other_kind(lines: Sequence[Sequence[str]]) -> str | None:
    """Return a description of lines that are probably not outlines, with the missing key, or None.

    Outlines have any number of points. Oriented boxes have 9 columns. Poses have 5, and 2 or 3 for each keypoint, after
    a box inside the image; visibilities of 0, 1 or 2 identify poses even among boxes.
    """
    if {len(columns) for columns in lines} == {_ORIENTED}:
        return "9 columns, as oriented boxes have, which cannot be read (2 keypoints would need kpt_shape: [2, 2])"
    longer = [[decimal(column) for column in columns[1:]] for columns in lines if len(columns) > _SURE]
    lengths = {len(shares) for shares in longer}
    if len(lengths) != 1 or sum(map(_is_box_inside, longer)) < _MOST * len(longer):
        return None
    rest = lengths.pop() - 4
    missing = "columns, as keypoints have, but their number is missing: write kpt_shape: [{}, {}] into data.yaml"
    if rest % 3 == 0 and all(share in {0, 1, 2} for shares in longer for share in shares[6::3]):
        return f"{rest + _BOX} {missing.format(rest // 3, 3)}"
    if rest % 2 == 0 and len(longer) == len(lines):
        inside = [_is_in_box(shares, i) for shares in longer for i in range(4, rest + 4, 2) if any(shares[i : i + 2])]
        if sum(inside) >= _MOST * len(inside):
            return f"{rest + _BOX} {missing.format(rest // 2, 2)}"
    return None


def _is_box_inside(shares: Sequence[float]) -> bool:
    x, y, across, down = shares[:4]
    edges = (x - across / 2, y - down / 2, 1 - x - across / 2, 1 - y - down / 2)
    return min(across, down) > 0 and min(edges) > -0.01


def _is_in_box(shares: Sequence[float], i: int) -> bool:
    """True if the point that begins at ``i`` is in the box before it, or slightly outside."""
    x, y, across, down = shares[:4]
    return abs(shares[i] - x) <= 0.55 * across and abs(shares[i + 1] - y) <= 0.55 * down


def write(annotations: Annotations, words: Words, *, height: int, width: int, outlines: bool) -> str:
    """Return the lines about one image, whose keypoints belong to boxes.

    ``outlines`` is True if the dataset has masks.
    """
    index = {name: i for i, name in enumerate(words.classes)}
    keypoints = object_rules.by_box(annotations)
    lines = []
    for i, box in enumerate(annotations.boxes or ()):
        label = object_rules.NO_CLASS if annotations.box_labels is None else annotations.box_labels[i]
        mask = None if annotations.instance_masks is None else annotations.instance_masks[i]
        if outlines:
            polygon = _one_outline(mask, box, height, width)
            if polygon is None:
                continue
            shares = _shares(polygon, height, width)
        else:
            x_min, y_min, x_max, y_max = box
            shares = _shares(((x_min + x_max) / 2, (y_min + y_max) / 2), height, width)
            shares += _shares((x_max - x_min, y_max - y_min), height, width)
        if words.keypoint_names:
            shares += _keypoints(annotations, keypoints.get(i, {}), words.keypoint_names, height, width)
        lines.append(f"{index[label]} {' '.join(shares)}\n")
    return "".join(lines)


def _class(text: str, words: Words, number: int) -> str:
    value = decimal(text)
    if not value.is_integer():
        raise ValueError(f"not a number: line {number} begins with {quoted(text)}, not the number of a class")
    if not 0 <= value < len(words.classes):
        raise ValueError(
            f"unknown class: line {number} has class {value:g}, of {len(words.classes)} classes counted from 0"
        )
    return words.classes[int(value)]


def _share(text: str, number: int) -> float:
    value = decimal(text)
    if math.isnan(value):
        raise ValueError(f"not a number: line {number} has {quoted(text)}")
    return value


def _pixels(share: float, length: int) -> float:
    return round(share * length, DECIMALS) + 0.0


def _box(shares: Sequence[float], height: int, width: int) -> Corners:
    x, y, across, down = shares
    return (
        _pixels(x - across / 2, width),
        _pixels(y - down / 2, height),
        _pixels(x + across / 2, width),
        _pixels(y + down / 2, height),
    )


def _outline(shares: Sequence[float], number: int, height: int, width: int) -> tuple[float, ...]:
    columns = len(shares) + 1
    if columns == _SURE:
        raise ValueError(
            f"predictions: line {number} has 6 columns, a box and a detector's confidence; remove the last "
            "column if these are labels for training"
        )
    if columns < 7 or columns % 2 == 0:
        what = "a box has 5, an outline of n points 1 + 2n; keypoints need kpt_shape in data.yaml"
        raise ValueError(f"number of columns: line {number} has {columns}; {what}")
    sizes = (width, height)
    return tuple(_pixels(share, sizes[i % 2]) for i, share in enumerate(shares))


def _add_keypoints(
    points: list[tuple[float, float]],
    visibility: list[int],
    shares: Sequence[float],
    words: Words,
    size: tuple[int, int],
) -> None:
    step = words.columns
    for i in range(0, len(shares), step):
        x, y = shares[i], shares[i + 1]
        if step == 3:
            seen = shares[i + 2]
            if seen not in (0.0, 1.0, 2.0):
                raise ValueError(f"unknown visibility: a keypoint has {seen:g}; it is 0, 1 or 2")
        else:
            seen = 0.0 if min(x, y) < 0 or x == y == 0 else 2.0
        points.append((_pixels(x, size[1]), _pixels(y, size[0])) if seen else (0.0, 0.0))
        visibility.append(int(seen))


def _one_outline(mask: Polygons | Rle | None, box: Corners, height: int, width: int) -> Sequence[float] | None:
    """Return an object's outline as one polygon: that of its box if it has no mask, None if its mask is empty."""
    if mask is None:
        x_min, y_min, x_max, y_max = box
        return x_min, y_min, x_max, y_min, x_max, y_max, x_min, y_max
    if isinstance(mask, tuple) and (len(mask) == 1 or (mask and not _meet(mask))):
        return mask_outline.joined(mask)
    traced = mask_outline.trace(masks.rasterise(mask, height, width))
    return mask_outline.joined(traced) if traced else None


def _meet(polygons: Polygons) -> bool:
    """True if the boxes around any two of the polygons overlap."""
    boxes = [enclosing((polygon,)) for polygon in polygons]
    return any(
        a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3] for i, a in enumerate(boxes) for b in boxes[:i]
    )


def _shares(pixels: Sequence[float], height: int, width: int) -> list[str]:
    """Return pairs of x and y as shares, clipped to the image because readers refuse values below 0 or above 1."""
    sizes = (width, height)
    return [_text(min(max(value / sizes[i % 2], 0.0), 1.0)) for i, value in enumerate(pixels)]


def _text(share: float) -> str:
    text = f"{share:.{_SHARE_DECIMALS}f}".rstrip("0").rstrip(".")
    return text or "0"


def _keypoints(
    annotations: Annotations, places: Mapping[str, int], names: Sequence[str], height: int, width: int
) -> list[str]:
    points, visibility = annotations.keypoints or (), annotations.keypoint_visibility
    written: list[str] = []
    for name in names:
        i = places.get(name)
        seen = 0 if i is None else 2 if visibility is None else visibility[i]
        x, y = points[i] if i is not None and seen else (math.nan, math.nan)
        if -_HALF <= x <= width and -_HALF <= y <= height:
            written += [*_shares((x, y), height, width), str(seen)]
        else:
            written += ["0", "0", "0"]
    return written
