"""Round trips of detection datasets through one format, and from one format to another."""

import contextlib
import io
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from augment.images import masks
from augment.samples.annotations import Annotations
from augment.scanning.scan import scan
from tests.augment import annotations_for_tests
from tests.augment.formats.formats_for_tests import SIZE, annotations_by_key, convert, output, whole_of, write

FORMATS = ("coco", "yolo", "voc")
PAIRS = [(a, b) for a in FORMATS for b in FORMATS]
FEW = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@contextlib.contextmanager
def _there_and_back(said: list[Annotations], first: str, second: str) -> Iterator[list[Annotations]]:
    """Write images of two splits in one format, read them, write them in another and read them again."""
    outputs = [output(f"{i // 2}/{i}", each, split=("train", "val")[i % 2], copy=i % 3) for i, each in enumerate(said)]
    whole = whole_of(outputs, classes=annotations_for_tests.CLASSES, keypoint_names=annotations_for_tests.KEYPOINTS)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        read = scan(write(root / "a", first, outputs, whole), format=first)
        again = annotations_by_key(convert(read, root / "b", second))
        yield [again[f"{each.split}/{each.name}"] for each in outputs]


@pytest.mark.parametrize(("first", "second"), PAIRS)
@given(said=st.lists(annotations_for_tests.boxed(SIZE, whole=True), min_size=2, max_size=4))
@FEW
def test_boxes_of_whole_pixels_come_back_exactly(said: list[Annotations], first: str, second: str) -> None:
    with _there_and_back(said, first, second) as found:
        assert [each.boxes for each in found] == [each.boxes for each in said]
        assert [each.box_labels for each in found] == [each.box_labels for each in said]


@pytest.mark.parametrize(("first", "second"), PAIRS)
@given(said=st.lists(annotations_for_tests.boxed(SIZE), min_size=2, max_size=4))
@FEW
def test_boxes_come_back_to_a_hundred_thousandth_and_from_voc_within_half_a_pixel(
    said: list[Annotations], first: str, second: str
) -> None:
    tolerance = 0.5 if "voc" in (first, second) else 0.0
    with _there_and_back(said, first, second) as found:
        for before, after in zip(said, found, strict=True):
            assert after.box_labels == before.box_labels
            differences = np.subtract(after.boxes or (), before.boxes or ())
            assert np.abs(differences).max(initial=0) <= tolerance + 1e-9


@pytest.mark.parametrize(("first", "second"), [("coco", "coco"), ("coco", "voc"), ("voc", "voc"), ("voc", "coco")])
@given(said=st.lists(annotations_for_tests.boxed(SIZE), min_size=2, max_size=4))
@FEW
def test_attributes_of_boxes_are_carried_along(said: list[Annotations], first: str, second: str) -> None:
    usual = {"pose": "Unspecified", "truncated": 0, "difficult": 0} if "voc" in (first, second) else {}
    with _there_and_back(said, first, second) as found:
        for before, after in zip(said, found, strict=True):
            wanted = [{**usual, **each} for each in before.box_attributes or ({},) * len(before.boxes or ())]
            assert list(after.box_attributes or ({},) * len(wanted)) == wanted


def _drawn(annotations: Annotations) -> list[NDArray[np.uint8]]:
    return [masks.rasterise(mask, *SIZE) for mask in annotations.instance_masks or ()]


@pytest.mark.parametrize(("first", "second"), [("coco", "yolo"), ("yolo", "coco"), ("yolo", "yolo"), ("coco", "coco")])
@given(said=st.lists(annotations_for_tests.outlined(SIZE), min_size=2, max_size=3))
@FEW
def test_masks_of_objects_come_back_pixel_by_pixel(said: list[Annotations], first: str, second: str) -> None:
    with _there_and_back(said, first, second) as found:
        for before, after in zip(said, found, strict=True):
            assert after.boxes == before.boxes
            assert len(_drawn(after)) == len(_drawn(before))
            for one, other in zip(_drawn(before), _drawn(after), strict=True):
                assert np.array_equal(one, other)
        if (first, second) == ("coco", "coco"):
            assert found == said, "COCO keeps polygons and run lengths as they are"


@pytest.mark.parametrize(("first", "second"), [("coco", "yolo"), ("yolo", "coco"), ("yolo", "yolo"), ("coco", "coco")])
@given(said=st.lists(annotations_for_tests.posed(SIZE), min_size=2, max_size=3))
@FEW
def test_keypoints_come_back_by_name_and_box(said: list[Annotations], first: str, second: str) -> None:
    with _there_and_back(said, first, second) as found:
        assert found == said


