"""Parquet with images: ``datasets`` and this format read each other's files, and invalid files are refused."""

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from augment.datasets import parquet_rows
from augment.errors import DatasetError, Reason
from augment.formats.format import Output, OutputDataset, Packed
from augment.samples.annotations import Annotations
from augment.scanning.scan import scan
from tests.augment.folders_for_tests import LONG_AGO_S, lay, pattern
from tests.augment.formats.packing_for_tests import pack

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.fixture(autouse=True)
def _quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def table(num_rows: int = 3, **columns: Any) -> pa.Table:
    """Return images with paths, and more columns."""
    images = [{"bytes": pattern(i), "path": f"{i}.png"} for i in range(num_rows)]
    return pa.table({"image": pa.array(images, IMAGE), **columns})


def laid(root: Path, rows: pa.Table, name: str = "data/train-00000-of-00001.parquet", **options: Any) -> Path:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, root / name, **options)
    os.utime(root / name, (LONG_AGO_S, LONG_AGO_S))
    return root


# -------------------------------------------------------------------------------------------------- datasets as judge


def test_what_datasets_writes_is_read(tmp_path: Path) -> None:
    box = {"bbox": datasets.Sequence(datasets.Value("float32"), length=4), "area": datasets.Value("int64")}
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
            "labels": datasets.Sequence(datasets.ClassLabel(names=["in", "out"])),
            "mask": datasets.Image(),
            "objects": datasets.Sequence({**box, "category": datasets.ClassLabel(names=["eye", "ear"])}),
            "caption": datasets.Value("string"),
        }
    )
    pixels = [np.full((10, 20, 3), i, np.uint8) for i in range(5)]
    rows: dict[str, Any] = {
        "image": [Image.fromarray(each) for each in pixels],
        "label": [0, 1, 0, 1, -1],
        "labels": [[0, 1], [], [1], [0], [1]],
        "mask": [Image.fromarray(each[..., 0]) if i else None for i, each in enumerate(pixels)],
        "objects": [{"bbox": [[1, 2, 3, 4]] * i, "area": [12] * i, "category": [1] * i} for i in range(5)],
        "caption": [f"image {i}" for i in range(5)],
    }
    whole = datasets.Dataset.from_dict(rows, features=features)
    (tmp_path / "in" / "data").mkdir(parents=True)
    for split, part in (("train", whole.select(range(3))), ("validation", whole.select(range(3, 5)))):
        part.to_parquet(str(tmp_path / "in" / "data" / f"{split}-00000-of-00001.parquet"))
    dataset = scan(tmp_path / "in")
    assert (dataset.format, dataset.splits, dataset.num_refused) == ("parquet", {"train": 3, "validation": 2}, 0)
    assert dataset.classes == ("cat", "dog", "in", "out", "eye", "ear")
    assert dataset.targets == {"label", "labels", "mask", "boxes"}
    for i, record in enumerate(dataset):
        shard = f"data/{'train' if i < 3 else 'validation'}-00000-of-00001.parquet"
        assert record.key == f"{'train' if i < 3 else 'validation'}/{shard}/{i % 3:06d}"
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(dataset.read(record)))), pixels[i])
        assert record.label == (rows["label"][i] if i < 4 else None)
        assert (record.mask is None) == (i == 0)
        said = Annotations.from_json(record.annotations or "")
        assert said.boxes == ((1.0, 2.0, 4.0, 6.0),) * i
        assert said.box_labels == ("ear",) * i
        assert said.box_attributes == (({"area": 12},) * i)
        assert said.labels == {("in", "out")[k]: 1.0 for k in rows["labels"][i]}
        assert said.extra == {"caption": f"image {i}"}


def test_datasets_reads_ours_with_its_features_and_pixels(tmp_path: Path) -> None:
    said = Annotations(boxes=((1.0, 2.0, 5.5, 6.0),), box_labels=("dog",), labels={"cat": 0.25, "dog": 0.75})
    outputs = [
        Packed(
            Output(f"a/{i}", split, 0, "png", 8, 8, "dog" if i else None, said, has_mask=i > 0),
            pattern(i),
            pattern(i) if i else None,
        )
        for split in ("train", "test")
        for i in range(4)
    ]
    targets = frozenset({"label", "labels", "mask", "boxes"})
    pack(tmp_path / "out", "parquet", outputs, OutputDataset(("cat", "dog"), (), targets, ("test", "train"), "coco"))
    loaded = datasets.load_dataset("parquet", data_files={"train": str(tmp_path / "out/data/train-*.parquet")})["train"]
    names = datasets.ClassLabel(names=["cat", "dog"])
    number = datasets.Value("float64")
    assert loaded.features == {
        "image": datasets.Image(),
        "label": names,
        "labels": datasets.Sequence(names),
        "label_weights": datasets.Sequence(number),
        "mask": datasets.Image(),
        "objects": {
            "bbox": datasets.Sequence(datasets.Sequence(number, length=4)),
            "category": datasets.Sequence(names),
        },
        "annotations": datasets.Value("string"),
    }
    assert [row["image"].getpixel((0, 0)) for row in loaded] == [(i, 0, 255) for i in range(4)]
    assert loaded["label"][:] == [-1, 1, 1, 1]
    assert loaded[0]["mask"] is None
    assert loaded[1]["objects"] == {"bbox": [[1.0, 2.0, 4.5, 4.0]], "category": [1]}
    assert (loaded[1]["labels"], loaded[1]["label_weights"]) == ([0, 1], [0.25, 0.75])
    whole = datasets.load_dataset(str(tmp_path / "out"))
    assert {split: len(part) for split, part in whole.items()} == {"train": 4, "test": 4}


