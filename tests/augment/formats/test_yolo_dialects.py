"""YOLO as tools write it: read with the right classes and boxes, or refused by name, and never read in part."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.datasets.dataset import Dataset
from augment.errors import DatasetError
from augment.formats.yolo import labels
from augment.scanning.scan import scan
from tests.augment.folders_for_tests import lay, pattern
from tests.augment.formats.formats_for_tests import annotations_by_key

BOX = "1 0.5 0.5 0.25 0.5\n"
NAMES = "names: [cat, dog]\n"


def _lay(root: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write texts; an empty text with an image's suffix becomes an image, each of another shade."""
    content = {name: data.encode() if isinstance(data, str) else data for name, data in files.items()}
    shades = {name: i for i, name in enumerate(content)}
    images = {name: pattern(shades[name]) for name, data in content.items() if not data and name.endswith("g")}
    return lay(root, content | images)


def _refusal(root: Path, files: Mapping[str, str | bytes], **options: str) -> str:
    with pytest.raises(DatasetError) as caught:
        scan(_lay(root, files), **options)  # type: ignore[arg-type]
    return str(caught.value)


def _split(text: str, *splits: str) -> dict[str, str | bytes]:
    """Write a dataset with one image a split, in Roboflow's layout."""
    files: dict[str, str | bytes] = {"data.yaml": NAMES + text}
    for split in splits:
        files |= {f"{split}/images/{split}.png": "", f"{split}/labels/{split}.txt": BOX}
    return files


def _is_dog(dataset: Dataset, *keys: str) -> None:
    found = annotations_by_key(dataset)
    assert sorted(found) == sorted(keys)
    for each in found.values():
        assert (each.box_labels, each.boxes) == (("dog",), ((3.0, 2.0, 5.0, 6.0),))


# --------------------------------------------------------------------------------------------------- without data.yaml


def test_flat_folder_of_labelimg_is_read(tmp_path: Path) -> None:
    dataset = scan(_lay(tmp_path, {"a.jpg": "", "a.txt": BOX, "classes.txt": "cat\r\ndog\r\n"}))
    assert (dataset.format, dataset.classes, dataset.num_refused) == ("yolo", ("cat", "dog"), 0)
    _is_dog(dataset, "a")


def test_flat_folder_is_recognised_behind_many_empty_files(tmp_path: Path) -> None:
    files = {f"{i:03}.{end}": "" for i in range(30) for end in ("png", "txt")}
    dataset = scan(_lay(tmp_path, {**files, "zz.png": "", "zz.txt": BOX, "classes.txt": "cat\ndog\n"}))
    assert dataset.format == "yolo"
    assert annotations_by_key(dataset)["zz"].box_labels == ("dog",)


def test_lines_of_an_image_that_is_called_as_a_list_are_lines(tmp_path: Path) -> None:
    files = {"train.png": "", "train.txt": BOX, "b.png": "", "b.txt": BOX, "classes.txt": "cat\ndog\n"}
    _is_dog(scan(_lay(tmp_path, files)), "train", "b")


def test_splits_without_yaml_have_numbers_as_classes_and_a_notice(tmp_path: Path) -> None:
    files = _split("", "train", "valid")
    files["valid/labels/valid.txt"] = "3 0.5 0.5 0.25 0.5\n0 0.5 0.5 0.25 0.5\n"
    del files["data.yaml"]
    dataset = scan(_lay(tmp_path, files))
    assert (dataset.format, dataset.splits) == ("yolo", {"train": 1, "valid": 1})
    assert dataset.classes == ("0", "1", "2", "3"), "a number keeps its meaning though none has class 2"
    assert annotations_by_key(dataset)["valid/valid"].box_labels == ("3", "0")
    assert any("names of the classes are missing" in notice and "0 to 3" in notice for notice in dataset.notices)


