"""Imagefolder format: rows of its tables, refusals, and Hugging Face's ``datasets`` as the judge."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from augment.datasets.dataset import Dataset
from augment.errors import DatasetError, Reason
from augment.formats import imagefolder
from augment.formats.format import Output, OutputDataset
from augment.formats.imagefolder import ImageFolder
from augment.images import masks
from augment.samples.annotations import NOTHING, Annotations
from augment.scanning import scan as registry
from tests.augment import annotations_for_tests
from tests.augment.folders_for_tests import lay, pattern
from tests.augment.formats.formats_for_tests import SIZE, annotations_by_key, convert, files_of, output, whole_of, write

HEIGHT, WIDTH = 20, 30


def jsonl(*rows: object) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def lay_images(root: Path, *names: str) -> Path:
    return lay(root, {name: pattern(shade, height=HEIGHT, width=WIDTH) for shade, name in enumerate(names)})


def scan(root: Path) -> Dataset:
    return registry.scan(root, format="imagefolder", bad_annotations="leave_out")


def only(root: Path, **columns: Any) -> tuple[str | None, Annotations]:
    """Return the class and the annotations of the only image, whose row has these columns."""
    lay(lay_images(root, "a.png"), {"metadata.jsonl": jsonl({"file_name": "a.png", **columns})})
    dataset = registry.scan(root, format="imagefolder")
    [record] = dataset
    name = None if record.label is None else dataset.classes[record.label]
    return name, annotations_by_key(dataset)[record.key]


def problem(root: Path, **columns: Any) -> str:
    """Return the reason why the image whose row has these columns is refused."""
    rows = {"file_name": "a.png", **columns}, {"file_name": "b.png"}
    lay(lay_images(root, "a.png", "b.png"), {"metadata.jsonl": jsonl(*rows)})
    [refused] = scan(root).refused
    assert (refused.key, refused.reason) == ("a.png", Reason.ANNOTATION)
    return refused.detail


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_has_any_delimiter(delimiter: str, tmp_path: Path) -> None:
    table = f"file_name{delimiter}label\na.png{delimiter}cat\n"
    lay(lay_images(tmp_path, "a.png"), {"metadata.csv": table.encode("utf-16")})
    dataset = registry.scan(tmp_path)
    assert (dataset.format, dataset.classes) == ("imagefolder", ("cat",))


def test_csv_with_columns_of_boxes_is_an_error_and_not_read_without_them(tmp_path: Path) -> None:
    table = b"file_name,xmin,ymin,xmax,ymax,label\na.png,1,2,3,4,cat\n"
    lay(lay_images(tmp_path, "a.png"), {"metadata.csv": table})
    with pytest.raises(DatasetError, match=r"metadata\.csv: its columns xmin, ymin, xmax, ymax are boxes.*labels\.csv"):
        registry.scan(tmp_path)
    (tmp_path / "metadata.csv").rename(tmp_path / "labels.csv")
    assert annotations_by_key(registry.scan(tmp_path))["a"].boxes == ((1, 2, 3, 4),)


# ---------------------------------------------------------------------------------------------------------- rows


def test_columns_are_read(tmp_path: Path) -> None:
    objects = {"bbox": [[1, 2, 3, 4.5], [0, 0, 30, 20]], "categories": ["car", 3], "area": [3, None], "iscrowd": [0, 1]}
    name, said = only(tmp_path, label="street", objects=objects, caption="two cars", score=0.5, none=None)
    assert name == "street"
    assert said == Annotations(
        boxes=((1, 2, 4, 6.5), (0, 0, 30, 20)),
        box_labels=("car", "3"),
        box_attributes=({"area": 3, "iscrowd": 0}, {"iscrowd": 1}),
        extra={"caption": "two cars", "score": 0.5},
    )


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({}, NOTHING),
        ({"objects": {"bbox": [], "category": []}}, Annotations(boxes=(), box_labels=())),
        ({"objects": {"bbox": None}}, Annotations(boxes=())),
        ({"objects": []}, Annotations(boxes=())),
        (
            {"objects": [{"bbox": [0, 0, 1, 1], "category": "a"}, {"bbox": [1, 1, 1, 1], "category": "b", "x": 1}]},
            Annotations(boxes=((0, 0, 1, 1), (1, 1, 2, 2)), box_labels=("a", "b"), box_attributes=({}, {"x": 1})),
        ),
        ({"labels": ["a", 2]}, Annotations(labels={"a": 1.0, "2": 1.0})),
        ({"label": ["a"]}, Annotations(labels={"a": 1.0})),
        ({"labels": {"a": 0.25, "b": 0.75, "c": None}}, Annotations(labels={"a": 0.25, "b": 0.75})),
        ({"labels": []}, Annotations(labels={})),
    ],
)
def test_dialects_of_columns_are_read(columns: dict[str, Any], expected: Annotations, tmp_path: Path) -> None:
    assert only(tmp_path, **columns) == (None, expected)


def test_classes_that_are_numbers_are_in_the_order_of_the_numbers(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(12)]
    rows = ({"file_name": name, "label": number} for number, name in enumerate(names))
    lay(lay_images(tmp_path, *names), {"metadata.jsonl": jsonl(*rows)})
    dataset = registry.scan(tmp_path)
    assert dataset.classes == tuple(map(str, range(12)))
    assert {record.key: record.label for record in dataset} == {str(number): number for number in range(12)}


@pytest.mark.parametrize(
    ("columns", "detail"),
    [
        ({"label": 1.5}, "malformed: label is the name or the number of a class, not 1.5"),
        ({"label": True}, "malformed: label is the name"),
        ({"labels": "a"}, "malformed: labels is a list of names"),
        ({"labels": {"a": "b"}}, "malformed: labels holds numbers"),
        ({"objects": 3}, "malformed: objects is an object of lists, not int"),
        ({"objects": {"bbox": 3}}, "malformed: objects.bbox is a list"),
        ({"objects": {"bbox": [[1, 2, 3]]}}, "malformed: a bbox is [x, y, width, height], not [1, 2, 3]"),
        ({"objects": {"bbox": [[1, 2, 3, "x"]]}}, "malformed: objects.bbox holds numbers"),
        (
            {"objects": {"bbox": [[1, 2, 3, 4]], "categories": []}},
            "malformed: objects.categories is a list with a value",
        ),
        ({"objects": {"bbox": [[1, 2, 3, 4]], "categories": [None]}}, "malformed: objects.categories is the name"),
        ({"objects": [{"category": 1}]}, "malformed: each of objects is an object with a bbox"),
        ({"objects": {"bbox": [[1, 2, 31, 4]]}}, "box outside: box 0 is [1.0, 2.0, 32.0, 6.0] on an image of 30 x 20"),
        ({"objects": {"bbox": [[1, 2, 0, 4]]}}, "box without area: box 0"),
        ({"objects": {"bbox": [[1, 2, float("nan"), 4]]}}, "not a number: box 0"),
        ({"objects": {"bbox": [[1, 2, 10**400, 4]]}}, "malformed: objects.bbox has a number of 401 digits"),
        ({"mask_file_name": "m.png"}, "mask missing: there is no 'm.png'"),
        ({"mask_file_name": 3}, "mask missing: there is no 3"),
        ({"mask_file_name": "a.png"}, "mask unreadable: a.png: a mask has one channel"),
        ({"caption": "\ud800"}, "not text: extra"),
        ({"label": "\ud800"}, "not text: the class '\\ud800' holds half of a character"),
        ({"labels": ["\ud800"]}, "not text: labels"),
        ({"objects": {"bbox": [[1, 2, 3, 4]], "\ud800": []}}, "malformed: objects.\\ud800 is a list with a value"),
    ],
)
def test_what_cannot_be_true_is_refused_by_name(columns: dict[str, Any], detail: str, tmp_path: Path) -> None:
    assert problem(tmp_path, **columns).startswith(detail)


def test_path_with_half_of_a_character_is_an_image_that_is_missing(tmp_path: Path) -> None:
    lay(lay_images(tmp_path, "a.png"), {"metadata.jsonl": jsonl({"file_name": "\ud800.png"}, {"file_name": "a.png"})})
    [refused] = scan(tmp_path).refused
    assert (refused.key, refused.detail) == ("\\ud800.png", "image missing: line 1 of metadata.jsonl names it")


values = st.recursive(
    st.sampled_from([None, True, 1, -2.5, "a.png", "x", "", "\ud800", math.nan, 10**30, [0, 0, 1, 1], 10**400]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["bbox", "category", "area"]), inner),
    max_leaves=6,
)
columns_of_strangers = st.dictionaries(st.sampled_from(["label", "labels", "objects", "mask_file_name", "z"]), values)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(columns_of_strangers)
def test_any_row_is_read_or_refused(tmp_path: Path, columns: dict[str, Any]) -> None:
    rows = {"file_name": "a.png", **columns}, {"file_name": "b.png"}
    lay(lay_images(tmp_path, "a.png", "b.png"), {"metadata.jsonl": jsonl(*rows)})
    dataset = scan(tmp_path)
    assert [record.key for record in dataset] in (["a", "b"], ["b"])
    assert all(one.reason is Reason.ANNOTATION and one.key == "a.png" for one in dataset.refused)
    assert annotations_by_key(dataset).keys() == {record.key for record in dataset}


# ------------------------------------------------------------------------------------------------- tables and files


def test_table_of_each_split_names_what_lies_below_it(tmp_path: Path) -> None:
    lay_images(tmp_path, "train/a.png", "train/more/b.png", "val/a.png")
    lay(tmp_path, {"train/metadata.jsonl": jsonl({"file_name": "a.png"}, {"file_name": "more/b.png", "label": "x"})})
    lay(tmp_path, {"val/metadata.jsonl": jsonl({"file_name": "./a.png"})})
    dataset = registry.scan(tmp_path)
    assert dataset.format == "imagefolder"
    assert dataset.splits == {"train": 2, "val": 1}
    assert [record.key for record in dataset.choose("train")] == ["a", "more/b"]
    assert dataset.refused == ()


def test_table_in_the_root_may_name_images_of_splits(tmp_path: Path) -> None:
    lay_images(tmp_path, "train/a.png", "test/a.png")
    lay(tmp_path, {"metadata.csv": b"file_name,label\ntrain/a.png,cat\ntest/a.png,dog\n"})
    dataset = registry.scan(tmp_path)
    assert (dataset.format, dataset.splits, dataset.classes) == ("imagefolder", {"test": 1, "train": 1}, ("cat", "dog"))


def test_cells_of_a_csv_file_are_text_and_objects_are_json(tmp_path: Path) -> None:
    table = 'file_name,label,objects,score\na.png,7,"{""bbox"": [[1, 2, 3, 4]], ""category"": [""x""]}",0.5\nb.png,,,\n'
    lay(lay_images(tmp_path, "a.png", "b.png"), {"metadata.csv": b"\xef\xbb\xbf" + table.encode()})
    dataset = registry.scan(tmp_path)
    said = annotations_by_key(dataset)
    assert said["a"] == Annotations(boxes=((1, 2, 4, 6),), box_labels=("x",), extra={"score": "0.5"})
    assert (said["b"], dataset.record(1).label) == (NOTHING, None)


def test_images_and_rows_without_a_counterpart_are_refused_by_name(tmp_path: Path) -> None:
    rows = [{"file_name": name} for name in ("a.png", "gone.png", "../secret.png", "/etc/passwd", "b.png", "./b.png")]
    lay(lay_images(tmp_path, "a.png", "b.png", "c.png", "d.png"), {"metadata.jsonl": jsonl(*rows)})
    (tmp_path.parent / "secret.png").write_bytes(pattern())
    dataset = scan(tmp_path)
    assert [record.key for record in dataset] == ["a"]
    told = {refusal.key: (refusal.reason, refusal.detail) for refusal in dataset.refused}
    missing = "image missing: line {} of metadata.jsonl names it"
    unnamed = (Reason.MISPLACED, "no row of metadata.jsonl names it; add one, or move it elsewhere")
    assert told == {
        "b.png": (Reason.ANNOTATION, "named twice: the second time in line 6 of metadata.jsonl"),
        "gone.png": (Reason.ANNOTATION, missing.format(2)),
        "../secret.png": (Reason.ANNOTATION, missing.format(3)),
        "/etc/passwd": (Reason.ANNOTATION, missing.format(4)),
        "c.png": unnamed,
        "d.png": unnamed,
    }


def test_masks_are_read_and_are_no_images_of_their_own(tmp_path: Path) -> None:
    values = np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH) % 5
    rows = jsonl({"file_name": "a.png", "mask_file_name": "m/a.png"}, {"file_name": "b.png"})
    lay(lay_images(tmp_path, "a.png", "b.png"), {"m/a.png": masks.encode_mask(values), "metadata.jsonl": rows})
    dataset = registry.scan(tmp_path)
    assert (dataset.num_records, set(dataset.targets), dataset.num_refused) == (2, {"mask"}, 0)
    np.testing.assert_array_equal(masks.decode_mask(dataset.read_mask(dataset.record(0))), values)


@pytest.mark.parametrize(
    ("name", "table", "message"),
    [
        ("metadata.jsonl", b'{"file_name": "a.png"}\n{"file_name"', "line 2 is not JSON"),
        ("metadata.jsonl", b'["a.png"]\n', "line 1 is not an object"),
        ("metadata.jsonl", b'{"file": "a.png"}\n', "line 1 of metadata.jsonl has no file_name"),
        ("metadata.jsonl", b'{"file_name": 3}\n', "line 1 of metadata.jsonl has no file_name"),
        ("metadata.jsonl", b'{"file_name": "a.png", "x": ' + b"[" * 100_000, "line 1 is not JSON"),
        ("metadata.jsonl", b'{"file_name": "a.png", "x": ' + b"1" * 10_000 + b"}", "line 1 is not JSON"),
        ("metadata.jsonl", b'{"file_name": "\xff.png"}\n', "metadata.jsonl is not UTF-8 at byte 15; save it as UTF-8"),
        ("metadata.csv", b"file_name,label\na.png\n", "line 2 has 1 cells, of 2 columns"),
        ("metadata.csv", b'file_name,objects\na.png,{"bbox"\n', "line 2 cannot be read"),
        ("metadata.csv", b'file_name,label\n"a.png,x\n', "line 2 cannot be read"),
    ],
)
def test_table_that_cannot_be_read_is_an_error_with_its_line(
    name: str, table: bytes, message: str, tmp_path: Path
) -> None:
    lay(lay_images(tmp_path, "a.png"), {name: table})
    with pytest.raises(DatasetError, match=message):
        registry.scan(tmp_path, format="imagefolder")


def test_two_tables_in_one_folder_and_none_at_all_are_errors(tmp_path: Path) -> None:
    lay_images(tmp_path, "a.png")
    with pytest.raises(DatasetError, match=r"has no metadata.jsonl or metadata.csv; write one"):
        registry.scan(tmp_path, format="imagefolder")
    lay(tmp_path, {"metadata.jsonl": jsonl({"file_name": "a.png"}), "metadata.csv": b"file_name\na.png\n"})
    with pytest.raises(DatasetError, match=r"holds metadata.jsonl and metadata.csv; remove one of them"):
        registry.scan(tmp_path)


# -------------------------------------------------------------------------------------------------------- round trip

said_of_images = st.builds(
    lambda boxed, labels, extra: Annotations(
        labels=labels,
        boxes=boxed.boxes,
        box_labels=boxed.box_labels,
        box_attributes=boxed.box_attributes,
        extra=extra or None,
    ),
    annotations_for_tests.boxed(SIZE),
    st.dictionaries(st.sampled_from(annotations_for_tests.CLASSES), st.sampled_from([0.25, 1.0]), max_size=2),
    st.dictionaries(
        st.sampled_from(["caption", "score"]), st.integers(0, 3) | st.text('aé\n"', max_size=3), max_size=2
    ),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.lists(said_of_images, min_size=1, max_size=3))
def test_annotations_come_back_from_what_is_written(
    tmp_path_factory: pytest.TempPathFactory, said: list[Annotations]
) -> None:
    outputs = [output(f"k{i}", each, split=("train", "val")[i % 2]) for i, each in enumerate(said)]
    whole = OutputDataset(
        annotations_for_tests.CLASSES, (), frozenset({"boxes", "labels"}), ("train", "val"), "elsewhere"
    )
    root = write(tmp_path_factory.mktemp("written"), "imagefolder", outputs, whole)
    found = annotations_by_key(registry.scan(root))
    for i, each in enumerate(said):
        assert_close(found[f"{('train', 'val')[i % 2]}/k{i}"], each)


def assert_close(found: Annotations, expected: Annotations) -> None:
    """Compare two annotations, with coordinates to six decimals."""
    assert (found.labels or {}, found.box_labels, found.extra) == (
        expected.labels or {},
        expected.box_labels,
        expected.extra,
    )
    np.testing.assert_allclose(
        np.reshape(found.boxes or (), (-1, 4)), np.reshape(expected.boxes or (), (-1, 4)), atol=2e-6
    )
    assert list(found.box_attributes or ()) == list(expected.box_attributes or ())


def test_dataset_with_everything_comes_back(tmp_path: Path) -> None:
    lay_images(tmp_path / "in", "train/a.png", "train/deep/b.png", "test/a.png")
    mask = masks.encode_mask(np.full((HEIGHT, WIDTH), 3, np.uint8))
    objects = {"bbox": [[1, 2, 3, 4]], "categories": ["car"], "difficult": [True]}
    lay(
        tmp_path / "in",
        {
            "train/a_mask.png": mask,
            "train/metadata.jsonl": jsonl(
                {"file_name": "a.png", "label": "x", "objects": objects, "mask_file_name": "a_mask.png", "id": 3},
                {"file_name": "deep/b.png", "label": "y", "objects": {"bbox": [], "categories": []}},
            ),
            "test/metadata.jsonl": jsonl({"file_name": "a.png", "label": "x"}),
        },
    )
    first = registry.scan(tmp_path / "in")
    second = convert(first, tmp_path / "out", "imagefolder")
    assert second.digest == first.digest
    assert (second.classes, second.splits, second.targets) == (first.classes, first.splits, first.targets)
    assert second.refused == ()
    third = convert(second, tmp_path / "again", "imagefolder")
    assert files_of(tmp_path / "again") == files_of(tmp_path / "out")
    assert third.digest == first.digest


def test_column_that_is_carried_along_never_takes_the_place_of_another() -> None:
    said = Annotations(boxes=((0, 0, 1, 1),), box_attributes=({"bbox": 1, "label": 2},), extra={"label": 5, "z": 1})
    row = imagefolder.written(said, whole_of([output("a", said)], classes=()), soft=False)
    assert row == {"objects": {"bbox": [[0, 0, 1, 1]], "bbox_": [1], "label_": [2]}, "label_": 5, "z": 1}


def test_paths_of_different_outputs_differ() -> None:
    outputs = [
        Output(key, split, copy, "png", 1, 1) for key in ("a", "b/a") for split in (None, "x") for copy in (None, 0)
    ]
    paths = [path for each in outputs for path in (ImageFolder().image_path(each), ImageFolder().mask_path(each))]
    assert len(set(paths)) == len(paths)


# -------------------------------------------------------------------------------------------------------- the judge


def test_datasets_loads_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    import datasets

    said = Annotations(
        boxes=((1.0, 2.0, 4.0, 6.5), (0.0, 0.0, 32.0, 24.0)),
        box_labels=("car", "dog"),
        labels={"day": 1.0},
        extra={"caption": "two"},
    )
    empty = Annotations(boxes=(), box_labels=(), labels={"day": 1.0, "night": 1.0}, extra={"caption": "none"})
    outputs = [
        output("a", said, split="train", copy=0),
        output("deep/b", empty, split="train", copy=0),
        output("c", said, split="test", copy=1),
    ]
    whole = OutputDataset(
        ("car", "day", "dog", "night"), (), frozenset({"boxes", "labels"}), ("test", "train"), "elsewhere"
    )
    root = write(tmp_path / "written", "imagefolder", outputs, whole)
    datasets.disable_progress_bars()
    loaded = datasets.load_dataset("imagefolder", data_dir=str(root), cache_dir=str(tmp_path / "cache"))
    assert {split: rows.num_rows for split, rows in loaded.items()} == {"train": 2, "test": 1}
    first, second = loaded["train"]
    assert first["image"].size == (32, 24)
    assert first["objects"] == {"bbox": [[1.0, 2.0, 3.0, 4.5], [0.0, 0.0, 32.0, 24.0]], "categories": ["car", "dog"]}
    assert (first["labels"], first["caption"]) == (["day"], "two")
    assert (second["objects"]["bbox"], second["labels"], second["caption"]) == ([], ["day", "night"], "none")
    assert loaded["test"][0]["objects"]["categories"] == ["car", "dog"]


def test_datasets_loads_masks_beside_their_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    import datasets

    values = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH) % 7
    row = jsonl({"file_name": "a.png", "mask_file_name": "m.png"})
    lay(lay_images(tmp_path / "in", "a.png"), {"m.png": masks.encode_mask(values), "metadata.jsonl": row})
    convert(registry.scan(tmp_path / "in"), tmp_path / "out", "imagefolder")
    datasets.disable_progress_bars()
    loaded = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    [sample] = loaded["train"]
    assert sample["image"].size == (WIDTH, HEIGHT)
    np.testing.assert_array_equal(np.asarray(sample["mask"]), values)
