"""COCO's files as a whole: strict JSON, several files, missing images, and hostile files."""

import json
from itertools import permutations
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.datasets.dataset import Dataset
from augment.errors import DatasetError, Reason
from augment.formats.coco import index
from augment.formats.coco.format import Coco
from augment.samples.annotations import Annotations
from augment.scanning.scan import scan
from tests.augment.folders_for_tests import grown, lay, listed, pattern
from tests.augment.formats.formats_for_tests import annotations_by_key

GOOD: dict[str, Any] = {
    "images": [{"id": 1, "file_name": "a.png", "width": 8, "height": 8}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2]}],
    "categories": [{"id": 1, "name": "dog"}],
}


def _lay(root: Path, said: object, *images: str, name: str = "annotations.json") -> Path:
    text = said if isinstance(said, str) else json.dumps(said)
    return lay(root, {name: text.encode(), **{each: pattern(i) for i, each in enumerate(images or ("a.png",))}})


def _scan(root: Path) -> Dataset:
    return scan(root, format="coco", bad_annotations="leave_out")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"images": [}', r"line 1, column 13: expecting value \(found '}'\)"),
        ('{"images": [],\n "images": []}', r"line 2, column 2: images is written twice"),
        ('{"images": [{' + ", ".join(f'"{i}": 1' for i in range(99_999)) + ', "7": 1}]}', r"7 is written twice"),
        ('{"images": [\n{"id": 1, "id": 2}]}', r"line 2, column 1: in the value that begins here, id is written twice"),
        ('{"images": [NaN]}', r"NaN is not a JSON number"),
        ('{"images": [{"id": -Infinity}]}', r"-Infinity is not a JSON number"),
        ('{"images": [1e999]}', r"the number 1e999 is too large"),
        ('{"images": [' + "9" * 5000 + "]}", r"a whole number has 5000 digits, of 18 allowed"),
        ('{"images": [' + "[" * 100_000, r"the value that begins here is nested too deep"),
        ('{"images": [], "licenses": [1,]}', r"a comma before the end of a list"),
        ('{"images": [], "licenses": [1 2]}', r"a comma or the end of a list"),
        ('{"images": []', r"expected a comma or the end of the object, } \(the file ends\)"),
        ('{"images": []} x', r"text after the end"),
        ('{"images": [], 5: 6}', r"expected a name in quotes"),
        ('{"images": [], "annotations": {}}', r"expected the list annotations, \["),
        ('{"images": ["x\ny"]}', r"invalid control character"),
        ('{"images": [{"id": 1}]}', r"an image is an object with an id and a file_name"),
        ('{"images": [5]}', r"an image is an object"),
        (r'{"images": [{"id": 1, "file_name": "\ud800"}]}', r"an image is an object"),
        (r'{"images": [], "categories": [{"id": 1, "name": "\udc80"}]}', r"a category is an object"),
        ('{"images": [], "categories": [{"id": 1}]}', r"a category is an object"),
        (
            '{"images": [], "categories": [{"id": 1, "name": "a", "keypoints": ["n", "n"]}]}',
            r"two keypoints with the same name",
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
    root = lay(tmp_path, {"annotations.json": b'{"images": ["\xff"]}', "a.png": pattern()})
    with pytest.raises(DatasetError, match="is not UTF-8 at byte 13"):
        _scan(root)


def test_byte_order_mark_and_space_are_no_fault(tmp_path: Path) -> None:
    text = json.dumps(GOOD, indent=1).replace("[", "[ \r\n\t")
    lay(tmp_path, {"annotations.json": b"\xef\xbb\xbf  " + text.encode(), "a.png": pattern()})
    assert scan(tmp_path).num_records == 1


def test_file_above_the_bound_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "MAX_BYTES", 100)
    with pytest.raises(DatasetError, match="bytes, of 100 allowed"):
        _scan(_lay(tmp_path, GOOD))


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "x/../../secret.png"])
def test_path_that_leads_out_is_refused_and_never_opened(name: str, tmp_path: Path) -> None:
    lay(tmp_path, {"secret.png": pattern(5)})
    said = {**GOOD, "images": [*GOOD["images"], {"id": 2, "file_name": name}]}
    dataset = _scan(_lay(tmp_path / "data", said))
    [refused] = dataset.refused
    assert refused.detail.startswith("leads elsewhere: annotations.json lists a path that leads out")
    assert dataset.num_records == 1


def test_image_that_is_missing_is_refused_by_name(tmp_path: Path) -> None:
    said = {**GOOD, "images": [*GOOD["images"], {"id": 2, "file_name": "gone.png"}]}
    [refused] = _scan(_lay(tmp_path, said)).refused
    assert (refused.key, refused.reason) == ("gone.png", Reason.UNREADABLE)
    assert refused.detail == "annotations.json lists it, but there is no such file in the folder"


