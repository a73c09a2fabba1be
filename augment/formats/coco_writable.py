"""Our annotations as the members of COCO's, and what of them COCO has no way to write; see ``coco_objects``."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pycocotools import mask as coco_mask

from augment.annotations import Annotations, Polygons, Rle
from augment.errors import Reason, RecordError
from augment.formats import named_keypoints
from augment.formats.coco_objects import NO_CLASS, OF_IMAGE, OWN_MEMBERS, Id, coco_runs
from augment.formats.coordinates import polygon_area, rounded


def check_writable(annotations: Annotations) -> None:
    """Raise RecordError (with an empty key) where COCO has no way to write these annotations."""
    if (lacks := named_keypoints.lacking(annotations)) is not None:
        raise RecordError("", Reason.NOT_RENDERABLE, lacks)


def written(
    annotations: Annotations, ids: Mapping[str, Id], keypoint_names: Mapping[str, Sequence[str]]
) -> list[dict[str, Any]]:
    """The objects of one picture as COCO has them, less ``id`` and ``image_id``.

    ``ids`` are those of the classes, ``keypoint_names`` the keypoints that objects of a class have, as far as they have
    any.
    """
    boxes = annotations.boxes or ()
    keypoints = named_keypoints.by_box(annotations)
    objects = []
    for i, box in enumerate(boxes):
        label = NO_CLASS if annotations.box_labels is None else annotations.box_labels[i]
        attributes = {} if annotations.box_attributes is None else dict(annotations.box_attributes[i])
        mask = None if annotations.instance_masks is None else annotations.instance_masks[i]
        x, y, x_max, y_max = rounded(box)
        across, down = rounded((x_max - x, y_max - y))
        each: dict[str, Any] = {"category_id": ids[label], "bbox": [x, y, across, down]}
        each["area"] = rounded([across * down if mask is None else _area(mask)])[0]
        each["iscrowd"] = 1 if attributes.pop("iscrowd", 0) else 0
        if isinstance(mask, Rle):
            each["segmentation"] = {"size": [mask.height, mask.width], "counts": mask.counts}
        else:
            each["segmentation"] = [] if mask is None else [rounded(polygon) for polygon in mask]
        if keypoint_names.get(label):
            each |= _keypoints(annotations, keypoints.get(i, {}), keypoint_names[label])
        each |= {name: value for name, value in attributes.items() if name not in OWN_MEMBERS}
        objects.append(each)
    return objects


def image_members(extra: Mapping[str, Any] | None) -> dict[str, Any]:
    """What goes into an image's entry beside its own members."""
    return {name: value for name, value in (extra or {}).items() if name not in OF_IMAGE}


def _area(mask: Polygons | Rle) -> float:
    """As COCO has it: of polygons their area by the shoelace formula, of run lengths the number of pixels."""
    if isinstance(mask, Rle):
        return float(coco_mask.area(coco_runs(mask)))
    return math.fsum(abs(polygon_area(polygon)) for polygon in mask)


def _keypoints(annotations: Annotations, places: Mapping[str, int], names: Sequence[str]) -> dict[str, Any]:
    points, visibility = annotations.keypoints or (), annotations.keypoint_visibility
    numbers: list[float | int] = []
    for name in names:
        i = places.get(name)
        seen = 0 if i is None else 2 if visibility is None else visibility[i]
        numbers += [*rounded(points[i] if i is not None and seen else (0, 0)), seen]
    found: dict[str, Any] = {"keypoints": numbers, "num_keypoints": sum(seen > 0 for seen in numbers[2::3])}
    for member in ("keypoint_angles", "keypoint_scales"):
        values = getattr(annotations, member)
        if values is not None:
            found[member] = [0.0 if (i := places.get(name)) is None else values[i] for name in names]
    return found