@pytest.mark.parametrize("format_name", FORMATS)
def test_writing_is_a_function_of_what_is_written(format_name: str, tmp_path: Path) -> None:
    said = Annotations(boxes=((1, 2, 3, 4),), box_labels=("person",))
    outputs = [output(key, said, split=split) for key in ("b", "a") for split in ("val", "train")]
    whole = whole_of(outputs, classes=("person",))
    first, second = (write(tmp_path / name, format_name, outputs, whole) for name in ("1", "2"))
    names = sorted(str(path.relative_to(first)) for path in first.rglob("*") if path.is_file())
    assert names == sorted(str(path.relative_to(second)) for path in second.rglob("*") if path.is_file())
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("split", [None, "train"])
def test_format_is_found_out_and_keeps_keys_and_splits(format_name: str, split: str | None, tmp_path: Path) -> None:
    said = Annotations(boxes=((1, 2, 3, 4),), box_labels=("person",))
    keys = ["a", "cat/a", "x y/ü", "images/1", "train/2", "a.b"]
    outputs = [output(key, said, split=split) for key in keys]
    read = scan(write(tmp_path, format_name, outputs, whole_of(outputs, classes=("person",))))
    assert read.format == format_name
    assert list(read.splits) == ([] if split is None else [split])
    assert sorted(record.key for record in read.choose(split)) == sorted(keys)
    assert read.num_refused == 0


@pytest.mark.parametrize("format_name", FORMATS)
def test_equal_names_in_two_splits_and_with_two_extensions_stay_apart(format_name: str, tmp_path: Path) -> None:
    said = Annotations(boxes=((1, 2, 3, 4),), box_labels=("person",))
    outputs = [output("1", said, split="train"), output("1", said, split="val")]
    outputs += [replace(output(name, said, split="train"), extension="") for name in ("2.png", "2.webp")]
    outputs.append(output("2.png", said, split="train", copy=0))
    read = scan(write(tmp_path, format_name, outputs, whole_of(outputs, classes=("person",))))
    assert read.num_records == len(outputs)
    assert all(each == said for each in map(_without_attributes, annotations_by_key(read).values()))


def _without_attributes(annotations: Annotations) -> Annotations:
    return replace(annotations, box_attributes=None)


@pytest.mark.parametrize("format_name", FORMATS)
def test_images_without_objects_are_records_with_no_boxes(format_name: str, tmp_path: Path) -> None:
    outputs = [output("a", Annotations(boxes=(), box_labels=())), output("b", Annotations(boxes=((1, 2, 3, 4),)))]
    read = scan(write(tmp_path, format_name, outputs, whole_of(outputs, classes=())))
    found = annotations_by_key(read)
    assert found["a"].boxes == ()
    assert found["b"].box_labels == ("object",), "an object without a class has to be called something"


def _result(each: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in each.items() if name in _OF_RESULT} | {"score": 1.0}


_OF_RESULT = {"image_id", "category_id", "bbox", "segmentation", "keypoints"}


@given(
    said=st.lists(annotations_for_tests.outlined(SIZE), min_size=2, max_size=3).filter(
        lambda all_: any(a.boxes for a in all_)
    )
)
@FEW
def test_cocoeval_finds_what_was_written_perfect(said: list[Annotations]) -> None:
    outputs = [output(str(i), each, split="train") for i, each in enumerate(said)]
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), "coco", outputs, whole_of(outputs, classes=annotations_for_tests.CLASSES))
        path = Path(folder) / "annotations/instances_train.json"
        assert _average_precision(path, "bbox") == pytest.approx(1.0)
        assert _average_precision(path, "segm") == pytest.approx(1.0)


def test_cocoeval_finds_keypoints_that_were_written_perfect(tmp_path: Path) -> None:
    said = Annotations(
        boxes=((2, 2, 30, 22), (1, 1, 9, 9)),
        box_labels=("person", "person"),
        keypoints=((3, 4), (5, 6), (7, 8.5)),
        keypoint_labels=("nose", "left_eye", "nose"),
        keypoint_visibility=(2, 1, 2),
        keypoint_boxes=(0, 0, 1),
    )
    outputs = [output("a", said, split="train")]
    write(
        tmp_path,
        "coco",
        outputs,
        whole_of(outputs, classes=("person",), keypoint_names=annotations_for_tests.KEYPOINTS),
    )
    path = tmp_path / "annotations/instances_train.json"
    written = json.loads(path.read_text())
    assert written["categories"][0]["keypoints"] == list(annotations_for_tests.KEYPOINTS)
    assert [each["num_keypoints"] for each in written["annotations"]] == [2, 1]
    assert _average_precision(path, "keypoints") == pytest.approx(1.0)


def _average_precision(path: Path, kind: Literal["bbox", "segm", "keypoints"]) -> float:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(path))
        own = json.loads(path.read_text())["annotations"]
        evaluation = COCOeval(truth, truth.loadRes([_result(each) for each in own]), kind)
        if kind == "keypoints":
            evaluation.params.kpt_oks_sigmas = np.full(len(annotations_for_tests.KEYPOINTS), 0.05)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])