def test_image_that_no_file_lists_is_refused_by_name(tmp_path: Path) -> None:
    [refused] = _scan(_lay(tmp_path, GOOD, "a.png", "loose.png")).refused
    assert (refused.key, refused.reason) == ("loose.png", Reason.MISPLACED)


def test_size_that_the_image_does_not_have_refuses_it(tmp_path: Path) -> None:
    wrong = {"id": 2, "file_name": "b.png", "width": 8, "height": 9}
    [refused] = _scan(_lay(tmp_path, {**GOOD, "images": [*GOOD["images"], wrong]}, "a.png", "b.png")).refused
    assert refused.reason is Reason.ANNOTATION
    assert refused.detail == "image of another size: the JSON has 8 x 9, the upright image is 8 x 8"


def test_ids_that_occur_twice_refuse_their_images(tmp_path: Path) -> None:
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


def test_annotations_of_unknown_images_are_told_with_their_number(tmp_path: Path) -> None:
    objects = [GOOD["annotations"][0], {**GOOD["annotations"][0], "id": 2, "image_id": 99}, 5]
    [refused] = _scan(_lay(tmp_path, {**GOOD, "annotations": objects})).refused
    assert (refused.key, refused.reason) == ("annotations.json", Reason.ANNOTATION)
    assert refused.detail == (
        "unknown image: 2 annotations are of images that are not listed (annotation 2 is of image 99, annotation 5 "
        "is of image None)"
    )
    objects = [{**GOOD["annotations"][0], "id": i, "image_id": 99 if i else 1} for i in range(1001)]
    [refused] = _scan(_lay(tmp_path / "many", {**GOOD, "annotations": objects})).refused
    assert "1,000 annotations are of images that are not listed" in refused.detail


def test_image_is_left_out_rather_than_emptied(tmp_path: Path) -> None:
    """An object without an image may belong to any image that has no other object."""
    images = [{"id": i, "file_name": f"{i}.png"} for i in (1, 2)]
    objects = [GOOD["annotations"][0], {**GOOD["annotations"][0], "id": 2, "image_id": "b"}]
    dataset = _scan(_lay(tmp_path, {**GOOD, "images": images, "annotations": objects}, "1.png", "2.png"))
    assert [record.key for record in dataset] == ["1"]
    refused = {each.key: each.detail for each in dataset.refused}
    assert refused["2.png"] == "objects lost: this image has none, and 1 object is of images that are not listed"
    assert refused["annotations.json"].startswith("unknown image: 1 annotation is")


def test_lost_captions_empty_no_image(tmp_path: Path) -> None:
    captions = {"images": GOOD["images"], "annotations": [{"id": 1, "image_id": 9, "caption": "x", "category_id": 0}]}
    files = {
        "annotations/instances_train.json": {**GOOD, "annotations": []},
        "annotations/captions_train.json": captions,
    }
    lay(tmp_path, {name: json.dumps(said).encode() for name, said in files.items()} | {"train/a.png": pattern()})
    dataset = _scan(tmp_path)
    assert annotations_by_key(dataset)["train/a"].boxes == ()
    assert [each.key for each in dataset.refused] == ["annotations/captions_train.json"]


def test_file_with_annotations_and_no_images_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"annotations\.json lists no image: put the list"):
        _scan(_lay(tmp_path, {**GOOD, "images": []}))


SPELLINGS = st.sampled_from([int, str, float])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 10**6), SPELLINGS, SPELLINGS), min_size=1, max_size=4, unique_by=itemgetter(0))
)
def test_ids_as_texts_and_as_numbers_are_the_same(ids: list[tuple[int, type, type]]) -> None:
    said = {
        "annotations": [{"id": i, "image_id": b(i), "category_id": a(i), "bbox": [1, 1, 2, 2]} for i, a, b in ids],
        "categories": [{"id": b(i), "name": f"c{i}"} for i, _, b in ids],
        "images": [{"id": a(i), "file_name": f"{i}.png"} for i, a, _ in ids],
    }
    found = index.index_file("x.json", json.dumps(said))
    assert found.lost is None
    assert found.used == {i for i, _, _ in ids}
    for i, _, _ in ids:
        entry = found.entries[f"{i}.png"]
        assert entry.problem is None
        assert [each["id"] for each in found.objects(entry)] == [i]