def test_datasets_finds_ours_in_an_expansion_without_splits(tmp_path: Path) -> None:
    outputs = [Packed(Output(f"{i}", None, 0, "png", 8, 8), pattern(i), None) for i in range(4)]
    pack(tmp_path / "out", "parquet", outputs, OutputDataset((), (), frozenset(), (), "folder"))
    laid(tmp_path / "out", pa.table({"other": [1]}), "manifest-00000.parquet")
    lay(tmp_path / "out", {"expansion.json": b"{}"})
    assert len(datasets.load_dataset(str(tmp_path / "out"))["train"]) == 4
    assert scan(tmp_path / "out").num_records == 4


def test_all_shards_have_one_schema_and_small_row_groups(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (600, 600, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    whole = OutputDataset(("cat",), (), frozenset({"boxes"}), (), "coco")
    none = [Packed(Output("a", None, 0, "png", 8, 8), pattern(), None)] * 150
    some = [Packed(Output("b", None, 0, "png", 600, 600, None, Annotations(boxes=()), True), file.getvalue(), None)] * 3
    pack(tmp_path, "parquet", [*none, *some], whole, shard_size=150)
    first, second = (pq.ParquetFile(path) for path in sorted((tmp_path / "data").iterdir()))
    assert first.schema_arrow.equals(second.schema_arrow, check_metadata=True)
    assert [first.metadata.row_group(i).num_rows for i in range(2)] == [100, 50]
    assert second.metadata.num_row_groups == 3, "a megabyte each"
    assert second.metadata.row_group(0).column(0).compression == "UNCOMPRESSED"


# -------------------------------------------------------------------------------------------------------- what counts


@pytest.mark.parametrize("name", ["x.parquet", "train/x.parquet", "default/test/0000.parquet", "data/Val-1.parquet"])
def test_shards_lie_where_datasets_puts_them(name: str, tmp_path: Path) -> None:
    dataset = scan(laid(tmp_path, table(), name), format="parquet")
    split = next((part for part in ("train", "test", "Val") if part in name), None)
    assert dataset.splits == ({} if split is None else {split: 3})
    assert dataset.choose(split).keys(range(3)) == ["0", "1", "2"]


def test_a_column_of_bytes_alone_is_the_image(tmp_path: Path) -> None:
    for kind in (pa.binary(), pa.large_binary(), pa.dictionary(pa.int32(), pa.binary())):
        rows = pa.table({"png": pa.array([pattern(1), pattern(2)], kind), "label": ["b", "a"]})
        dataset = scan(laid(tmp_path, rows))
        assert dataset.classes == ("a", "b")
        assert [dataset.read(record) for record in dataset] == [pattern(1), pattern(2)]


def test_several_images_are_ambiguous_unless_one_is_called_image(tmp_path: Path) -> None:
    rows = table().rename_columns(["left"]).append_column("right", table().column("image"))
    with pytest.raises(
        DatasetError, match="several columns may be the image: left, right; rename one of them to image"
    ):
        scan(laid(tmp_path, rows))
    dataset = scan(laid(tmp_path, rows.append_column("image", table().column("image"))))
    assert dataset.num_records == 3
    assert dataset.source.summary.details == {"left_out": ["left", "right"]}


def test_an_image_called_label_is_the_mask(tmp_path: Path) -> None:
    masks = [{"bytes": grey(i), "path": None} for i in range(3)]
    rows = table().rename_columns(["pixel_values"]).append_column("label", pa.array(masks, IMAGE))
    assert scan(laid(tmp_path, rows)).targets == {"mask"}
    rows = rows.append_column("annotation", pa.array(masks, IMAGE))
    with pytest.raises(DatasetError, match="several columns may be the mask: annotation, label"):
        scan(laid(tmp_path, rows))


def grey(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (8, 8), value).save(file, "PNG")
    return file.getvalue()


def test_labels_without_names_are_indices_up_to_the_largest(tmp_path: Path) -> None:
    dataset = scan(laid(tmp_path, table(label=[11, -1, 2])))
    assert dataset.classes == tuple(map(str, range(12)))
    assert [record.label for record in dataset] == [11, None, 2]


def test_boxes_as_a_list_of_objects_are_read(tmp_path: Path) -> None:
    objects = [[{"bbox": [1.0, 2.0, 3.0, 4.0], "category": "eye", "id": 5}], [], None]
    dataset = scan(laid(tmp_path, table(objects=objects)))
    assert dataset.classes == ("eye",)
    assert [json.loads(record.annotations or "null") for record in dataset] == [
        {"boxes": [[1, 2, 4, 6]], "box_labels": ["eye"], "box_attributes": [{"id": 5}]},
        {"boxes": [], "box_labels": []},
        None,
    ]


def test_other_columns_are_carried_along_or_left_out_by_name(tmp_path: Path) -> None:
    rows = table(
        caption=["a", None, "c"],
        score=[1.5, float("nan"), 2.0],
        tags=[["x"], [], None],
        when=pa.array([1, 2, 3], pa.timestamp("s")),
        blob=pa.array([b"1"] * 3, pa.large_binary()),
        long=[os.urandom(2000).hex() for _ in range(3)],
    )
    metadata = {"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}}}})}
    dataset = scan(laid(tmp_path, rows.replace_schema_metadata(metadata)))
    assert dataset.source.summary.details == {"left_out": ["blob", "long", "when"]}
    found = [json.loads(record.annotations or "")["extra"] for record in dataset]
    assert found == [
        {"caption": "a", "score": 1.5, "tags": ["x"]},
        {"score": None, "tags": []},
        {"caption": "c", "score": 2.0},
    ]


@pytest.mark.parametrize(
    ("paths", "keys"),
    [
        (["a/b.png", "./c.jpg", "d"], ["a/b", "c", "d"]),
        (["/data/a.png", "../b.png", "x/../c.png"], ["a", "b", "c"]),
        (["https://example.org/x/a.png", "b.png::https://example.org/x.zip", "C:\\x\\c.png"], ["a", "b", "c"]),
        (["a.png", "a.png", None], [f"data/x-0.parquet/{i:06d}" for i in range(3)]),
        (["", "..", "a.png"], ["a", "data/x-0.parquet/000000", "data/x-0.parquet/000001"]),
        (["data/x-0.parquet/000001", None, None], [f"data/x-0.parquet/{i:06d}" for i in range(3)]),
        (["a.jpg", "a.png", "b\x00.png"], ["a.jpg", "a.png", "data/x-0.parquet/000002"]),
    ],
)
def test_a_record_goes_by_its_path_or_its_row(paths: list[str | None], keys: list[str], tmp_path: Path) -> None:
    rows = pa.table({"image": pa.array([{"bytes": pattern(), "path": path} for path in paths], IMAGE)})
    assert scan(laid(tmp_path, rows, "data/x-0.parquet")).keys(range(3)) == keys


def test_the_same_name_in_two_splits_is_two_records(tmp_path: Path) -> None:
    laid(laid(tmp_path, table(), "train/0.parquet"), table(), "val/0.parquet")
    assert scan(tmp_path).splits == {"train": 3, "val": 3}
    assert scan(tmp_path).choose("val").keys(range(3)) == ["0", "1", "2"]


# ----------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"label": [5000000, 0, 0]}, "unknown class .*5000000"),
        ({"labels": [[0], [-1], []]}, "unknown class"),
        ({"labels": [["a"], [None], []]}, "unknown class"),
        ({"labels": [["a"], ["b"], []], "label_weights": [[1.0], [], []]}, "lengths differ"),
        ({"labels": [["a"], ["b"], []], "label_weights": [[1.0], [None], []]}, "unknown class"),
        ({"objects": [{"bbox": [[1.0, 2.0]]}, None, None]}, "not a box"),
        ({"objects": [{"bbox": [[1.0, None, 2.0, 3.0]]}, None, None]}, "not a box"),
        ({"objects": [{"bbox": [None, [1.0]]}, None, None]}, "not a box"),
        ({"objects": [[None, {"bbox": [0.0, 0.0, 1.0, 1.0]}], [], []]}, "not a box"),
        ({"objects": [{"bbox": [[0.0, 0.0, 1.0, 1.0]], "category": [1, 2]}, None, None]}, "lengths differ"),
        ({"objects": [{"bbox": [[0.0, 0.0, 1.0, 1.0]], "category": [None, 2]}, None, None]}, "lengths differ"),
        ({"objects": [{"bbox": [[0.0, 0.0, 99.0, 1.0]], "category": [1]}, None, None]}, "box outside"),
        ({"objects": [{"bbox": [[float("inf"), 0.0, 99.0, 1.0]]}, None, None]}, "not a number"),
        ({"objects": [{"bbox": [[0.0, 0.0, 1.0, 1.0]], "category": [-1]}, None, None]}, "unknown class"),
        ({"annotations": ["{", "{}", None]}, "not JSON"),
        ({"annotations": ['{"boxes": 1}', "{}", None]}, "boxes is a list"),
    ],
)
def test_what_cannot_be_true_of_a_row_is_refused(columns: dict[str, Any], words: str, tmp_path: Path) -> None:
    laid(tmp_path, table(**columns))
    with pytest.raises(DatasetError, match=words):
        scan(tmp_path)
    assert scan(tmp_path, bad_annotations="leave_out").num_records == 2


def test_a_value_that_is_too_long_to_carry_is_refused(tmp_path: Path) -> None:
    texts = pa.array(["x"] * 199 + ["y" * 20_000])
    with pytest.raises(DatasetError, match="its note has 20002 characters, of 16384"):
        scan(laid(tmp_path, table(200, note=texts)))


def test_images_that_are_null_or_none_are_refused_by_name(tmp_path: Path) -> None:
    cells = [None, {"bytes": None, "path": "away.png"}, {"bytes": b"", "path": "empty.png"}]
    cells += [{"bytes": b"no image", "path": "text.png"}, {"bytes": pattern(), "path": "good.png"}]
    dataset = scan(laid(tmp_path, pa.table({"image": pa.array(cells, IMAGE)})))
    assert dataset.choose("train").keys(range(1)) == ["good"]
    names = ["away.png", "data/train-00000-of-00001.parquet/000000", "empty.png", "text.png"]
    assert {each.key: each.reason for each in dataset.refused} == {f"train/{name}": Reason.FORMAT for name in names}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (pa.table({"x": [1]}), "no column holds images, of x"),
        (pa.table({"a/b": [b"1"]}), "cannot be read under this name"),
        (pa.table({"..": [b"1"]}), "cannot be read under this name"),
        (pa.table([[b"1"], [b"2"]], names=["x", "x"]), "several columns have the same name"),
        (pa.table({"image": [[b"1"]]}), "no column holds images"),
        (table().replace_schema_metadata({"huggingface": "{"}), "huggingface metadata"),
        (table().replace_schema_metadata({"huggingface": "[]"}), "huggingface metadata"),
        (
            pa.table({"image": ["a.png"]}).replace_schema_metadata(
                {"huggingface": '{"info": {"features": {"image": {"_type": "Image"}}}}'}
            ),
            "holds paths, not images",
        ),
        (
            table(label=[0, 1, 2]).replace_schema_metadata(
                {"huggingface": '{"info": {"features": {"label": {"_type": "ClassLabel", "names": ["a", "a"]}}}}'}
            ),
            "names that are not distinct texts",
        ),
    ],
)
def test_columns_that_cannot_be_understood_are_refused(rows: pa.Table, words: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=rf"train-00000-of-00001\.parquet: .*{words}"):
        scan(laid(tmp_path, rows))