@pytest.mark.parametrize("number", ["1", "1.0", "1.000000000000000000e+00"])
def test_numbers_of_classes_may_be_written_as_numpy_does(number: str, tmp_path: Path) -> None:
    dataset = scan(_lay(tmp_path, {"images/a.png": "", "labels/a.txt": f"{number} 0.5 0.5 0.25 0.5\n"}))
    assert annotations_by_key(dataset)["a"].box_labels == ("1",)


def test_yaml_of_a_model_and_one_below_the_root_name_no_other_classes(tmp_path: Path) -> None:
    files = {"images/a.png": "", "labels/a.txt": BOX, "yolov5s.yaml": "nc: 80\ndepth_multiple: 0.33\n"}
    dataset = scan(_lay(tmp_path, files))
    assert dataset.classes == ("0", "1")
    assert dataset.notices[1] == "yolov5s.yaml was not read"
    assert scan(_lay(tmp_path, {"cfg/plates.yaml": NAMES})).classes == ("cat", "dog")


@pytest.mark.parametrize("place", ["img", "Images", "JPEGImages", "."])
def test_lines_beside_a_folder_that_is_not_called_images_are_refused_by_name(place: str, tmp_path: Path) -> None:
    why = _refusal(tmp_path, {f"{place}/a.png": "", "labels/a.txt": BOX, "classes.txt": "cat\ndog\n"})
    assert "labels/a.txt: no image has the name of these lines at the same path in a folder images" in why


def test_missing_names_that_folders_could_be_are_refused(tmp_path: Path) -> None:
    files = {"cat/a.png": "", "cat/a.txt": BOX, "dog/b.png": "", "dog/b.txt": BOX}
    why = _refusal(tmp_path, files)
    assert "in the folders cat and dog, which could be the classes" in why
    assert "add a classes.txt or a data.yaml" in why


def test_image_outside_of_the_folders_of_splits_is_told_and_does_not_mix_them(tmp_path: Path) -> None:
    files = {**_split("", "train", "valid"), "sample.png": "", "classes.txt": "cat\ndog\n"}
    del files["data.yaml"]
    dataset = scan(_lay(tmp_path, files))
    assert dict(dataset.splits) == {"train": 1, "valid": 1}
    [refused] = dataset.refused
    assert (refused.key, refused.detail) == ("sample.png", "it is not in the folder of a split, as others are")


# ------------------------------------------------------------------------------------------------------ data.yaml


ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"]


