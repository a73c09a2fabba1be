"""Paths of a YOLO dataset's images: data.yaml, lists, darknet's layout; and hostile files."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]  # as Ultralytics reads it
from hypothesis import given
from hypothesis import strategies as st

from augment.datasets.dataset import Dataset
from augment.errors import DatasetError, Reason
from augment.formats.yolo import config, layout
from augment.scanning.scan import scan
from tests.augment.folders_for_tests import grown, lay, pattern
from tests.augment.formats.formats_for_tests import annotations_by_key

NAMES = "names: [cat, dog]\n"
BOX = b"1 0.5 0.5 0.25 0.5\n"


def _lay(root: Path, files: Mapping[str, str | bytes], *images: str) -> Path:
    """Write files, and images of 8 x 8 with one dog each."""
    content = {name: data.encode() if isinstance(data, str) else data for name, data in files.items()}
    shown = {name: pattern(i) for i, name in enumerate(images)}
    lines = {layout.label_path(name): BOX for name in images}
    return lay(root, {**lines, **shown, **content})


def _scan(root: Path) -> Dataset:
    return scan(root, format="yolo", bad_annotations="leave_out")


def _yaml(root: Path, text: str) -> str:
    """Return the error that a data.yaml causes."""
    with pytest.raises(DatasetError) as caught:
        _scan(_lay(root, {"data.yaml": text}, "images/a.png"))
    return str(caught.value)


@pytest.mark.parametrize(
    ("said", "at", "key"),
    [
        ("train: images/train\n", "images/train/x/a.png", "train/x/a"),
        ("train: ./images/train/\n", "images/train/a.png", "train/a"),
        ("train: ../train/images\n", "train/images/a.png", "train/a"),
        ("train: train\n", "train/images/a.png", "train/a"),
        ("path: .\ntrain: images/train\n", "images/train/a.png", "train/a"),
        ("path: sub\ntrain: images/train\n", "sub/images/train/a.png", "train/a"),
        ("path: ../datasets/coco8\ntrain: images/train\n", "images/train/a.png", "train/a"),
        ("path: /somebody/else\ntrain: images/train\n", "images/train/a.png", "train/a"),
        ("path: null\ntrain: images\n", "images/a.png", "a"),
        ("train: [images/train, more/images]\n", "images/train/a.png", "train/images/train/a"),
        ("train: train.txt\n", "images/x/a.png", "train/x/a"),
        ("test: images/holdout\ntrain: images/train\n", "images/holdout/a.png", "test/a"),
    ],
)
def test_places_are_relative_to_the_file_or_to_its_path(said: str, at: str, key: str, tmp_path: Path) -> None:
    files = {"data.yaml": NAMES + said, "train.txt": "./images/x/a.png\n"}
    dataset = scan(_lay(tmp_path, files, at, *(["more/images/b.png"] if "more" in said else [])))
    assert dataset.format == "yolo"
    found = annotations_by_key(dataset)
    assert found[key].box_labels == ("dog",)


def test_place_may_be_absolute_where_it_lies_in_the_dataset(tmp_path: Path) -> None:
    root = _lay(tmp_path, {"data.yaml": f"{NAMES}train: {tmp_path}/images/train\n"}, "images/train/a.png")
    assert sorted(annotations_by_key(_scan(root))) == ["train/a"]


@pytest.mark.parametrize("place", ["/etc", "/", "images/../../../etc"])
def test_place_outside_of_the_dataset_is_an_error(place: str, tmp_path: Path) -> None:
    assert "leads out of the dataset's folder" in _yaml(tmp_path, f"{NAMES}train: {place}\n")


def test_place_that_leads_out_and_has_no_twin_inside_is_never_looked_at(tmp_path: Path) -> None:
    lay(tmp_path, {"outside/shown/a.png": pattern()})
    assert "names places that are not in" in _yaml(tmp_path / "data", f"{NAMES}train: ../outside/shown\n")


def test_places_that_are_not_there_are_refused_by_name(tmp_path: Path) -> None:
    text = f"{NAMES}train: images/train\nval: images/val\ntest: # none\n"
    dataset = _scan(_lay(tmp_path, {"data.yaml": text}, "images/train/a.png"))
    assert dataset.splits == {"train": 1, "val": 0}
    assert [(each.key, each.reason) for each in dataset.refused] == [("val/images/val", Reason.UNREADABLE)]


def test_list_of_images_is_confined_and_tells_what_is_missing(tmp_path: Path) -> None:
    lay(tmp_path, {"secret.png": pattern()})
    text = "images/a.png\n\n../secret.png\n/etc/passwd\nimages/gone.png\n./images/a.png\n"
    files = {"data.yaml": f"{NAMES}train: lists/train.txt\n", "lists/train.txt": text}
    dataset = _scan(_lay(tmp_path / "data", files, "images/a.png"))
    assert [record.key for record in dataset] == ["train/a"]
    assert [(each.key, each.reason) for each in dataset.refused] == [
        ("train/../secret.png", Reason.ANNOTATION),
        ("train//etc/passwd", Reason.ANNOTATION),
        ("train/images/gone.png", Reason.UNREADABLE),
    ]


def test_image_in_two_splits_or_in_none_is_refused_by_name(tmp_path: Path) -> None:
    text = f"{NAMES}train: images/train\nval: images/train\n"
    dataset = _scan(_lay(tmp_path, {"data.yaml": text}, "images/train/a.png", "images/other/b.png"))
    assert [(each.key, each.detail) for each in dataset.refused] == [
        ("images/other/b.png", "it is not in a place that data.yaml names"),
        ("val/a.png", "it is in train too; take it out of one of them"),
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("names: [a\n", "line 2: this is not YAML: "),
        ("names: [a]\nnames: [b]\n", "line 2: names: `names` is written twice (first in line 1)"),
        ("names: &x [a]\ntrain: *x\n", "line 1: `&x` is an anchor"),
        ("names: !!python/object/apply:os.system [x]\n", "is a tag; a data.yaml holds plain values only"),
        ("names: " + "[" * 2000 + "\n", "nest more than"),
        ("%YAML 1.1\n---\nnames: [a]\n", "line 2: the document requires %YAML 1.1; write YAML 1.2"),
        ("- a\n", "it must be a mapping"),
        ("", "the document is empty; write `names`"),
        ("train: images\n", "names must be a list of class names"),
        ("names: []\ntrain: images\n", "names must be a list of class names"),
        ("names: {0: a, 2: b}\n", "names must be numbered from 0 without gaps"),
        ("names: [a, a]\n", "classes 0 and 1 are both called 'a'"),
        ("names: [a, [b]]\n", "the name of class 1 is ['b']; write it in quotes"),
        (r'names: ["\ud800"]', "names.0: the text has half of a surrogate pair"),
        (r'{names: [a], train: "\ud800"}', "train: the text has half of a surrogate pair"),
        ("names: [a, null]\n", "the name of class 1 is None"),
        ("names: [a]\nnc: 2\n", "nc is 2, but there are 1 names"),
        ("names: [a]\nnc: many\n", "nc is the number of classes, not 'many'"),
        ("nc: 99999999999999\n", "names must be a list"),
        ("names: [a]\ntrain: {a: b}\n", "train is a folder, a list of images (.txt), or several of them"),
        ("names: [a]\ntrain: [" + "x, " * 1001 + "]\n", "train has 1001 places, of 1000 allowed"),
        ("names: [a]\npath: [x]\n", "path is ['x'], not a folder"),
        ("names: [a]\nkpt_shape: 5\n", "kpt_shape must be [number of keypoints, 2 or 3], not 5"),
        ("names: [a]\nkpt_shape: [999999999, 3]\n", "kpt_shape must be"),
        ("names: [a]\nkpt_shape: [2, 3]\nflip_idx: [0, 0]\n", "flip_idx must name each of the 2 keypoints once"),
        ("names: [a]\nkpt_shape: [2, 3]\nkpt_names: [x]\n", "kpt_names must be the 2 names of the keypoints"),
        ("names: [a]\nkpt_shape: [2, 3]\nkpt_names: [x, x]\n", "are both called 'x'"),
        ("a: '" + "x" * config.MAX_BYTES + "'\n", "bytes, of 262144 allowed"),
        ("names: [a]\ntrain: \x00\n", "the character U+0000 is not allowed"),
    ],
)
def test_yaml_that_is_wrong_is_an_error_with_its_place(text: str, why: str, tmp_path: Path) -> None:
    assert why in _yaml(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("names: {1: dog, 0: cat}\n", ("cat", "dog")),
        ("names:\n  - no\n  - 7\n", ("no", "7")),
        ("nc: 2\n", ("class_0", "class_1")),
    ],
)
def test_names_may_be_a_list_a_mapping_or_a_number(text: str, classes: tuple[str, ...], tmp_path: Path) -> None:
    assert _scan(_lay(tmp_path, {"data.yaml": f"{text}train: images\n"}, "images/a.png")).classes == classes


_texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


@given(st.lists(_texts, min_size=1, max_size=4, unique=True), st.lists(_texts, max_size=3, unique=True))
def test_any_names_can_be_written_and_read(names: list[str], points: list[str]) -> None:
    words = config.of_output(names, points)
    said = yaml.safe_load(config.written(words, ["train", "val", "a b", None], None))
    assert list(said["names"].values()) == names
    assert said["kpt_names"][0] == points if points else "kpt_names" not in said
    assert (said["train"], said["val"], said["a b"]) == ("images/train", "images/val", "images/a b")


@pytest.mark.parametrize(
    ("files", "images", "keys"),
    [
        ({"classes.txt": "cat\ndog\n"}, ["images/a.png", "images/b.png"], ["a", "b"]),
        ({"obj.names": "cat\ndog\n\n"}, ["obj_train_data/a.png"], ["obj_train_data/a"]),
        ({"classes.txt": "cat\ndog\n"}, ["images/train/a.png", "images/val/a.png"], ["train/a", "val/a"]),
        ({"train/_darknet.labels": "cat\ndog"}, ["train/a.png"], ["train/a"]),
        (
            {
                "obj.data": "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n",
                "obj.names": "cat\ndog\n",
                "train.txt": "data/obj_train_data/a.png\ndata/obj_train_data/b.png\n",
            },
            ["obj_train_data/a.png", "obj_train_data/b.png"],
            ["train/obj_train_data/a", "train/obj_train_data/b"],
        ),
        (
            {"classes.txt": "cat\ndog\n", "train.txt": "images/a.png\n", "valid.txt": "images/b.png\n"},
            ["images/a.png", "images/b.png"],
            ["train/a", "valid/b"],
        ),
    ],
)
def test_darknets_layouts_are_read(files: dict[str, str], images: list[str], keys: list[str], tmp_path: Path) -> None:
    dataset = _scan(_lay(tmp_path, files, *images))
    assert dataset.num_refused == 0
    found = annotations_by_key(dataset)
    assert sorted(found) == keys
    assert all(each.box_labels == ("dog",) for each in found.values())


def test_lists_of_classes_that_differ_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="list different classes"):
        _scan(_lay(tmp_path, {"classes.txt": "cat\ndog\n", "labels/classes.txt": "dog\ncat\n"}, "images/a.png"))


def test_folder_that_names_no_classes_and_has_no_lines_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"has no data\.yaml, no list of classes"):
        _scan(_lay(tmp_path, {"labels/a.txt": ""}, "images/a.png"))


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"data.yaml": f"{NAMES}train: images\n"}, True),
        ({"coco8.yaml": "train: images\nnc: 2\n"}, True),
        ({"docker-compose.yml": "services: {}\n"}, False),
        ({"classes.txt": "cat\n"}, False),
        ({"classes.txt": "cat\n", "labels/a.txt": "0 0.5 0.5 0.1 0.1\n"}, True),
        ({"labels/a.txt": "0 0.5 0.5 0.1 0.1\n"}, True),
        ({"obj.names": "cat\n"}, False),
        ({"obj.names": "cat\n", "obj_train_data/a.txt": ""}, True),
    ],
)
def test_layout_is_recognised_by_what_names_the_classes(files: dict[str, str], expected: bool, tmp_path: Path) -> None:
    content = {name: text.encode() for name, text in files.items()}
    assert layout.recognise(grown(lay(tmp_path, {**content, "images/a.png": pattern()}))) is expected