def test_shards_of_two_datasets_are_refused(tmp_path: Path) -> None:
    laid(laid(tmp_path, table(label=[0, 1, 2]), "train-0.parquet"), table(), "train-1.parquet")
    with pytest.raises(DatasetError, match=r"train-1\.parquet differs from"):
        scan(tmp_path)


def test_a_file_that_was_cut_or_encrypted_is_refused_by_name(tmp_path: Path) -> None:
    laid(tmp_path, table())
    path = tmp_path / "data/train-00000-of-00001.parquet"
    data = path.read_bytes()
    for length in (0, 3, 4, 12, len(data) // 2, len(data) - 4, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(DatasetError, match=r"train-00000-of-00001\.parquet cannot be read as Parquet"):
            scan(tmp_path)
    path.write_bytes(data[:-4] + b"PARE")
    with pytest.raises(DatasetError, match=r"cannot be read as Parquet \(.*encrypt"):
        scan(tmp_path)


def test_a_group_that_is_too_large_is_refused_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_rows, "GROUP_MAX_BYTES", 600)
    laid(tmp_path, table(10))
    with pytest.raises(DatasetError, match="row groups of 100 rows"):
        scan(tmp_path)
    laid(tmp_path, table(10), row_group_size=2)
    assert scan(tmp_path).num_records == 10


def test_more_rows_than_bytes_are_refused(tmp_path: Path) -> None:
    laid(tmp_path, pa.table({"image": pa.nulls(1_000_000, IMAGE)}))
    with pytest.raises(DatasetError, match="claims to have 1000000 rows in"):
        scan(tmp_path)