@given(encoding=st.sampled_from(ENCODINGS), lines=st.sampled_from(ENCODINGS), newline=st.sampled_from(["\n", "\r\n"]))
@settings(max_examples=20, deadline=None)
def test_texts_may_be_as_windows_saves_them(
    encoding: str, lines: str, newline: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    files = _split("train: train\\images\ntest: test\\images\\\n", "train", "test")
    for name, text in files.items():
        if isinstance(text, str) and text:
            files[name] = text.replace("\n", newline).encode(encoding if name == "data.yaml" else lines)
    dataset = scan(_lay(tmp_path_factory.mktemp("yolo"), files))
    assert (dataset.format, dataset.num_refused) == ("yolo", 0)
    _is_dog(dataset, "train/train", "test/test")


def test_text_that_is_in_no_known_encoding_is_refused_by_name(tmp_path: Path) -> None:
    files = {**_split("", "train"), "data.yaml": f"train: train/images\n{NAMES}# café".encode("latin-1")}
    assert "data.yaml is not UTF-8 at byte" in _refusal(tmp_path, files)


_FRONTS = st.lists(st.sampled_from(["NAME", "content", "C:", "a b", "x", "..", "~", "data"]), min_size=1, max_size=6)


@given(parts=_FRONTS, absolute=st.booleans(), windows=st.booleans(), as_list=st.booleans())
@settings(max_examples=40, deadline=None)
def test_paths_of_another_machine_are_found_by_their_ends(
    parts: list[str], absolute: bool, windows: bool, as_list: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    front = ("/" if absolute else "") + "/".join(parts)
    keys = {"train": "train", "val": "valid"}
    if as_list:
        files = _split("train: train.txt\nval: valid.txt\n", "train", "valid")
        for split in keys.values():
            line = f"{front}/{split}/images/{split}.png\n"
            files[f"{split}.txt"] = line.replace("/", "\\") if windows else line
    else:
        text = "".join(f"{key}: '{front}/{split}/images'\n" for key, split in keys.items())
        files = _split(text.replace("/", "\\") if windows else text, "train", "valid")
    dataset = scan(_lay(tmp_path_factory.mktemp("yolo"), files))
    assert (dataset.splits, dataset.num_refused) == ({"train": 1, "val": 1}, 0)
    found = annotations_by_key(dataset)
    assert [found[key].box_labels for key in sorted(found)] == [("dog",)] * 2


def test_places_that_begin_with_the_datasets_own_name_are_told(tmp_path: Path) -> None:
    text = "test: ../test/images\ntrain: plates-4/train/images\nval: plates-4/valid/images\n"
    dataset = scan(_lay(tmp_path / "renamed", _split(text, "train", "valid", "test")))
    assert dict(dataset.splits) == {"test": 1, "train": 1, "val": 1}
    assert dataset.num_refused == 0
    [notice] = dataset.notices
    assert "data.yaml names paths that begin with plates-4, which is not in the dataset" in notice


def test_places_of_two_other_folders_are_not_taken_for_one(tmp_path: Path) -> None:
    files = _split("train: [/a/images, /b/images]\n", "x") | {"images/a.png": "", "labels/a.txt": BOX}
    dataset = scan(_lay(tmp_path / "same", files), bad_annotations="leave_out")
    assert sorted(each.key for each in dataset.refused) == ["train//b/images", "x/images/x.png"]
    files = _split("train: /a/train/images\nval: /b/valid/images\n", "train", "valid")
    assert "names places of different folders" in _refusal(tmp_path / "two", files)


def test_place_of_another_folder_is_never_one_that_another_split_has(tmp_path: Path) -> None:
    files = {"data.yaml": f"{NAMES}val: ../val/images\ntrain: images/train\n"}
    dataset = scan(_lay(tmp_path, {**files, "images/train/a.png": "", "labels/train/a.txt": BOX}))
    assert dict(dataset.splits) == {"train": 1, "val": 0}
    assert [each.key for each in dataset.refused] == ["val/../val/images"]


def test_yaml_below_the_root_is_read_and_two_are_refused(tmp_path: Path) -> None:
    text = "train: train/images\nval: plates/valid/images\n"
    files = {f"plates/{name}": text for name, text in _split(text, "train", "valid").items()}
    _is_dog(scan(_lay(tmp_path / "one", files)), "train/train", "val/valid")
    again = {name.replace("plates/", "more/"): text for name, text in files.items()}
    assert "more/data.yaml and plates/data.yaml: give the folder of one dataset" in _refusal(
        tmp_path / "two", files | again
    )


@pytest.mark.parametrize(
    "names",
    [
        'names: {"0": cat, "1": dog}',
        "names: {'1': dog, 0: cat}",
        "names: cat, dog",
        "names: cat,dog\nnc: 2",
        'nc: "2"\nnames: [cat, dog]',
        "names:\n- cat\n- dog\ntest: ''\nval:",
    ],
)
def test_names_may_be_written_in_many_ways(names: str, tmp_path: Path) -> None:
    files = _split("", "train") | {"data.yaml": f"train: train/images\n{names}\n"}
    dataset = scan(_lay(tmp_path, files))
    assert dataset.classes == ("cat", "dog")
    _is_dog(dataset, "train/train")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("names: cat, dog\nnc: 3", "nc is 3, but there are 2 names"),
        ("names: {'0': cat, 0: dog}", "names.0: `0` is written twice"),
        ("names: {'1': cat, '2': dog}", "names must be numbered from 0 without gaps"),
        ("names: cat dog", "names is the text 'cat dog'; write them as a list"),
        ("names: \"['cat', 'dog']\"", "names is the text"),
        ("names: classes.txt\nnc: 1", "names is the text 'classes.txt'"),
        ("names: cat,, dog", "the name of class 1 is ''"),
        (f"{NAMES}task: obb", "task is obb: oriented boxes cannot be read"),
        (f"{NAMES}task: pose", "kpt_shape is missing"),
        (f"{NAMES}flip_idx: [1, 0]", "kpt_shape is missing"),
    ],
)
def test_yaml_that_says_too_little_or_two_things_is_refused(text: str, why: str, tmp_path: Path) -> None:
    assert why in _refusal(tmp_path, _split("", "train") | {"data.yaml": f"train: train/images\n{text}\n"})