def test_objects_get_the_classes_of_ids_that_are_texts(tmp_path: Path) -> None:
    categories = [{"id": "10", "name": "cat"}, {"id": "9", "name": "dog"}, {"id": "x", "name": "hen"}]
    objects = [{**GOOD["annotations"][0], "id": i, "category_id": own} for i, own in enumerate((10, "9", "x"))]
    dataset = _scan(_lay(tmp_path, {**GOOD, "categories": categories, "annotations": objects}))
    assert dataset.classes == ("dog", "cat", "hen")
    assert annotations_by_key(dataset)["a"].box_labels == ("cat", "dog", "hen")
    assert [each["id"] for each in dataset.details["categories"]] == ["9", "10", "x"]


def test_ids_that_differ_by_quotes_alone_are_refused_by_name(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "a.png"}, {"id": "1", "file_name": "b.png"}, {"id": 2, "file_name": "c.png"}]
    objects = [{**GOOD["annotations"][0], "image_id": 2}]
    dataset = _scan(_lay(tmp_path / "a", {**GOOD, "images": images, "annotations": objects}, "a.png", "b.png", "c.png"))
    assert [record.key for record in dataset] == ["c"]
    [detail] = {each.detail for each in dataset.refused}
    assert detail.startswith("ambiguous id: images 1 and '1' differ only by their quotes")
    categories = [{"id": 1, "name": "dog"}, {"id": "1", "name": "cat"}]
    with pytest.raises(
        DatasetError, match=r"category '1' has the name 'dog' in .* and 'cat' in .*; give them different ids"
    ):
        _scan(_lay(tmp_path / "b", {**GOOD, "categories": categories}))


FOREIGN = [
    "../../label-studio/media/upload/4/",
    "/mnt/data/",
    "https://example.org/media/",
    "s3://bucket/",
    "C:\\Users\\x\\",
    "\\\\server\\share\\",
    "/data/local-files/?d=",
    "file:///C:/x/",
]


@pytest.mark.parametrize("before", FOREIGN)
@pytest.mark.parametrize("folder", ["", "images/", "some/where/"])
def test_image_with_a_path_of_elsewhere_is_found_by_its_unique_name(before: str, folder: str, tmp_path: Path) -> None:
    lay(tmp_path, {"a b.png": pattern(7), "outside/a b.png": pattern(7)})
    name = "a%20b.png" if "://" in before else "a b.png"
    said = {**GOOD, "images": [{"id": 1, "file_name": before + name}]}
    dataset = scan(_lay(tmp_path / "data", said, f"{folder}a b.png", name="result.json"))
    assert [record.path.relative_to(dataset.root).as_posix() for record in dataset] == [f"{folder}a b.png"]
    assert annotations_by_key(dataset).popitem()[1].boxes == ((1, 1, 3, 3),)
    [notice] = dataset.notices
    assert notice.startswith("1 image was found by name, because the listed path leads elsewhere (the first: ")


