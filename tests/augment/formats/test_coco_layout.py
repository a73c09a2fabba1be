"""COCO's files as wholes: strict JSON, several files, pictures that are not there, and files that mean harm."""

import json
from pathlib import Path
from typing import Any

import pytest

from augment.datasets.dataset import Dataset
from augment.errors import DatasetError, Reason
from augment.formats.coco import index
from augment.formats.coco.format import Coco
from augment.samples.annotations import Annotations
from augment.scanning.scan import scan
from tests.augment.folders_for_tests import grown, lay, listed, picture
from tests.augment.formats.formats_for_tests import annotations_by_key

GOOD: dict[str, Any] = {
    "images": [{"id": 1, "file_name": "a.png", "width": 8, "height": 8}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2]}],
    "categories": [{"id": 1, "name": "dog"}],
}


def _lay(root: Path, said: object, *pictures: str, name: str = "annotations.json") -> Path:
    text = said if isinstance(said, str) else json.dumps(said)
    return lay(root, {name: text.encode(), **{each: picture(i) for i, each in enumerate(pictures or ("a.png",))}})


def _scan(root: Path) -> Dataset:
    return scan(root, format="coco", bad_annotations="leave_out")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"images": [}', r"line 1, column 13: expecting value \('}' stands there\)"),
        ('{"images": [],\n "images": []}', r"line 2, column 2: images is written twice"),
        ('{"images": [{' + ", ".join(f'"{i}": 1' for i in range(99_999)) + ', "7": 1}]}', r"7 is written twice"),
        ('{"images": [\n{"id": 1, "id": 2}]}', r"line 2, column 1: in what begins here, id is written twice"),
        ('{"images": [NaN]}', r"NaN is no number of JSON"),
        ('{"images": [{"id": -Infinity}]}', r"-Infinity is no number of JSON"),
        ('{"images": [1e999]}', r"the number 1e999 is too large"),
        ('{"images": [' + "9" * 5000 + "]}", r"a whole number has 5000 digits, of 18 allowed"),
        ('{"images": [' + "[" * 100_000, r"what begins here nests too deep"),
        ('{"images": [], "licenses": [1,]}', r"a comma stands before the end of a list"),
        ('{"images": [], "licenses": [1 2]}', r"a comma or the end of a list"),
        ('{"images": []', r"a comma or the end of the object, } should stand here \(the file ends\)"),
        ('{"images": []} x', r"something stands behind the end"),
        ('{"images": [], 5: 6}', r"a name in quotes should stand here"),
        ('{"images": [], "annotations": {}}', r"the list annotations, \[ should stand here"),
        ('{"images": ["x\ny"]}', r"invalid control character"),
        ('{"images": [{"id": 1}]}', r"an image is an object with an id and a file_name"),
        ('{"images": [5]}', r"an image is an object"),
        (r'{"images": [{"id": 1, "file_name": "\ud800"}]}', r"an image is an object"),
        (r'{"images": [], "categories": [{"id": 1, "name": "\udc80"}]}', r"a category is an object"),
        ('{"images": [], "categories": [{"id": 1}]}', r"a category is an object"),
        (
            '{"images": [], "categories": [{"id": 1, "name": "a", "keypoints": ["n", "n"]}]}',
            r"two keypoints of one name",
        ),
        (
            '{"images": [], "categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}',
            r"category 1 has the name 'a'",
        ),
    ],
)
def test_file_that_is_not_strict_or_not_coco_is_an_error_with_its_place(text: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=why):
        _scan(_lay(tmp_path, text))


def test_file_that_is_not_utf8_is_an_error_with_its_byte(tmp_path: Path) -> None:
    root = lay(tmp_path, {"annotations.json": b'{"images": ["\xff"]}', "a.png": picture()})
    with pytest.raises(DatasetError, match="is not UTF-8 at byte 13"):
        _scan(root)


def test_byte_order_mark_and_space_are_no_fault(tmp_path: Path) -> None:
    text = json.dumps(GOOD, indent=1).replace("[", "[ \r\n\t")
    lay(tmp_path, {"annotations.json": b"\xef\xbb\xbf  " + text.encode(), "a.png": picture()})
    assert scan(tmp_path).num_records == 1