# ---------------------------------------------------------------------------------------------------------- lines


@pytest.mark.parametrize("text", [NAMES + "train: images\n", None])
def test_oriented_boxes_are_refused_by_name_with_and_without_yaml(text: str | None, tmp_path: Path) -> None:
    lines = "0 0.1 0.1 0.5 0.1 0.5 0.4 0.1 0.4\n1 0.2 0.1 0.6 0.1 0.6 0.4 0.2 0.4\n"
    files: dict[str, str | bytes] = {"images/a.png": "", "labels/a.txt": lines}
    why = _refusal(tmp_path, files if text is None else {**files, "data.yaml": text})
    assert "as oriented boxes have, which cannot be read" in why
    assert f"write `task: segment` into {'a data.yaml' if text is None else 'data.yaml'}" in why


_share = st.floats(0, 1).map(lambda value: round(value, 6))


@st.composite
def _pose(draw: st.DrawFn, number: int, columns: int) -> str:
    """Return a line of a box in the image and keypoints in it, some of them missing."""
    x, y = draw(st.floats(0.3, 0.7)), draw(st.floats(0.3, 0.7))
    across, down = draw(st.floats(0.01, 0.6)), draw(st.floats(0.01, 0.6))
    shares = [x, y, across, down]
    for _ in range(number):
        seen = draw(st.integers(0, 2))
        point = [x + (draw(_share) - 0.5) * across, y + (draw(_share) - 0.5) * down] if seen else [0.0, 0.0]
        shares += [*point, seen] if columns == 3 else point
    return " ".join(["0", *(f"{share:.6f}" for share in shares)])


@given(data=st.data(), number=st.integers(1, 17), columns=st.sampled_from([2, 3]))
@settings(max_examples=200, deadline=None)
def test_poses_are_never_taken_for_outlines(data: st.DataObject, number: int, columns: int) -> None:
    lines = data.draw(st.lists(_pose(number, columns), min_size=1, max_size=5))
    boxes = data.draw(st.sampled_from([[], ["1 0.5 0.5 0.25 0.5"]])) if columns == 3 else []
    kind = labels.other_kind([line.split() for line in [*lines, *boxes]])
    assert kind is not None
    if (number, columns) != (2, 2):
        assert f"kpt_shape: [{number}, " in kind or 5 + number * columns in {5 + 6 * i for i in range(9)}


@given(st.lists(st.lists(st.tuples(_share, _share), min_size=3, max_size=9), min_size=2, max_size=5))
@settings(max_examples=200)
def test_outlines_of_different_lengths_and_boxes_are_outlines(polygons: list[list[tuple[float, float]]]) -> None:
    if len({len(points) for points in polygons}) > 1:
        lines = [["0", *(str(share) for point in points for share in point)] for points in polygons]
        assert labels.other_kind(lines) is None


def test_poses_without_kpt_shape_are_refused_with_what_to_write(tmp_path: Path) -> None:
    line = "0 0.5 0.5 0.4 0.4 0.45 0.45 2 0.55 0.45 1 0.5 0.55 2 0.4 0.6 0\n"
    files = {"data.yaml": f"{NAMES}train: images\n", "images/a.png": "", "labels/a.txt": line}
    why = _refusal(tmp_path, files)
    assert "17 columns, as keypoints have, but their number is missing: write kpt_shape: [4, 3] into data.yaml" in why
    lay(tmp_path, {"data.yaml": f"{NAMES}train: images\nkpt_shape: [4, 3]\n".encode()})
    assert annotations_by_key(scan(tmp_path))["a"].keypoint_visibility == (2, 1, 2, 0)


