"""COCO's files as they are written: piece by piece, in passes over the outputs, so that nothing of it is held."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from augment.formats import coco_categories, coco_writable, named_objects
from augment.formats.coco_objects import Id
from augment.formats.writing import Output, StreamedFile, Whole

Outputs = Callable[[], Iterator[Output]]


def files(outputs: Outputs, whole: Whole) -> Iterator[StreamedFile]:
    """The file of each split. Ids of images and annotations run on from one file to the next."""
    categories = coco_categories.of_output(whole, _with_keypoints(outputs, whole))
    ids = {each["name"]: each["id"] for each in categories}
    names = {each["name"]: tuple(each.get("keypoints", ())) for each in categories if "keypoints" in whole.targets}
    splits: list[str | None] = [split for split, _ in groupby(outputs(), key=lambda output: output.split)]
    first_image, first_object = 1, 1
    for split in splits:
        path = "annotations.json" if split is None else f"annotations/instances_{split}.json"
        numbers = _Numbers(first_image, first_object)
        yield StreamedFile(path, _pieces(outputs, split, whole, categories, ids, names, numbers))
        first_image, first_object = numbers.image, numbers.object


class _Numbers:
    """The next ids; those of a file are known when its pieces have been consumed."""

    def __init__(self, image: int, of_object: int) -> None:
        self.image = image
        self.object = of_object


def _with_keypoints(outputs: Outputs, whole: Whole) -> frozenset[str]:
    """The classes whose objects have keypoints."""
    if "keypoints" not in whole.targets or whole.source_format == "coco":
        return frozenset()
    found = set()
    for output in outputs():
        labels = output.annotations.box_labels
        for box in named_objects.by_box(output.annotations):
            if box >= 0:
                found.add(named_objects.NO_CLASS if labels is None else labels[box])
    return frozenset(found)


def _pieces(
    outputs: Outputs,
    split: str | None,
    whole: Whole,
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
    first = numbers.image
    yield from _list("images", _images(outputs, split, numbers))
    yield from _list("annotations", _objects(outputs, split, ids, names, first, numbers))
    yield from _list("categories", iter(categories), end="}\n")


def _list(member: str, values: Iterator[Mapping[str, Any]], *, end: str = ",\n") -> Iterator[bytes]:
    yield f'"{member}":['.encode()
    before = "\n"
    for value in values:
        yield f"{before}{_json(value)}".encode()
        before = ",\n"
    yield f"]{end}".encode()


def _images(outputs: Outputs, split: str | None, numbers: _Numbers) -> Iterator[Mapping[str, Any]]:
    for output in _of_split(outputs, split):
        own = {"id": numbers.image, "file_name": output.file_name, "width": output.width, "height": output.height}
        yield own | coco_writable.image_members(output.annotations.extra)
        numbers.image += 1


def _objects(
    outputs: Outputs,
    split: str | None,
    ids: Mapping[str, Id],
    names: Mapping[str, Sequence[str]],
    image: int,
    numbers: _Numbers,
) -> Iterator[Mapping[str, Any]]:
    for output in _of_split(outputs, split):
        for each in coco_writable.written(output.annotations, ids, names):
            yield {"id": numbers.object, "image_id": image, **each}
            numbers.object += 1
        image += 1


def _of_split(outputs: Outputs, split: str | None) -> Iterator[Output]:
    return (output for output in outputs() if output.split == split)


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
