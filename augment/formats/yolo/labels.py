"""One image's lines in YOLO's text file to annotations and back.

    class x y w h                      a box: its centre and size, as shares of the image's width and height
    class x1 y1 x2 y2 x3 y3 …          an object's outline, of three or more points (its box is around them)
    class x y w h px1 py1 [v1] …       a box and its keypoints, where data.yaml says their number (``kpt_shape``)

- **By the number of columns** each line is told to be one or the other; a file may hold both. Six columns are a box and
  how sure a detector was of it: such a file holds predictions, which nobody should train on by accident, and is
  refused. Lines of oriented boxes, and of keypoints whose number nobody said, look like outlines: ``other_kind`` tells
  them apart by all lines together.
- **Coordinates.** Edges of boxes and points of outlines are shares of the image between the edges of its pixels;
  keypoints are COCO's, divided by width and height, as everybody does. Shares are written with ten decimals and read
  to a hundred-thousandth of a pixel, so that such numbers come back as they were on images of up to 65,535 pixels.
- **Keypoints** of two columns are visible, unless they are 0 0 or negative, which is how they are told to be missing;
  with a third it is COCO's visibility. Written are always three. A point outside of the image, which YOLO cannot say,
  is written as missing; one in the outer half of a pixel at the edge, whose share would be negative, moves to 0.
- **Masks** are written as outlines along the edges of pixels (see ``mask_outline``). An object in several parts or with
  holes becomes one outline, whose pieces hang together by lines without width. An object without a mask, among others
  that have one, is written as the rectangle of its box: readers take a file to hold outlines or boxes, not both. One
  whose mask is empty is left out: nothing of it is to be seen.
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
"""Of boxes that lie in the image, and of keypoints that lie in their box: tools round, and people are careless."""

MAX_CLASSES = 100_000
"""Classes that have no names; a larger number is taken for a mistake."""

_HALF = 0.5


@dataclass(frozen=True, slots=True)
class Words:
    """What a dataset says of its lines: the names of classes and keypoints, and the columns of each keypoint (2, 3)."""

    classes: tuple[str, ...]
    keypoint_names: tuple[str, ...] = ()
    columns: int = 3


def parse(text: str, words: Words, *, height: int, width: int) -> Annotations:
    """Read the lines about an image of this size. Raises ValueError that says which line is wrong, and why."""
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
                found = f"line {number} has {len(columns)}, and {wanted} by the kpt_shape of data.yaml"
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
    """Return the number of classes by the numbers that lines begin with; what is none is told when it is parsed."""
    found = (decimal(line.split(maxsplit=1)[0]) for line in text.splitlines() if line.strip())
    return max((int(value) + 1 for value in found if 0 <= value < MAX_CLASSES), default=0)


def other_kind(lines: Sequence[Sequence[str]]) -> str | None:
    """Return what lines are, by their columns, if they are likely no outlines: with the key that would say so; or None.

    Outlines have any number of points, while oriented boxes have 9 columns and poses 5 and 2 or 3 for each keypoint,
    which follow a box that lies in the image. Visibilities, of 0, 1 or 2, tell poses also among boxes.
    """
    if {len(columns) for columns in lines} == {_ORIENTED}:
        return "9 columns, as oriented boxes have, which are not read here (2 keypoints would need kpt_shape: [2, 2])"
    longer = [[decimal(column) for column in columns[1:]] for columns in lines if len(columns) > _SURE]
    lengths = {len(shares) for shares in longer}
    if len(lengths) != 1 or sum(map(_is_box_inside, longer)) < _MOST * len(longer):
        return None
    rest = lengths.pop() - 4
    missing = "columns, as keypoints have, and nothing says how many: write kpt_shape: [{}, {}] into data.yaml"
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
    """True if the point that begins at ``i`` is in the box before it, or little outside."""
    x, y, across, down = shares[:4]
    return abs(shares[i] - x) <= 0.55 * across and abs(shares[i + 1] - y) <= 0.55 * down


def write(annotations: Annotations, words: Words, *, height: int, width: int, outlines: bool) -> str:
    """The lines about one image, whose keypoints belong to boxes; ``outlines`` says that the dataset has masks."""
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
        raise ValueError(f"unknown class: line {number} has class {value:g}, of {len(words.classes)} counted from 0")
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
            f"predictions: line {number} has 6 columns, a box and how sure a detector was of it; remove the last "
            "column if these are labels to be trained on"
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
    """The outline of an object as one polygon, that of its box where there is no mask; None where the mask is empty."""
    if mask is None:
        x_min, y_min, x_max, y_max = box
        return x_min, y_min, x_max, y_min, x_max, y_max, x_min, y_max
    if isinstance(mask, tuple) and (len(mask) == 1 or (mask and not _meet(mask))):
        return mask_outline.joined(mask)
    traced = mask_outline.trace(masks.rasterise(mask, height, width))
    return mask_outline.joined(traced) if traced else None


def _meet(polygons: Polygons) -> bool:
    """Whether the boxes around any two of the polygons overlap."""
    boxes = [enclosing((polygon,)) for polygon in polygons]
    return any(
        a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3] for i, a in enumerate(boxes) for b in boxes[:i]
    )


def _shares(pixels: Sequence[float], height: int, width: int) -> list[str]:
    """Pairs of x and y as shares, inside of the image: readers refuse what is below 0 or above 1."""
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
