"""COCO format: layouts, files of one split, refusals, and hostile files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from augment.datasets.dataset import Dataset
from augment.errors import Reason, RecordError
from augment.formats.coco.format import Coco
from augment.formats.format import OutputDataset
from augment.images import masks
from augment.samples.annotations import Annotations, Rle
from augment.scanning.scan import folder_format, scan
from tests.augment.folders_for_tests import lay, pattern
from tests.augment.formats.formats_for_tests import annotations_by_key, convert, output, whole_of, write

HEIGHT, WIDTH = 6, 8
IMAGE = {"id": 1, "file_name": "a.png", "width": WIDTH, "height": HEIGHT}
CATEGORIES = [{"id": 7, "name": "dog", "supercategory": "animal"}, {"id": 3, "name": "cat", "supercategory": "animal"}]
OBJECT = {"id": 11, "image_id": 1, "category_id": 7, "bbox": [1, 2, 3, 2], "area": 6, "iscrowd": 0}


def _said(**members: Any) -> dict[str, Any]:
    return {"images": [IMAGE], "annotations": [OBJECT], "categories": CATEGORIES, **members}


def _lay(root: Path, files: Mapping[str, object], *images: str) -> Path:
    """Write JSON files (or text), and images of the size in the JSON."""
    content = {name: (said if isinstance(said, str) else json.dumps(said)).encode() for name, said in files.items()}
    shown = {name: pattern(i, height=HEIGHT, width=WIDTH) for i, name in enumerate(images or ("a.png",))}
    return lay(root, {**content, **shown})


def _scan(root: Path) -> Dataset:
    return scan(root, format="coco", bad_annotations="leave_out")


def _only(root: Path, **members: Any) -> Annotations:
    """Return the annotations of the only image; the arguments are members of the file or of the object."""
    return next(iter(annotations_by_key(_scan(_lay(root, {"annotations.json": _said(**members)}))).values()))


def _problem(root: Path, each: Mapping[str, object]) -> str:
    """Return the reason why the only image is refused for an object with these members."""
    good = {"id": 2, "file_name": "b.png"}
    said = _said(images=[IMAGE, good], annotations=[{**OBJECT, **each}])
    dataset = _scan(_lay(root, {"annotations.json": said}, "a.png", "b.png"))
    [refused] = dataset.refused
    assert (refused.key, refused.reason) == ("a.png", Reason.ANNOTATION)
    return refused.detail


@pytest.mark.parametrize(
    ("file", "image_at", "split", "key"),
    [
        ("annotations/instances_train2017.json", "train2017/a.png", "train", "a"),
        ("annotations/instances_val.json", "images/val/a.png", "val", "a"),
        ("annotations/instances_train2017.json", "images/a.png", "train", "a"),
        ("annotations/instances_minival2014.json", "minival2014/a.png", "minival", "a"),
        ("annotations/my_test_set.json", "test/a.png", "test", "a"),
        ("annotations/instances_default.json", "images/default/a.png", None, "a"),
        ("annotations/instances.json", "images/a.png", None, "a"),
        ("annotations.json", "a.png", None, "a"),
        ("annotations.json", "images/a.png", None, "a"),
        ("_annotations.coco.json", "a.png", None, "a"),
        ("valid/_annotations.coco.json", "valid/a.png", "valid", "a"),
    ],
)
def test_layout_is_recognised(file: str, image_at: str, split: str | None, key: str, tmp_path: Path) -> None:
    dataset = scan(_lay(tmp_path, {file: _said()}, image_at))
    assert dataset.format == "coco"
    assert list(dataset.splits) == ([] if split is None else [split])
    assert [record.key for record in dataset.choose(split)] == [key]
    assert dataset.num_refused == 0


@pytest.mark.parametrize("name", ["cats/a.png", "cats\\a.png", "./cats/a.png", "cats/../cats/a.png"])
def test_file_name_may_have_folders(name: str, tmp_path: Path) -> None:
    said = _said(images=[{**IMAGE, "file_name": name}])
    assert [record.key for record in _scan(_lay(tmp_path, {"annotations.json": said}, "cats/a.png"))] == ["cats/a"]


def test_object_is_read_with_its_members(tmp_path: Path) -> None:
    extra = {"attributes": {"colour": "red"}, "iscrowd": 1, "segmentation": [[1, 2, 4, 2, 4, 4.5]]}
    found = _only(tmp_path, annotations=[{**OBJECT, **extra}])
    assert found.boxes == ((1.0, 2.0, 4.0, 4.0),)
    assert found.box_labels == ("dog",)
    assert found.box_attributes == ({"attributes": {"colour": "red"}, "iscrowd": 1},)
    assert found.instance_masks == (((1.0, 2.0, 4.0, 2.0, 4.0, 4.5),),)


def test_classes_come_in_the_order_of_their_ids_and_unused_ones_count(tmp_path: Path) -> None:
    assert _scan(_lay(tmp_path, {"annotations.json": _said()})).classes == ("cat", "dog")


def test_uncompressed_run_lengths_are_compressed(tmp_path: Path) -> None:
    counts = [10, 5, HEIGHT * WIDTH - 15]
    found = _only(
        tmp_path, annotations=[{**OBJECT, "segmentation": {"size": [HEIGHT, WIDTH], "counts": counts}}]
    ).instance_masks
    assert found is not None
    assert isinstance(found[0], Rle)
    assert masks.rasterise(found[0], HEIGHT, WIDTH).T.ravel().tolist() == [0] * 10 + [1] * 5 + [0] * 33


@pytest.mark.parametrize("box", [{}, {"bbox": None}, {"bbox": []}])
@pytest.mark.parametrize("segmentation", [[[1, 2, 4, 2, 4, 4]], None])
def test_object_without_bbox_has_the_box_around_its_mask(
    segmentation: object, box: dict[str, object], tmp_path: Path
) -> None:
    runs = {"size": [HEIGHT, WIDTH], "counts": [6 + 2, 2, 4, 2, 4, 2, HEIGHT * WIDTH - 22]}
    each = {**OBJECT, "segmentation": segmentation or runs}
    del each["bbox"]
    each |= box
    assert _only(tmp_path, annotations=[each]).boxes == ((1, 2, 4, 4),)


def test_image_without_annotations_has_no_boxes_and_a_file_without_any_says_nothing(tmp_path: Path) -> None:
    assert _only(tmp_path / "a", annotations=[]).boxes == ()
    said = _said()
    del said["annotations"]
    nothing = _scan(_lay(tmp_path / "b", {"annotations/image_info_test2017.json": said}, "test2017/a.png"))
    assert nothing.targets == frozenset()


def test_files_of_one_split_are_read_together(tmp_path: Path) -> None:
    person = {"id": 1, "name": "person"}
    points = {"keypoints": [1, 2, 2, 0, 0, 0], "num_keypoints": 1}
    one = _said(annotations=[{**OBJECT, "category_id": 1}], categories=[person])
    two = _said(
        annotations=[{**OBJECT, "category_id": 1, **points}],
        categories=[{**person, "keypoints": ["nose", "tail"], "skeleton": [[1, 2]]}],
    )
    three = {"images": [IMAGE], "annotations": [{"id": 11, "image_id": 1, "caption": "A dog."}]}
    names = ("instances", "person_keypoints", "captions")
    files = {f"annotations/{name}_val2017.json": said for name, said in zip(names, (one, two, three), strict=True)}
    dataset = _scan(_lay(tmp_path, files, "val2017/a.png"))
    assert dataset.keypoint_names == ("nose", "tail")
    assert dataset.details["categories"] == [{**person, "keypoints": ["nose", "tail"], "skeleton": [[1, 2]]}]
    assert annotations_by_key(dataset)["val/a"] == Annotations(
        boxes=((1, 2, 4, 4),),
        box_labels=("person",),
        keypoints=((1, 2), (0, 0)),
        keypoint_labels=("nose", "tail"),
        keypoint_visibility=(2, 0),
        keypoint_boxes=(0, 0),
        extra={"captions": ["A dog."]},
    )


def test_captions_are_read_whatever_their_category_and_objects_beside_them_are_unharmed(tmp_path: Path) -> None:
    captions = {
        "images": [IMAGE],
        "categories": [],
        "annotations": [{"id": 11, "image_id": 1, "category_id": 0, "caption": text} for text in ("A dog.",)],
    }
    files = {"annotations/instances_val.json": _said(), "annotations/captions_val.json": captions}
    dataset = scan(_lay(tmp_path, files, "val/a.png"))
    found = annotations_by_key(dataset)["val/a"]
    assert (found.box_labels, found.extra) == (("dog",), {"captions": ["A dog."]})
    assert dataset.classes == ("cat", "dog")


@pytest.mark.parametrize("category", [{}, {"category_id": 0}, {"category_id": None}, {"category_id": 7}])
def test_captions_alone_say_nothing_of_objects_and_come_back(category: dict[str, object], tmp_path: Path) -> None:
    said = _said(annotations=[{"id": 1, "image_id": 1, "caption": "A dog.", **category}])
    dataset = scan(_lay(tmp_path / "a", {"annotations.json": said}))
    assert annotations_by_key(dataset)["a"] == Annotations(extra={"captions": ["A dog."]})
    again = convert(dataset, tmp_path / "b", "coco")
    assert (again.digest, again.targets) == (dataset.digest, frozenset())


@pytest.mark.parametrize(("crowd", "is_crowd"), [(1, True), ("1", True), (True, True), (0, False), ("0", False)])
def test_crowd_may_be_a_number_a_text_or_true(crowd: object, is_crowd: bool, tmp_path: Path) -> None:
    found = _only(tmp_path, annotations=[{**OBJECT, "iscrowd": crowd}])
    assert found.box_attributes == (({"iscrowd": 1},) if is_crowd else None)


def test_crowd_that_is_neither_refuses_its_image(tmp_path: Path) -> None:
    assert _problem(tmp_path, {"iscrowd": "no"}) == "not a number: annotation 11 has iscrowd 'no'; it is 0 or 1"


def test_caption_of_an_object_is_carried_along(tmp_path: Path) -> None:
    dataset = scan(_lay(tmp_path / "a", {"annotations.json": _said(annotations=[{**OBJECT, "caption": "left"}])}))
    again = annotations_by_key(convert(dataset, tmp_path / "b", "coco"))["a"]
    assert again.box_attributes == ({"caption": "left"},)
    assert again.boxes == ((1, 2, 4, 4),)


@pytest.mark.parametrize("segmentation", [[], None, [[]]])
@pytest.mark.parametrize("without", ["area", "iscrowd", "attributes"])
def test_members_that_tools_leave_out_or_empty_are_no_fault(segmentation: object, without: str, tmp_path: Path) -> None:
    each: dict[str, Any] = {**OBJECT, "segmentation": segmentation}
    each.pop(without, None)
    categories = [{"id": 7, "name": "dog"}, {"id": 900, "name": "cat"}]
    found = _only(tmp_path, annotations=[each], categories=categories)
    assert (found.boxes, found.box_labels, found.instance_masks) == (((1, 2, 4, 4),), ("dog",), None)


def test_categories_of_one_name_are_one_class_and_the_used_one_is_kept(tmp_path: Path) -> None:
    twice = [{"id": 0, "name": "dog", "supercategory": "none"}, {"id": 1, "name": "dog", "supercategory": "dog"}]
    said = _said(categories=twice, annotations=[{**OBJECT, "category_id": 1}])
    dataset = _scan(_lay(tmp_path, {"train/_annotations.coco.json": said}, "train/a.png"))
    assert dataset.classes == ("dog",)
    assert [each["id"] for each in dataset.details["categories"]] == [1]


def test_ids_information_and_attributes_are_written_back(tmp_path: Path) -> None:
    licenses = [{"id": 4, "name": "CC BY"}]
    said = _said(
        info={"year": 2017},
        licenses=licenses,
        images=[{**IMAGE, "license": 4}],
        annotations=[{**OBJECT, "iscrowd": 1, "score": 0.5}],
    )
    dataset = _scan(_lay(tmp_path / "a", {"annotations/instances_train.json": said}, "train/a.png"))
    convert(dataset, tmp_path / "b", "coco")
    written = json.loads((tmp_path / "b/annotations/instances_train.json").read_text())
    assert written["info"] == {"year": 2017}
    assert written["licenses"] == licenses
    assert written["images"] == [{**IMAGE, "license": 4}]
    assert sorted(written["categories"], key=lambda each: -each["id"]) == CATEGORIES
    [each] = written["annotations"]
    assert each == {**OBJECT, "id": 1, "iscrowd": 1, "segmentation": [], "score": 0.5}


def test_category_that_names_keypoints_makes_none(tmp_path: Path) -> None:
    categories = [{"id": 7, "name": "dog", "keypoints": ["nose"], "skeleton": []}]
    dataset = _scan(_lay(tmp_path / "a", {"annotations.json": _said(categories=categories)}))
    again = convert(dataset, tmp_path / "b", "coco")
    assert again.targets == dataset.targets == {"boxes"}
    assert again.keypoint_names == ("nose",)
    assert again.digest == dataset.digest


def test_ids_run_on_from_split_to_split(tmp_path: Path) -> None:
    said = Annotations(boxes=((1, 2, 3, 4), (0, 0, 1, 1)), box_labels=("dog", "cat"))
    outputs = [output(key, said, split=split) for split in ("train", "val") for key in ("a", "b")]
    write(tmp_path, "coco", outputs, whole_of(outputs, classes=("cat", "dog")))
    read = [json.loads((tmp_path / f"annotations/instances_{split}.json").read_text()) for split in ("train", "val")]
    assert [[each["id"] for each in said["images"]] for said in read] == [[1, 2], [3, 4]]
    assert [[each["id"] for each in said["annotations"]] for said in read] == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert [[each["image_id"] for each in said["annotations"]] for said in read] == [[1, 1, 2, 2], [3, 3, 4, 4]]


def test_area_is_that_of_the_mask_where_there_is_one(tmp_path: Path) -> None:
    said = Annotations(
        boxes=((0, 0, 2, 2),) * 3,
        box_labels=("dog",) * 3,
        instance_masks=(((0, 0, 2, 0, 2, 2),), masks.run_lengths(np.array([[1, 0], [1, 1]], np.uint8)), None),
    )
    outputs = [output("a", said, size=(2, 2))]
    write(tmp_path, "coco", outputs, whole_of(outputs, classes=("dog",)))
    written = json.loads((tmp_path / "annotations.json").read_text())
    assert [each["area"] for each in written["annotations"]] == [2, 3, 4]


def test_closing_holds_one_output_at_a_time() -> None:
    said = Annotations(boxes=((0, 0, 1, 1),), box_labels=("dog",))
    outputs = [output(str(i), said) for i in range(50)]
    alive = 0

    def again() -> Any:
        nonlocal alive
        for each in outputs:
            alive += 1
            yield each

    [file] = Coco().closing(again, whole_of(outputs, classes=("dog",)))
    before = alive
    pieces = iter(file.pieces)
    for _ in range(3):
        next(pieces)
    assert alive - before <= 2, "pieces come as outputs do"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (Annotations(keypoints=((1, 1),), keypoint_labels=("nose",)), "no boxes"),
        (Annotations(boxes=((0, 0, 1, 1),)), "have none, though others"),
        (Annotations(boxes=((0, 0, 1, 1),), box_labels=("dog",), keypoints=((1, 1),)), "names"),
        (
            Annotations(
                boxes=((0, 0, 1, 1),) * 2,
                box_labels=("dog", "dog"),
                keypoints=((1, 1),),
                keypoint_labels=("nose",),
            ),
            "it is unknown",
        ),
        (
            Annotations(
                boxes=((0, 0, 1, 1),),
                box_labels=("dog",),
                keypoints=((1, 1),) * 2,
                keypoint_labels=("nose",) * 2,
                keypoint_boxes=(0, 0),
            ),
            "two with the same name",
        ),
    ],
)
@pytest.mark.parametrize("format_name", ["coco", "yolo"])
def test_what_cannot_be_written_refuses_its_image(format_name: str, said: Annotations, why: str) -> None:
    whole = OutputDataset(("dog",), ("nose",), frozenset({"boxes", "keypoints"}), (), "elsewhere")
    with pytest.raises(RecordError, match=why) as caught:
        folder_format(format_name).sidecars(output("a", said), whole)
    assert (caught.value.key, caught.value.reason) == ("a", Reason.NOT_RENDERABLE)


@pytest.mark.parametrize(
    ("each", "why"),
    [
        ({"category_id": 99}, "unknown category: annotation 11 has category 99"),
        ({"category_id": None}, "unknown category"),
        ({"category_id": [7]}, "unknown category"),
        ({"id": None}, "no id"),
        ({"id": 1.5}, "no id"),
        ({"bbox": [1, 2, 3]}, "lengths differ: annotation 11 has a bbox of 3 numbers"),
        ({"bbox": [1, 2, 3, "4"]}, "not a number"),
        ({"bbox": [1, 2, 3, True]}, "not a number"),
        ({"bbox": None}, "not a number"),
        ({"bbox": [1, 2, 0, 4]}, "box without area"),
        ({"bbox": [1, 2, 30, 4]}, "box outside"),
        ({"bbox": [1, 2, 1e308, 1e308]}, "box outside"),
        ({"segmentation": [[1, 2, 3, 4]]}, "not a polygon"),
        ({"segmentation": [[1, 2, 3, 4, 5, 90]]}, "polygon outside"),
        ({"segmentation": {"size": [6, 9], "counts": "1"}}, "mask of another size"),
        ({"segmentation": {"size": [6, 8], "counts": [1, 2]}}, "not run lengths"),
        ({"segmentation": {"size": [6, 8], "counts": [-1, 49]}}, "not run lengths"),
        ({"segmentation": {"size": [6, 8], "counts": "PPPP"}}, "not run lengths"),
        ({"segmentation": {"size": [6, 8]}}, "not run lengths"),
        ({"segmentation": "x"}, "not run lengths"),
        ({"keypoints": [1, 2, 2]}, "lengths differ: annotation 11 has 3 numbers of keypoints, of the 0"),
    ],
)
def test_object_that_cannot_be_true_refuses_its_image(each: dict[str, Any], why: str, tmp_path: Path) -> None:
    assert _problem(tmp_path, each).startswith(why)


def test_visibility_is_0_1_or_2(tmp_path: Path) -> None:
    said = _said(
        images=[IMAGE, {"id": 2, "file_name": "b.png"}],
        annotations=[{**OBJECT, "keypoints": [1, 2, 3]}],
        categories=[{"id": 7, "name": "dog", "keypoints": ["nose"]}],
    )
    [refused] = _scan(_lay(tmp_path, {"annotations.json": said}, "a.png", "b.png")).refused
    assert refused.detail.startswith("unknown visibility: keypoint 'nose' of annotation 11 has 3")
