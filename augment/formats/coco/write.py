"""Conversion of annotations to COCO's members, categories and files; values that COCO cannot hold are refused.

See ``objects``. Files are written piece by piece, in passes over the outputs, so that no file is held in memory.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, count, groupby, islice
from typing import Any

from pycocotools import mask as coco_mask

from augment.datasets import keys
from augment.errors import DatasetError
from augment.formats.coco.index import Indexed
from augment.formats.coco.objects import CAPTIONS, OF_IMAGE, OWN_MEMBERS, Id, coco_runs, identity
from augment.formats.format import Output, OutputDataset, StreamedFile
from augment.formats.shared import object_rules
from augment.formats.shared.object_rules import NO_CLASS, polygon_area, rounded
from augment.samples.annotations import Annotations, Polygons, Rle
from augment.validation import quoted


def written(
    annotations: Annotations, ids: Mapping[str, Id], keypoint_names: Mapping[str, Sequence[str]]
) -> list[dict[str, Any]]:
    """Return the objects of one image in COCO's form, without ``id`` and ``image_id``.

    ``ids`` maps classes to ids, ``keypoint_names`` maps classes to the names of their objects' keypoints, if any.
    """
    boxes = annotations.boxes or ()
    keypoints = object_rules.by_box(annotations)
    objects = []
    for i, box in enumerate(boxes):
        label = object_rules.NO_CLASS if annotations.box_labels is None else annotations.box_labels[i]
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


def _area(mask: Polygons | Rle) -> float:
    """Return the area as COCO defines it: the shoelace formula for polygons, the number of pixels for run lengths."""
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


def united(files: Sequence[Indexed]) -> list[dict[str, Any]]:
    """Return each category once, sorted by id, with the members from all files.

    Raises DatasetError if two files contradict each other on one id.
    """
    found: dict[Id | None, tuple[dict[str, Any], str]] = {}
    for file in files:
        for category in file.categories:
            known, path = found.setdefault(identity(category["id"]), ({}, file.path))
            for member in ("name", "keypoints"):
                if member in known and known[member] != category.get(member, known[member]):
                    raise DatasetError(
                        f"category {category['id']!r} has the {member} {quoted(known[member])} in "
                        f"{keys.printable(path)} and {quoted(category[member])} in {keys.printable(file.path)}; give "
                        "them different ids"
                    )
            known |= {name: value for name, value in category.items() if name not in known}
    return [found[each][0] for each in sorted(found, key=lambda each: (isinstance(each, str), each))]


def details(files: Sequence[Indexed], categories: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the details kept for writing: one category for each name (a used one if any), licences and information."""
    used = {each for file in files for each in file.used}
    by_name: dict[str, Mapping[str, Any]] = {}
    for category in categories:
        other = by_name.get(category["name"])
        if other is None or (identity(category["id"]) in used and identity(other["id"]) not in used):
            by_name[category["name"]] = category
    licenses = {json.dumps(each, sort_keys=True): each for file in files for each in file.licenses}
    information = next((file.info for file in files if file.info is not None), None)
    found: dict[str, Any] = {"categories": [dict(each) for each in by_name.values()]}
    found |= {"licenses": list(licenses.values())} if licenses else {}
    return found | ({} if information is None else {"info": information})


def of_output(whole: OutputDataset, with_keypoints: frozenset[str]) -> list[dict[str, Any]]:
    """Return the categories to write, unchanged if the source was COCO.

    Otherwise they count from 1, and the classes ``with_keypoints`` have all names of keypoints.
    """
    known: dict[str, dict[str, Any]] = {}
    if whole.source_format == "coco":
        known = {each["name"]: each for each in whole.details.get("categories", ())}
    numbers = (own for each in known.values() if isinstance(own := identity(each["id"]), int))
    free = max(numbers, default=0) + 1
    written: list[dict[str, Any]] = []
    for name in whole.classes or ((NO_CLASS,) if "boxes" in whole.targets else ()):
        category = known.get(name)
        if category is None:
            category = {"id": free, "name": name, "supercategory": ""}
            free += 1
            if name in with_keypoints:
                category |= {"keypoints": list(whole.keypoint_names), "skeleton": []}
        written.append(category)
    return written


Outputs = Callable[[], Iterator[Output]]