def test_outlines_among_boxes_are_read(tmp_path: Path) -> None:
    lines = f"0 0.25 0.25 0.75 0.25 0.75 0.75 0.5 1 0.25 0.75\n{BOX}0 0.25 0.25 0.75 0.25 0.5 0.75\n"
    dataset = scan(_lay(tmp_path, {"images/a.png": "", "labels/a.txt": lines, "classes.txt": "cat\ndog\n"}))
    found = annotations_by_key(dataset)["a"]
    assert found.box_labels == ("cat", "dog", "cat")
    assert found.instance_masks == (((2, 2, 6, 2, 6, 6, 4, 8, 2, 6),), None, ((2, 2, 6, 2, 4, 6),))


def test_confidences_are_refused_by_name(tmp_path: Path) -> None:
    files = {"a.png": "", "a.txt": "0 0.5 0.5 0.25 0.5 0.93\n", "b.png": "", "b.txt": BOX, "classes.txt": "cat\ndog\n"}
    assert "predictions" in _refusal(tmp_path, files)
    dataset = scan(tmp_path, bad_annotations="leave_out")
    _is_dog(dataset, "b")
    [refused] = dataset.refused
    assert refused.key == "a.png"
    assert "line 1 has 6 columns, a box and a detector's confidence; remove the last column" in refused.detail


# ------------------------------------------------------------------------------------------------ lines and images


def test_images_without_lines_are_counted(tmp_path: Path) -> None:
    files = {"data.yaml": f"{NAMES}train: images\n", "labels/a.txt": BOX, "images/a.png": "", "images/b.png": ""}
    assert scan(_lay(tmp_path, files)).notices == (
        "1 of 2 images have no file of lines, so they were read as images without objects",
    )


@pytest.mark.parametrize("orphan", ["labels/b.TXT", "labels/sub/b.txt", "labels/b.png.txt", "txt/b.txt", "b.txt"])
def test_image_whose_lines_are_elsewhere_is_never_read_without_objects(orphan: str, tmp_path: Path) -> None:
    files = {"data.yaml": f"{NAMES}train: images\n", "labels/a.txt": BOX, "images/a.png": "", "images/b.png": ""}
    assert orphan in _refusal(tmp_path, {**files, orphan: BOX})
    dataset = scan(tmp_path, bad_annotations="leave_out")
    _is_dog(dataset, "a")
    details = {each.key: each.detail for each in dataset.refused}
    assert sorted(details) == sorted(["train/b.png" if "train" in dataset.splits else "b.png", orphan])


def test_lines_of_no_image_in_a_flat_folder_are_refused_by_name(tmp_path: Path) -> None:
    files = {"a.png": "", "a.txt": BOX, "gone.txt": BOX, "classes.txt": "cat\ndog\n"}
    assert "gone.txt" in _refusal(tmp_path, files)
    dataset = scan(tmp_path, bad_annotations="leave_out")
    _is_dog(dataset, "a")
    assert [each.key for each in dataset.refused] == ["gone.txt"]


def test_lines_of_two_images_refuse_both(tmp_path: Path) -> None:
    files = {"a.png": "", "a.jpg": "", "a.txt": BOX, "b.png": "", "b.txt": BOX, "classes.txt": "cat\ndog\n"}
    assert "lines of two images" in _refusal(tmp_path, files)
    _is_dog(scan(tmp_path, bad_annotations="leave_out"), "b")


@pytest.mark.parametrize("mask", ["images/a_mask.png", "masks/a.png"])
def test_masks_beside_lines_are_never_read_as_images(mask: str, tmp_path: Path) -> None:
    files = {"images/a.jpg": "", "labels/a.txt": BOX, mask: "", "classes.txt": "cat\ndog\n"}
    why = _refusal(tmp_path, files, format="yolo")
    assert "it looks like the mask of images/a.jpg; ignore such files (--ignore)" in why
    assert scan(tmp_path, format="yolo", ignore=[Path(mask).name]).num_records == 1
