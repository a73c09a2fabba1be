"""Conversion of COCO's annotations to our own and back.

Boxes ``[x, y, width, height]`` and polygons are measured at the edges of pixels. Keypoints are read unchanged, as all
other tools do. Numbers are written to a hundred-thousandth of a pixel. Members unknown to COCO (``attributes``,
``score``, VOC's ``difficult``), and ``iscrowd`` if it is 1, are attributes of a box and are written back.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pycocotools import mask as coco_mask

from augment.formats.shared.object_rules import enclosing, rounded
from augment.samples import annotations
from augment.samples.annotations import BY_KEYPOINT, Annotations, Corners, Polygons, Rle
from augment.validation import quoted

Id = int | str

_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")

OWN_MEMBERS = frozenset(
    {"id", "image_id", "category_id", "bbox", "area", "segmentation", "iscrowd", "keypoints", "num_keypoints"}
    | {"keypoint_angles", "keypoint_scales"}
)
"""Members of an annotation that are converted and not carried over; angles and scales are our addition."""

OF_IMAGE = frozenset({"id", "file_name", "width", "height"})
"""Members of an image that are not carried over."""

CAPTIONS = "captions"
"""Name of an image's captions in ``extra``."""

_OF_OBJECT = ("bbox", "segmentation", "keypoints")


def identity(value: object) -> Id | None:
    """Return a JSON value as an id, or None if it is not an id; ``1``, ``"1"`` and ``1.0`` are the same id."""
    if isinstance(value, str):
        return int(value) if _WHOLE.fullmatch(value) else value
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def is_caption(each: Mapping[str, Any]) -> bool:
    """True if an annotation is a text about the image and not an object, whatever category it has."""
    return isinstance(each.get("caption"), str) and not any(each.get(member) for member in _OF_OBJECT)


class Categories:
    """Names and keypoints of a dataset's categories."""

    def __init__(self, categories: Iterable[Mapping[str, Any]]) -> None:
        """Take categories as COCO writes them; they are already checked."""
        self.names: dict[Id, str] = {}
        self.keypoints: dict[Id, tuple[str, ...]] = {}
        for each in categories:
            self.names[own := _known(each["id"])] = each["name"]
            self.keypoints[own] = tuple(each.get("keypoints", ()))


def _known(value: object) -> Id:
    """Return the id of a checked category."""
    found = identity(value)
    if found is None:
        raise ValueError(f"unknown category: {quoted(value)} is not an id")
    return found


def read(
    objects: Sequence[Mapping[str, Any]],
    image: Mapping[str, Any],
    categories: Categories,
    *,
    height: int,
    width: int,
    says_boxes: bool,
) -> Annotations:
    """Return the annotations of one image of this size, from its objects and captions.

    ``says_boxes`` is False if the file lists images only. Raises ValueError with the problem.
    """
    boxes: list[Corners] = []
    labels: list[str] = []
    attributes: list[dict[str, Any]] = []
    masks: list[Polygons | Rle | None] = []
    keypoints: dict[str, list[Any]] = {name: [] for name in ("keypoints", *BY_KEYPOINT)}
    captions: list[str] = []
    for each in objects:
        if is_caption(each):
            captions.append(each["caption"])
            continue
        where = f"annotation {each.get('id')!r}"
        mask = _mask(each.get("segmentation"), where, height, width)
        boxes.append(_box(each.get("bbox"), mask, where))
        labels.append(categories.names[_known(each["category_id"])])
        attributes.append(_attributes(each, where))
        masks.append(mask)
        _add_keypoints(keypoints, each, categories, len(boxes) - 1, where)
    extra = {name: value for name, value in image.items() if name not in OF_IMAGE}
    if captions:
        extra[CAPTIONS] = captions
    if not says_boxes:
        return Annotations(extra=extra or None)
    if any(values and len(values) != len(keypoints["keypoints"]) for values in keypoints.values()):
        raise ValueError("lengths differ: some keypoints have angles or scales and others have none")
    members: dict[str, Any] = {name: tuple(values) for name, values in keypoints.items() if values}
    return Annotations(
        boxes=tuple(boxes),
        box_labels=tuple(labels),
        box_attributes=tuple(attributes) if any(attributes) else None,
        instance_masks=tuple(masks) if any(mask is not None for mask in masks) else None,
        extra=extra or None,
        **members,
    )


def check_size(image: Mapping[str, Any], height: int, width: int) -> None:
    """Raise ValueError if an image's entry has another size than the image."""
    said = (image.get("width"), image.get("height"))
    if None not in said and said != (width, height):
        found = f"the upright image is {width} x {height}"
        raise ValueError(f"image of another size: the JSON has {said[0]!r} x {said[1]!r}, {found}")