def files(outputs: Outputs, whole: OutputDataset) -> Iterator[StreamedFile]:
    """Return the file of each split. Ids of images and annotations continue from one file to the next."""
    categories = of_output(whole, _with_keypoints(outputs, whole))
    ids = {each["name"]: each["id"] for each in categories}
    names = {each["name"]: tuple(each.get("keypoints", ())) for each in categories if "keypoints" in whole.targets}
    splits: list[str | None] = [split for split, _ in groupby(outputs(), key=lambda output: output.split)]
    numbers = _Numbers()
    for split in splits:
        path = "annotations.json" if split is None else f"annotations/instances_{split}.json"
        yield StreamedFile(path, _pieces(outputs, split, whole, categories, ids, names, numbers))


@dataclass
class _Numbers:
    """The next position in the list of images, id of an image and id of an object."""

    image: Iterator[int] = field(default_factory=lambda: count(1))
    owner: Iterator[int] = field(default_factory=lambda: count(1))
    object: Iterator[int] = field(default_factory=lambda: count(1))


def _with_keypoints(outputs: Outputs, whole: OutputDataset) -> frozenset[str]:
    """Return the classes whose objects have keypoints."""
    if "keypoints" not in whole.targets or whole.source_format == "coco":
        return frozenset()
    found = set()
    for output in outputs():
        labels = output.annotations.box_labels
        for box in object_rules.by_box(output.annotations):
            if box >= 0:
                found.add(object_rules.NO_CLASS if labels is None else labels[box])
    return frozenset(found)


def _pieces(
    outputs: Outputs,
    split: str | None,
    whole: OutputDataset,
    categories: Sequence[Mapping[str, Any]],
    ids: Mapping[str, Id],
    names: Mapping[str, Sequence[str]],
    numbers: _Numbers,
) -> Iterator[bytes]:
    of_source = whole.details if whole.source_format == "coco" else {}
    yield b"{"
    for member in ("info", "licenses"):
        if member in of_source:
            yield f'"{member}":{_json(of_source[member])},\n'.encode()
    if "boxes" in whole.targets:
        yield from _list("images", _images(outputs, split, numbers, OF_IMAGE))
        yield from _list("annotations", _objects(outputs, split, ids, names, numbers))
    else:  # an empty list of annotations would mean that the images have no objects
        yield from _list("images", _images(outputs, split, numbers, OF_IMAGE | {CAPTIONS}))
        captions = _captions(outputs, split, numbers)
        first = list(islice(captions, 1))
        if first:
            yield from _list("annotations", chain(first, captions))
    yield from _list("categories", iter(categories), end="}\n")


def _list(member: str, values: Iterator[Mapping[str, Any]], *, end: str = ",\n") -> Iterator[bytes]:
    yield f'"{member}":['.encode()
    before = "\n"
    for value in values:
        yield f"{before}{_json(value)}".encode()
        before = ",\n"
    yield f"]{end}".encode()


def _images(
    outputs: Outputs, split: str | None, numbers: _Numbers, left_out: frozenset[str]
) -> Iterator[Mapping[str, Any]]:
    for output in _of_split(outputs, split):
        own = {"id": next(numbers.image), "file_name": output.file_name, "width": output.width, "height": output.height}
        yield own | {name: value for name, value in (output.annotations.extra or {}).items() if name not in left_out}


def _objects(
    outputs: Outputs,
    split: str | None,
    ids: Mapping[str, Id],
    names: Mapping[str, Sequence[str]],
    numbers: _Numbers,
) -> Iterator[Mapping[str, Any]]:
    for output in _of_split(outputs, split):
        image = next(numbers.owner)
        for each in written(output.annotations, ids, names):
            yield {"id": next(numbers.object), "image_id": image, **each}


def _captions(outputs: Outputs, split: str | None, numbers: _Numbers) -> Iterator[Mapping[str, Any]]:
    for output in _of_split(outputs, split):
        image, captions = next(numbers.owner), (output.annotations.extra or {}).get(CAPTIONS)
        for caption in captions if isinstance(captions, list) else ():
            yield {"id": next(numbers.object), "image_id": image, "caption": caption}


def _of_split(outputs: Outputs, split: str | None) -> Iterator[Output]:
    return (output for output in outputs() if output.split == split)


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