@pytest.mark.parametrize("before", FOREIGN)
def test_path_of_elsewhere_that_may_be_two_images_is_refused_by_name(before: str, tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": f"{before}a.png"}, {"id": 2, "file_name": f"{before}b.png"}]
    dataset = _scan(_lay(tmp_path, {**GOOD, "images": images}, "one/a.png", "two/a.png", "two/b.png"))
    assert [record.path.name for record in dataset] == ["b.png"]
    [detail] = [each.detail for each in dataset.refused if each.reason is Reason.ANNOTATION]
    assert detail.startswith("ambiguous path: ")
    assert "may be one/a.png, two/a.png; write the whole path" in detail


def test_of_several_images_of_a_name_the_one_that_shares_more_of_the_path_is_taken(tmp_path: Path) -> None:
    names = ("train/a.png", "val/a.png", "old/train/b.png", "val/b.png")
    images = [{"id": i, "file_name": f"/mnt/old/{name}"} for i, name in enumerate(("train/a.png", "train/b.png"))]
    dataset = _scan(_lay(tmp_path, {**GOOD, "images": images}, *names))
    assert {record.path.relative_to(dataset.root).as_posix() for record in dataset} == {
        "train/a.png",
        "old/train/b.png",
    }


def test_image_of_another_split_is_not_taken(tmp_path: Path) -> None:
    """Numbered images of two splits share their names, and one split may be missing."""
    said = json.dumps(GOOD).encode()
    lay(tmp_path / "a", {"annotations/instances_train.json": said, "val2017/a.png": pattern()})
    with pytest.raises(DatasetError, match="lists it, but there is no such file"):
        scan(tmp_path / "a")
    far = json.dumps({**GOOD, "images": [{"id": 1, "file_name": "/x/a.png"}]}).encode()
    lay(tmp_path / "b", {"instances_train.json": far, "instances_val.json": said, "images/a.png": pattern()})
    dataset = _scan(tmp_path / "b")
    assert [record.key for record in dataset] == ["val/a"]
    assert [each.detail for each in dataset.refused] == [
        "ambiguous path: '/x/a.png' may be images/a.png, which instances_val.json lists by its own path"
    ]


@pytest.mark.parametrize(
    ("listed_name", "there", "is_found"),
    [
        ("0a1b2c3d-a.png", ["images/a.png"], True),
        ("../upload/4/0a1b2c3d-a.png", ["images/a.png"], True),
        ("../upload/4/a.png", ["images/0a1b2c3d-a.png"], True),
        ("../upload/4/a.png", ["images/0a1b2c3d-a.png", "images/00000000-a.png"], False),
        ("0a1b2c3d-a.png", ["images/a.png", "other/a.png"], False),
        ("../upload/4/0a1b2c3d-a.png", ["images/b.png"], False),
        ("../upload/4/xyzxyzxy-a.png", ["images/a.png"], False),
    ],
)
def test_prefix_of_an_upload_is_no_part_of_a_name(
    listed_name: str, there: list[str], is_found: bool, tmp_path: Path
) -> None:
    images = [{"id": 1, "file_name": listed_name}, {"id": 2, "file_name": "images/good.png"}]
    dataset = _scan(_lay(tmp_path, {**GOOD, "images": images}, *there, "images/good.png"))
    assert dataset.num_records == 1 + is_found


@pytest.mark.parametrize(
    ("file", "image_at", "split"),
    [
        ("labels/train.json", "images/train/a.png", "train"),
        ("labels/train.json", "train/images/a.png", "train"),
        ("labels/train/coco.json", "images/train/a.png", "train"),
        ("train/labels.json", "train/images/a.png", "train"),
        ("train/annotations/coco.json", "train/images/a.png", "train"),
        ("train.json", "images/a.png", "train"),
        ("data/json/instances_train2017.json", "data/train2017/a.png", "train"),
        ("coco/annotations/instances_val.json", "pics/a.png", "val"),
        ("export/result.json", "export/images/a.png", None),
    ],
)
def test_file_may_be_in_any_folder(file: str, image_at: str, split: str | None, tmp_path: Path) -> None:
    dataset = scan(_lay(tmp_path, GOOD, image_at, name=file))
    assert (dataset.format, list(dataset.splits)) == ("coco", [] if split is None else [split])
    assert dataset.num_refused == 0
    assert annotations_by_key(dataset).popitem()[1].boxes == ((1, 1, 3, 3),)


@pytest.mark.parametrize("order", list(permutations(("info", "licenses", "images", "annotations", "categories"))))
def test_file_is_recognised_whatever_list_comes_first(order: tuple[str, ...], tmp_path: Path) -> None:
    """Each list is longer than the part of a file that is read first."""
    said: dict[str, Any] = {
        "info": {"description": "x" * 10},
        "licenses": [{"id": i, "name": "free", "url": "x" * 80} for i in range(700)],
        "images": GOOD["images"] + [{"id": i, "file_name": f"{'x' * 50}{i}.png"} for i in range(2, 1000)],
        "annotations": [{"id": i, "category_id": 1, "bbox": [1, 1, 2, 2], "image_id": 1} for i in range(1500)],
        "categories": [{"id": i, "name": f"c{i}", "synonyms": ["x" * 50]} for i in range(1000)],
    }
    lay(tmp_path, {"some.json": json.dumps({name: said[name] for name in order}).encode()})
    assert Coco().recognise(grown(tmp_path))


@pytest.mark.parametrize("name", ["annotations/stuff_val.json", "annotations/panoptic_val.json"])
def test_stuff_and_panoptic_files_beside_objects_are_told_as_unread(name: str, tmp_path: Path) -> None:
    segments = {"images": GOOD["images"], "annotations": [{"image_id": 1, "segments_info": []}]}
    files = {"annotations/instances_val.json": GOOD, name: segments if "panoptic" in name else GOOD}
    lay(tmp_path, {name: json.dumps(said).encode() for name, said in files.items()} | {"val/a.png": pattern()})
    with pytest.raises(DatasetError, match=rf"{name} was not read, though it is a file of COCO: .*--ignore"):
        scan(tmp_path)
    assert scan(tmp_path, format="coco").notices == (f"{name} was not read, though it is a file of COCO",)
    assert scan(tmp_path, ignore=[name]).num_records == 1


@pytest.mark.parametrize("name", ["annotations/panoptic_val.json", "annotations/val.json"])
def test_panoptic_files_alone_are_an_error_that_says_so(name: str, tmp_path: Path) -> None:
    segments = {"images": GOOD["images"], "annotations": [{"image_id": 1, "segments_info": []}]}
    with pytest.raises(DatasetError, match=r"panoptic files? .*(not|cannot be) read"):
        scan(_lay(tmp_path, segments, "val/a.png", name=name))


def test_older_copy_of_a_file_refuses_the_images_that_it_has_other_objects_of(tmp_path: Path) -> None:
    removed = [GOOD["annotations"][0], {**GOOD["annotations"][0], "id": 2}]
    files = {"train.json": GOOD, "backup/train.json": {**GOOD, "annotations": removed}}
    lay(tmp_path, {name: json.dumps(said).encode() for name, said in files.items()} | {"a.png": pattern()})
    with pytest.raises(DatasetError, match=r"backup/train\.json and train\.json list other objects; ignore one"):
        scan(tmp_path)
    (tmp_path / "backup/train.json").write_text(json.dumps(GOOD))
    assert scan(tmp_path).num_records == 1


@pytest.mark.parametrize(
    "said",
    [
        {"images": GOOD["images"], "categories": GOOD["categories"], "annotation": GOOD["annotations"]},
        {"images": [{**GOOD["images"][0], "objects": GOOD["annotations"]}], "categories": GOOD["categories"]},
    ],
)
def test_objects_in_another_member_are_an_error(said: object, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"annotations\.json: (annotation|objects of an image) holds objects, which"):
        scan(_lay(tmp_path, said))


def test_list_of_categories_alone_is_an_error_by_its_name(tmp_path: Path) -> None:
    said = {"categories": [{"id": 1, "name": "cat", "supercategory": "animal"}]}
    with pytest.raises(DatasetError, match=r"categories\.json lists no image: .*--ignore"):
        scan(_lay(tmp_path, said, "cat/a.png", "dog/b.png", name="categories.json"))


def test_files_that_say_different_things_of_one_object_refuse_its_image(tmp_path: Path) -> None:
    other = {**GOOD, "annotations": [{**GOOD["annotations"][0], "bbox": [5, 5, 2, 2]}]}
    files = {"cats.json": GOOD, "dogs.json": other}
    lay(tmp_path, {name: json.dumps(said).encode() for name, said in files.items()} | {"a.png": pattern()})
    with pytest.raises(DatasetError, match=r"duplicate id .*annotation 1 has another bbox in dogs\.json"):
        scan(tmp_path)


def test_image_that_is_listed_by_two_names_is_refused(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "./a.png"}, {"id": 3, "file_name": "b.png"}]
    [refused] = _scan(_lay(tmp_path, {**GOOD, "images": images}, "a.png", "b.png")).refused
    assert (refused.key, refused.detail) == ("a.png", "duplicate id: annotations.json lists a.png under two names")