def _numbers(value: object, where: str, what: str) -> list[float]:
    if not isinstance(value, list) or not all(
        isinstance(each, int | float) and not isinstance(each, bool) for each in value
    ):
        raise ValueError(f"not a number: {where} has {what} that is not a list of numbers")
    return [float(each) for each in value]


def _box(value: object, mask: Polygons | Rle | None, where: str) -> Corners:
    if (value is None or value == []) and mask is not None:
        return enclosing(mask) if isinstance(mask, tuple) else _enclosing_runs(mask)
    numbers = _numbers(value, where, "a bbox")
    if len(numbers) != 4:
        raise ValueError(f"lengths differ: {where} has a bbox of {len(numbers)} numbers, not 4")
    x, y, across, down = numbers
    x_max, y_max = rounded((x + across, y + down))
    return x, y, x_max, y_max


def _enclosing_runs(mask: Rle) -> Corners:
    x, y, across, down = coco_mask.toBbox(coco_runs(mask)).tolist()
    return x, y, x + across, y + down


def coco_runs(mask: Rle) -> Any:
    """Return run lengths in pycocotools' form."""
    return {"size": [mask.height, mask.width], "counts": mask.counts.encode()}


def _mask(value: object, where: str, height: int, width: int) -> Polygons | Rle | None:
    if value is None or value in ([], [[]]):
        return None
    if isinstance(value, list):
        return tuple(_polygon(part, where) for part in value)
    if not isinstance(value, Mapping) or not isinstance(value.get("counts"), str | list):
        detail = f"not run lengths: {where} has a segmentation that is neither polygons nor run lengths"
        raise ValueError(detail)  # noqa: TRY004 - the file is wrong, not the call
    if value.get("size") != [height, width]:
        found = f"the upright image {width} x {height}"
        raise ValueError(f"mask of another size: {where} has [height, width] {quoted(value.get('size'))}, {found}")
    counts = value["counts"]
    try:
        if isinstance(counts, str):
            annotations.read(counts, height=height, width=width)
            return Rle(height, width, counts)
        return Rle(height, width, _compressed(counts, height, width))
    except ValueError as error:
        raise ValueError(f"not run lengths: {where}: {error}") from error


def _compressed(counts: list[Any], height: int, width: int) -> str:
    if not all(isinstance(run, int) and not isinstance(run, bool) and run >= 0 for run in counts):
        raise ValueError("a run is a whole number of pixels, 0 or more")
    if sum(counts) != height * width:
        raise ValueError(f"run lengths make {sum(counts)} pixels, not {width} x {height}")
    given: Any = {"size": [height, width], "counts": counts}
    runs: Any = coco_mask.frPyObjects(given, height, width)
    return str(runs["counts"], "ascii")


def _polygon(value: object, where: str) -> tuple[float, ...]:
    numbers = _numbers(value, where, "a polygon")
    if len(numbers) < 6 or len(numbers) % 2:
        raise ValueError(f"not a polygon: {where} has one of {len(numbers)} numbers; three points are six")
    return tuple(numbers)


def _attributes(each: Mapping[str, Any], where: str) -> dict[str, Any]:
    found = {name: value for name, value in each.items() if name not in OWN_MEMBERS}
    crowd = identity(each.get("iscrowd") or 0)
    if crowd not in {0, 1} and each["iscrowd"] is not True:
        raise ValueError(f"not a number: {where} has iscrowd {quoted(each['iscrowd'])}; it is 0 or 1")
    if crowd != 0:
        found["iscrowd"] = 1
    return found


def _add_keypoints(
    found: dict[str, list[Any]], each: Mapping[str, Any], categories: Categories, box: int, where: str
) -> None:
    """Append an object's keypoints to the image's lists, which are named like the annotations' fields."""
    if each.get("keypoints") is None:
        return
    numbers = _numbers(each["keypoints"], where, "keypoints")
    names = categories.keypoints[own := _known(each["category_id"])]
    if len(numbers) != 3 * len(names):
        category = categories.names[own]
        raise ValueError(
            f"lengths differ: {where} has {len(numbers)} numbers of keypoints, of the {len(names)} that category "
            f"{category!r} names"
        )
    for name, x, y, seen in zip(names, numbers[::3], numbers[1::3], numbers[2::3], strict=True):
        if seen not in (0.0, 1.0, 2.0):
            raise ValueError(f"unknown visibility: keypoint {name!r} of {where} has {seen:g}; it is 0, 1 or 2")
        found["keypoints"].append((x, y) if seen else (0.0, 0.0))
        found["keypoint_labels"].append(name)
        found["keypoint_visibility"].append(int(seen))
        found["keypoint_boxes"].append(box)
    for name in ("keypoint_angles", "keypoint_scales"):
        if each.get(name) is not None:
            found[name] += _numbers(each[name], where, name)
