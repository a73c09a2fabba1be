"""YOLO format: lines of text, data.yaml, darknet's layout, and hostile files."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import yaml  # type: ignore[import-untyped]  # as Ultralytics reads it
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.datasets.dataset import Dataset
from augment.errors import DatasetError, OutputError, Reason
from augment.formats.format import OutputDataset
from augment.formats.yolo import config, labels
from augment.formats.yolo.format import Yolo
from augment.images import masks
from augment.samples.annotations import Annotations
from augment.scanning.scan import scan
from tests.augment import annotations_for_tests
from tests.augment.folders_for_tests import lay, pattern
from tests.augment.formats.formats_for_tests import SIZE, annotations_by_key, output, whole_of, write

HEIGHT, WIDTH = 10, 20
YAML_TEXT = "train: images/train\nval: images/val\nnames: [cat, dog]\n"
POSES = f"{YAML_TEXT}kpt_shape: [2, 3]\n"


def _lay(root: Path, files: Mapping[str, str | bytes | None], *images: str) -> Path:
    content = {name: data.encode() if isinstance(data, str) else data for name, data in files.items()}
    shown = {name: pattern(i, height=HEIGHT, width=WIDTH) for i, name in enumerate(images)}
    return lay(root, {**content, **shown})


def _scan(root: Path) -> Dataset:
    return scan(root, format="yolo", bad_annotations="leave_out")


def _one(root: Path, lines: str | bytes, *, said: str = YAML_TEXT) -> Annotations:
    """Return the annotations of the only image."""
    files = {"data.yaml": said, "labels/train/a.txt": lines}
    return next(iter(annotations_by_key(_scan(_lay(root, files, "images/train/a.png", "images/val/b.png"))).values()))


def _problem(root: Path, lines: str | bytes, *, said: str = YAML_TEXT) -> str:
    """Return the reason why an image with these lines is refused."""
    files = {"data.yaml": said, "labels/train/a.txt": lines}
    [refused] = _scan(_lay(root, files, "images/train/a.png", "images/val/b.png")).refused
    assert (refused.key, refused.reason) == ("train/a.png", Reason.ANNOTATION)
    return refused.detail


def test_box_is_its_centre_and_size_as_shares(tmp_path: Path) -> None:
    found = _one(tmp_path, "1 0.5 0.5 0.1 0.2\r\n\n0  0.25\t0.3 0.5 0.6  \n")
    assert found.boxes == ((9.0, 4.0, 11.0, 6.0), (0.0, 0.0, 10.0, 6.0))
    assert found.box_labels == ("dog", "cat")
    assert found.instance_masks is None


def test_outline_is_a_mask_with_the_box_around_it_and_may_stand_beside_boxes(tmp_path: Path) -> None:
    found = _one(tmp_path, "0 0.1 0.1 0.5 0.1 0.5 0.4\n1 0.5 0.5 0.1 0.2\n")
    assert found.boxes == ((2.0, 1.0, 10.0, 4.0), (9.0, 4.0, 11.0, 6.0))
    assert found.instance_masks == (((2.0, 1.0, 10.0, 1.0, 10.0, 4.0),), None)


def test_lines_of_six_decimals_are_what_was_meant(tmp_path: Path) -> None:
    x_min, x_max = 3 / WIDTH, 16 / WIDTH
    found = _one(tmp_path, f"0 {(x_min + x_max) / 2:.6f} 0.5 {x_max - x_min:.6f} 1.0\n")
    assert found.boxes == ((3.0, 0.0, 16.0, 10.0),)


@pytest.mark.parametrize("lines", ["", "\n \n", "\ufeff"])
def test_no_line_is_no_object(lines: str, tmp_path: Path) -> None:
    assert _one(tmp_path, lines).boxes == ()


@pytest.mark.usefixtures("files_are_settled")
def test_second_scan_notices_lines_that_changed(tmp_path: Path) -> None:
    files = {"data.yaml": YAML_TEXT, "labels/train/a.txt": "0 0.5 0.5 0.1 0.2\n"}
    first = _scan(_lay(tmp_path, files, "images/train/a.png", "images/val/b.png"))
    same = scan(tmp_path, format="yolo")
    assert (same.digest, annotations_by_key(same)) == (first.digest, annotations_by_key(first))
    lay(tmp_path, {"labels/train/a.txt": b"1 0.5 0.5 0.1 0.2\n"})
    changed = scan(tmp_path, format="yolo")
    assert changed.digest != first.digest
    assert annotations_by_key(changed)["train/a"].box_labels == ("dog",)


def test_no_file_is_no_object(tmp_path: Path) -> None:
    dataset = _scan(_lay(tmp_path, {"data.yaml": YAML_TEXT}, "images/train/a.png", "images/val/b.png"))
    assert [each.boxes for each in annotations_by_key(dataset).values()] == [(), ()]


def test_keypoints_are_read_by_their_names(tmp_path: Path) -> None:
    said = f"{POSES}flip_idx: [1, 0]\nkpt_names:\n  0: [left eye, right eye]\n"
    found = _one(tmp_path, "0 0.5 0.5 0.1 0.2 0.5 0.5 2 0 0 0.000000\n", said=said)
    assert found.keypoints == ((10.0, 5.0), (0.0, 0.0))
    assert found.keypoint_labels == ("left eye", "right eye")
    assert found.keypoint_visibility == (2, 0)
    assert found.keypoint_boxes == (0, 0)


def test_keypoints_of_two_columns_are_visible_unless_they_are_0_0_or_negative(tmp_path: Path) -> None:
    said = YAML_TEXT + "kpt_shape: [4, 2]\n"
    found = _one(tmp_path, "0 0.5 0.5 0.1 0.2 0.5 0.5 0 0 -1 0.5 0 0.5\n", said=said)
    assert found.keypoint_visibility == (2, 0, 0, 2)
    assert found.keypoint_labels == ("0", "1", "2", "3")


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ("0 0.5 0.5 0.1 0.2 0.9", "predictions: line 1 has 6 columns"),
        ("0 0.5 0.5 0.1 0.2\n0 0.5", "number of columns: line 2 has 2"),
        ("0 0.1 0.1 0.5 0.1 0.5 0.4 0.3", "number of columns: line 1 has 8"),
        ("2 0.5 0.5 0.1 0.2", "unknown class: line 1 has class 2, of 2 classes counted from 0"),
        ("-1 0.5 0.5 0.1 0.2", "unknown class"),
        ("cat 0.5 0.5 0.1 0.2", "not a number: line 1 begins with 'cat'"),
        ("0.5 0.5 0.5 0.1 0.2", "not a number: line 1 begins with '0.5'"),
        ("0 0.5 nan 0.1 0.2", "not a number: line 1 has 'nan'"),
        ("0 0.5 1e999 0.1 0.2", "not a number"),
        ("0 0.5 0,5 0.1 0.2", "not a number"),
        (f"{'9' * 5000} 0.5 0.5 0.1 0.2", "not a number"),
        ("0 10 5 2 2", "box outside"),
        ("0 0.5 0.5 0 0.2", "box without area"),
        ("0 0.5 0.5 -0.1 0.2", "box without area"),
        (b"0 0.5 \xff", "unreadable annotations: labels/train/a.txt is not UTF-8"),
    ],
)
def test_lines_that_cannot_be_true_refuse_their_image(lines: str | bytes, why: str, tmp_path: Path) -> None:
    assert _problem(tmp_path, lines).startswith(why)


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ("0 0.5 0.5 0.1 0.2", "number of columns: line 1 has 5, but 11"),
        ("0 0.5 0.5 0.1 0.2 0.5 0.5 3 0 0 0", "unknown visibility: a keypoint has 3"),
    ],
)
def test_keypoints_that_cannot_be_true_refuse_their_image(lines: str, why: str, tmp_path: Path) -> None:
    assert _problem(tmp_path, lines, said=POSES).startswith(why)


def test_oriented_boxes_are_refused_with_the_way_out(tmp_path: Path) -> None:
    lines = "0 0.1 0.1 0.5 0.1 0.5 0.4 0.1 0.4\n"
    with pytest.raises(DatasetError, match="as oriented boxes have"):
        _one(tmp_path / "a", lines)
    assert _one(tmp_path / "b", lines, said=f"{YAML_TEXT}task: segment\n").boxes == ((2, 1, 10, 4),)
    assert _one(tmp_path / "c", f"{lines}0 0.5 0.5 0.1 0.1\n").boxes == ((2, 1, 10, 4), (9, 4.5, 11, 5.5))


def _read_independently(root: Path, height: int, width: int) -> dict[str, list[tuple[str, list[float]]]]:
    """Read classes and pixels of each line by the rules that Ultralytics documents, without our reader."""
    said = yaml.safe_load((root / "data.yaml").read_text(encoding="utf-8"))
    found = {}
    for key in ("train", "val", "test"):
        for shown in sorted((root / said[key]).rglob("*.png")) if key in said else ():
            front, _, back = str(shown).rpartition("/images/")
            lines = Path(f"{front}/labels/{back}").with_suffix("").as_posix() + ".txt"
            rows = []
            for line in Path(lines).read_text().splitlines():
                number, *shares = line.split()
                assert all(0 <= float(share) <= 1 for share in shares)
                pixels = [float(share) * (width, height)[i % 2] for i, share in enumerate(shares)]
                rows.append((said["names"][int(number)], pixels))
            found[f"{key}/{back.partition('/')[2].removesuffix('.png')}"] = rows
    return found


@given(said=st.lists(annotations_for_tests.boxed(SIZE), min_size=2, max_size=3))
@settings(max_examples=15, deadline=None)
def test_independent_reader_finds_the_boxes(said: list[Annotations], tmp_path_factory: pytest.TempPathFactory) -> None:
    outputs = [output(f"x/{i}", each, split=("train", "val")[i % 2]) for i, each in enumerate(said)]
    root = write(
        tmp_path_factory.mktemp("yolo"), "yolo", outputs, whole_of(outputs, classes=annotations_for_tests.CLASSES)
    )
    found = _read_independently(root, *SIZE)
    for each in outputs:
        rows = found[f"{each.split}/{each.key}"]
        assert [name for name, _ in rows] == list(each.annotations.box_labels or ())
        for (_, (x, y, across, down)), box in zip(rows, each.annotations.boxes or (), strict=True):
            edges = (x - across / 2, y - down / 2, x + across / 2, y + down / 2)
            assert np.abs(np.subtract(edges, box)).max() < 1e-7


def test_independent_reader_draws_the_masks(tmp_path: Path) -> None:
    ring = np.zeros(SIZE, np.uint8)
    ring[2:20, 3:30] = 1
    ring[5:9, 8:12] = 0
    ring[22, 1] = 1
    said = Annotations(boxes=((1, 2, 30, 23),), box_labels=("dog",), instance_masks=(masks.run_lengths(ring),))
    outputs = [output("a", said, split="train")]
    write(tmp_path, "yolo", outputs, whole_of(outputs, classes=("dog",)))
    [(name, pixels)] = _read_independently(tmp_path, *SIZE)["train/a"]
    assert name == "dog"
    assert np.array_equal(masks.rasterise((tuple(pixels),), *SIZE), ring)


def test_object_without_a_mask_among_others_is_the_rectangle_of_its_box(tmp_path: Path) -> None:
    square = ((1.0, 1.0, 4.0, 1.0, 4.0, 4.0),)
    said = Annotations(boxes=((1, 1, 4, 4), (5, 6, 8, 9)), box_labels=("dog",) * 2, instance_masks=(square, None))
    outputs = [output("a", said)]
    read = _scan(write(tmp_path, "yolo", outputs, whole_of(outputs, classes=("dog",))))
    assert annotations_by_key(read)["a"].instance_masks == (square, ((5, 6, 8, 6, 8, 9, 5, 9),))


def test_object_whose_mask_is_empty_is_left_out(tmp_path: Path) -> None:
    nothing = masks.run_lengths(np.zeros(SIZE, np.uint8))
    said = Annotations(boxes=((1, 1, 4, 4),), box_labels=("dog",), instance_masks=(nothing,))
    outputs = [output("a", said)]
    read = _scan(write(tmp_path, "yolo", outputs, whole_of(outputs, classes=("dog",))))
    assert annotations_by_key(read)["a"].boxes == ()


def test_parts_that_overlap_are_their_union(tmp_path: Path) -> None:
    parts = ((1.0, 1.0, 6.0, 1.0, 6.0, 6.0, 1.0, 6.0), (3.0, 3.0, 9.0, 3.0, 9.0, 9.0, 3.0, 9.0))
    said = Annotations(boxes=((1, 1, 9, 9),), box_labels=("dog",), instance_masks=(parts,))
    outputs = [output("a", said)]
    read = _scan(write(tmp_path, "yolo", outputs, whole_of(outputs, classes=("dog",))))
    found = annotations_by_key(read)["a"].instance_masks
    assert found is not None
    assert np.array_equal(masks.rasterise(found[0], *SIZE), masks.rasterise(parts, *SIZE))


def test_keypoints_outside_are_missing_and_those_in_the_outer_half_of_a_pixel_move_to_the_edge(tmp_path: Path) -> None:
    said = Annotations(
        boxes=((1, 1, 4, 4),),
        box_labels=("dog",),
        keypoints=((-0.25, 3), (-0.75, 3), (5, 6)),
        keypoint_labels=("nose", "left_ear", "right_ear"),
        keypoint_boxes=(0, 0, -1),
    )
    outputs = [output("a", said)]
    whole = whole_of(outputs, classes=("dog",), keypoint_names=("nose", "left_ear", "right_ear"))
    found = annotations_by_key(_scan(write(tmp_path, "yolo", outputs, whole)))["a"]
    assert found.keypoints == ((0.0, 3.0), (0.0, 0.0), (0.0, 0.0))
    assert found.keypoint_visibility == (2, 0, 0), "the last one belongs to an object that was dropped"
    assert "flip_idx: [0, 2, 1]" in (tmp_path / "data.yaml").read_text()


def test_keypoints_and_masks_together_are_refused() -> None:
    whole = OutputDataset(("dog",), ("nose",), frozenset({"boxes", "keypoints", "instance_masks"}), (), "coco")
    with pytest.raises(OutputError, match="write it as COCO"):
        Yolo().sidecars(output("a", Annotations(boxes=())), whole)


@pytest.mark.parametrize("length", [1, 7, 640, 1333, 65_535])
def test_ten_decimals_keep_a_hundred_thousandth_of_a_pixel(length: int) -> None:
    words = config.of_output(("dog",), ())
    rng = np.random.default_rng(length)
    for low, high in np.sort(np.round(rng.uniform(0, length, (200, 2)), 5)):
        said = Annotations(boxes=((low, 0.0, high, 1.0),), box_labels=("dog",))
        line = labels.write(said, words, height=1, width=length, outlines=False)
        assert labels.parse(line, words, height=1, width=length).boxes == said.boxes


def test_outlines_of_four_points_are_read_back_as_what_they_are(tmp_path: Path) -> None:
    square = ((2.0, 3.0, 12.0, 3.0, 12.0, 13.0, 2.0, 13.0),)
    said = Annotations(boxes=((2.0, 3.0, 12.0, 13.0),), box_labels=("cat",), instance_masks=(square,))
    outputs = [output("a", said)]
    root = write(tmp_path, "yolo", outputs, whole_of(outputs, classes=("cat",)))
    dataset = scan(root)
    assert dataset.format == "yolo"
    assert "instance_masks" in dataset.targets


def test_flip_idx_exchanges_keypoints_that_have_no_names(tmp_path: Path) -> None:
    lay(tmp_path, {"images/train/a.png": pattern(height=40, width=40)})
    (tmp_path / "data.yaml").write_text("train: images/train\nkpt_shape: [2, 3]\nflip_idx: [1, 0]\nnames: [a]\n")
    (tmp_path / "labels" / "train").mkdir(parents=True)
    (tmp_path / "labels" / "train" / "a.txt").write_text("0 .5 .5 .4 .4 .4 .4 2 .7 .6 1\n")
    dataset = scan(tmp_path)
    assert dataset.keypoint_names == ("left_0", "right_0")


def test_flip_idx_and_names_that_disagree_are_refused(tmp_path: Path) -> None:
    lay(tmp_path, {"images/train/a.png": pattern()})
    text = "train: images/train\nkpt_shape: [2, 3]\nflip_idx: [1, 0]\nkpt_names:\n  0: [nose, tail]\nnames: [a]\n"
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(DatasetError, match="flip_idx mirrors 'nose' to 'tail'"):
        scan(tmp_path)


def test_lines_that_no_image_has_are_refused_by_name(tmp_path: Path) -> None:
    lay(tmp_path, {"images/train/0.png": pattern()})
    (tmp_path / "data.yaml").write_text("train: images/train\nnames: [a]\n")
    (tmp_path / "labels" / "train").mkdir(parents=True)
    (tmp_path / "labels" / "train" / "img_0.txt").write_text("0 .5 .5 .4 .4\n")
    (tmp_path / "labels" / "train" / "classes.txt").write_text("a\n")  # as LabelImg writes it
    with pytest.raises(DatasetError, match=r"labels/train/img_0\.txt"):
        scan(tmp_path)