def test_bad_annotations_are_an_error_unless_they_may_be_left_out(tmp_path: Path) -> None:
    said = {**GOOD, "annotations": [{**GOOD["annotations"][0], "category_id": 9}]}
    with pytest.raises(DatasetError, match="unknown category"):
        scan(_lay(tmp_path, said), format="coco")


def test_image_in_two_splits_is_refused_in_the_later_one(tmp_path: Path) -> None:
    files = {f"annotations/instances_{split}.json": json.dumps(GOOD).encode() for split in ("train", "val")}
    dataset = _scan(lay(tmp_path, {**files, "images/a.png": pattern()}))
    assert dataset.splits == {"train": 1, "val": 0}
    assert [(each.key, each.reason) for each in dataset.refused] == [("val/a.png", Reason.MISPLACED)]


def test_files_with_and_without_a_split_are_an_error(tmp_path: Path) -> None:
    text = json.dumps(GOOD).encode()
    root = lay(tmp_path, {"annotations/instances_train.json": text, "annotations.json": text, "a.png": pattern()})
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
        _scan(lay(tmp_path, {"a.png": pattern(), "package.json": b'{"name": "x"}'}))


@pytest.mark.parametrize("name", ["package.json", "annotations/notes.json"])
def test_other_json_is_not_taken_for_coco(name: str, tmp_path: Path) -> None:
    assert not Coco().recognise(grown(lay(tmp_path, {name: b'{"shapes": []}', "a.png": pattern()})))


def test_panoptic_files_are_left_out(tmp_path: Path) -> None:
    files = {"annotations/instances_val.json": GOOD, "annotations/panoptic_val.json": {"annotations": [{"x": 1}]}}
    lay(tmp_path, {name: json.dumps(said).encode() for name, said in files.items()} | {"val/a.png": pattern()})
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