def test_file_above_the_bound_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "MAX_BYTES", 100)
    with pytest.raises(DatasetError, match="bytes, of 100 allowed"):
        _scan(_lay(tmp_path, GOOD))


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "x/../../secret.png"])
def test_path_that_leads_out_is_refused_and_never_opened(name: str, tmp_path: Path) -> None:
    lay(tmp_path, {"secret.png": picture(5)})
    said = {**GOOD, "images": [*GOOD["images"], {"id": 2, "file_name": name}]}
    dataset = _scan(_lay(tmp_path / "data", said))
    [refused] = dataset.refused
    assert refused.detail.startswith("leads elsewhere: annotations.json lists a path that leads out")
    assert dataset.num_records == 1


def test_picture_that_is_missing_is_refused_by_name(tmp_path: Path) -> None:
    said = {**GOOD, "images": [*GOOD["images"], {"id": 2, "file_name": "gone.png"}]}
    [refused] = _scan(_lay(tmp_path, said)).refused
    assert (refused.key, refused.reason) == ("gone.png", Reason.UNREADABLE)
    assert refused.detail == "annotations.json lists it, but there is no such file in the folder"


def test_picture_that_no_file_lists_is_refused_by_name(tmp_path: Path) -> None:
    [refused] = _scan(_lay(tmp_path, GOOD, "a.png", "loose.png")).refused
    assert (refused.key, refused.reason) == ("loose.png", Reason.MISPLACED)


def test_size_that_the_picture_does_not_have_refuses_it(tmp_path: Path) -> None:
    wrong = {"id": 2, "file_name": "b.png", "width": 8, "height": 9}
    [refused] = _scan(_lay(tmp_path, {**GOOD, "images": [*GOOD["images"], wrong]}, "a.png", "b.png")).refused
    assert refused.reason is Reason.ANNOTATION
    assert refused.detail == "picture of another size: the JSON says 8 x 9, the upright picture is 8 x 8"


def test_ids_that_occur_twice_refuse_their_pictures(tmp_path: Path) -> None:
    names = ("a.png", "b.png", "c.png", "d.png")
    images = [{"id": min(i, 2), "file_name": name} for i, name in enumerate(names)]
    objects = [{**GOOD["annotations"][0], "image_id": i} for i in (0, 1)]
    dataset = _scan(_lay(tmp_path, {**GOOD, "images": images, "annotations": objects}, *names))
    assert [record.key for record in dataset] == ["a"]
    assert [each.detail for each in dataset.refused] == [
        "duplicate id: annotation 1 is listed twice",
        "duplicate id: image 2 (d.png) is listed twice",
        "duplicate id: image 2 (d.png) is listed twice",
    ]


def test_object_of_an_unknown_picture_is_told(tmp_path: Path) -> None:
    objects = [GOOD["annotations"][0], {**GOOD["annotations"][0], "id": 2, "image_id": 99}, 5]
    dataset = _scan(_lay(tmp_path, {**GOOD, "annotations": objects}))
    assert [(each.key, each.detail) for each in dataset.refused] == [
        ("annotations.json", "unknown image: annotation 2 is of image 99"),
        ("annotations.json", "unknown image: annotation 5 is of image None"),
    ]


def test_objects_of_unknown_pictures_are_counted_where_they_are_many(tmp_path: Path) -> None:
    objects = [{**GOOD["annotations"][0], "id": i, "image_id": 99 if i else 1} for i in range(1001)]
    details = [each.detail for each in _scan(_lay(tmp_path, {**GOOD, "annotations": objects})).refused]
    assert len(details) == 21
    assert "unknown image: 980 more annotations are of images that it lacks" in details


def test_picture_that_is_listed_by_two_names_is_refused(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "./a.png"}, {"id": 3, "file_name": "b.png"}]
    [refused] = _scan(_lay(tmp_path, {**GOOD, "images": images}, "a.png", "b.png")).refused
    assert (refused.key, refused.detail) == ("a.png", "duplicate id: annotations.json lists a.png by two names")


def test_bad_annotations_are_an_error_unless_they_may_be_left_out(tmp_path: Path) -> None:
    said = {**GOOD, "annotations": [{**GOOD["annotations"][0], "category_id": 9}]}
    with pytest.raises(DatasetError, match="unknown category"):
        scan(_lay(tmp_path, said), format="coco")


def test_picture_in_two_splits_is_refused_in_the_later_one(tmp_path: Path) -> None:
    files = {f"annotations/instances_{split}.json": json.dumps(GOOD).encode() for split in ("train", "val")}
    dataset = _scan(lay(tmp_path, {**files, "images/a.png": picture()}))
    assert dataset.splits == {"train": 1, "val": 0}
    assert [(each.key, each.reason) for each in dataset.refused] == [("val/a.png", Reason.MISPLACED)]


def test_files_with_and_without_a_split_are_an_error(tmp_path: Path) -> None:
    text = json.dumps(GOOD).encode()
    root = lay(tmp_path, {"annotations/instances_train.json": text, "annotations.json": text, "a.png": picture()})
    with pytest.raises(
        DatasetError, match=r"annotations\.json names no split and annotations/instances_train\.json does"
    ):
        _scan(root)


def test_categories_that_differ_between_files_are_an_error(tmp_path: Path) -> None:
    other = {**GOOD, "categories": [{"id": 1, "name": "cat"}]}
    files = {"annotations/instances_train.json": GOOD, "annotations/instances_val.json": other}
    lay(tmp_path, {name: json.dumps(said).encode() for name, said in files.items()})
    with pytest.raises(DatasetError, match=r"category 1 has the name 'dog' in .*train\.json and 'cat' in .*val"):
        _scan(tmp_path)


def test_folder_without_a_coco_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds no COCO file"):
        _scan(lay(tmp_path, {"a.png": picture(), "package.json": b'{"name": "x"}'}))


@pytest.mark.parametrize("name", ["package.json", "annotations/notes.json"])
def test_other_json_is_not_taken_for_coco(name: str, tmp_path: Path) -> None:
    assert not Coco().recognise(grown(lay(tmp_path, {name: b'{"shapes": []}', "a.png": picture()})))


def test_panoptic_files_are_left_out(tmp_path: Path) -> None:
    files = {"annotations/instances_val.json": GOOD, "annotations/panoptic_val.json": {"annotations": [{"x": 1}]}}
    lay(tmp_path, {name: json.dumps(said).encode() for name, said in files.items()} | {"val/a.png": picture()})
    assert _scan(tmp_path).num_refused == 0


def test_link_to_the_folder_above_is_refused_and_not_followed_for_ever(tmp_path: Path) -> None:
    root = _lay(tmp_path, GOOD)
    (root / "again").symlink_to(root)
    [refused] = _scan(root).refused
    assert "leads back" in refused.detail


def test_annotations_do_not_wait_in_memory(tmp_path: Path) -> None:
    root = _lay(tmp_path, GOOD)
    [group] = listed(Coco(), root).groups
    first, again = group.described[0], group.described[0]
    assert first.annotations is None
    assert first.annotate is not None
    assert again.annotate is not None
    assert first.annotate(8, 8) == again.annotate(8, 8) == Annotations(boxes=((1, 1, 3, 3),), box_labels=("dog",))


def test_elements_are_found_again_by_their_places(tmp_path: Path) -> None:
    text = json.dumps(GOOD, indent=2)
    lay(tmp_path, {"x.json": text.encode()})
    assert index.read_text(grown(tmp_path), "x.json") == text
    found = list(index.elements(text, "x.json", ["images", "annotations"]))
    assert [each.member for each in found] == ["images", "images", "annotations", "annotations", "categories"]
    for each in found:
        if each.start is not None:
            assert index.element(text, each.start) == each.value


def test_first_of_a_file_decides_where_the_others_lie(tmp_path: Path) -> None:
    images = [{"id": i, "file_name": f"{i}.png"} for i in range(3)]
    said = {**GOOD, "images": images, "annotations": []}
    names = ("train2017/0.png", "train2017/1.png", "2.png")
    dataset = _scan(_lay(tmp_path, said, *names, name="annotations/instances_train2017.json"))
    assert sorted(annotations_by_key(dataset)) == ["train/0", "train/1"]
    assert [each.key for each in dataset.refused] == ["2.png", "train/2.png"]
