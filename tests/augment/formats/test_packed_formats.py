"""Shards of both kinds: outputs are read back whatever their names, and a dataset is the same in both."""

import os
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from augment.datasets.dataset import Dataset
from augment.errors import DatasetError, RecordChangedError
from augment.formats.format import Output, OutputDataset, Packed, ShardFormat
from augment.images import masks
from augment.samples.annotations import NOTHING, Annotations
from augment.scanning import scan
from augment.streams.stream import Stream
from tests.augment import annotations_for_tests
from tests.augment.folders_for_tests import lay, pattern
from tests.augment.formats.formats_for_tests import SIZE, annotations_by_key, output
from tests.augment.formats.packing_for_tests import pack

FORMATS = tuple(name for name, each in scan.FORMATS.items() if isinstance(each, ShardFormat))
FEW = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
ALL = frozenset({"label", "labels", "mask", "boxes", "instance_masks", "keypoints"})


def whole_of(*splits: str, targets: frozenset[str] = ALL) -> OutputDataset:
    return OutputDataset(annotations_for_tests.CLASSES, annotations_for_tests.KEYPOINTS, targets, splits, "elsewhere")


def packed(each: Output, shade: int = 0) -> Packed:
    mask = masks.encode_mask(np.full((each.height, each.width), shade % 4, np.uint8)) if each.has_mask else None
    return Packed(each, pattern(shade, height=each.height, width=each.width), mask)


def there_and_back(format_name: str, outputs: list[Packed], whole: OutputDataset, root: Path) -> Dataset:
    dataset = scan.scan(pack(root, format_name, outputs, whole))
    assert dataset.format == format_name, "it is recognised"
    return dataset


@pytest.mark.parametrize("format_name", FORMATS)
@given(
    said=st.lists(
        st.one_of(
            annotations_for_tests.boxed(SIZE),
            annotations_for_tests.outlined(SIZE),
            annotations_for_tests.posed(SIZE),
            st.just(NOTHING),
        ),
        min_size=1,
    ),
    label=st.sampled_from([None, *annotations_for_tests.CLASSES]),
    extra=st.dictionaries(st.text(max_size=5), st.text() | st.integers(-9, 9) | st.none(), max_size=2),
)
@FEW
def test_annotations_come_back(
    format_name: str, said: list[Annotations], label: str | None, extra: dict[str, object]
) -> None:
    shares = {annotations_for_tests.CLASSES[0]: 0.25, annotations_for_tests.CLASSES[2]: 0.75}
    outputs = [
        replace(
            output(f"{i % 2}/{i}", replace(each, labels=shares if i % 2 else {}, extra=extra or None), split="train"),
            copy=i % 3,
            class_name=label,
            has_mask=i % 2 == 0,
        )
        for i, each in enumerate(said)
    ]
    with tempfile.TemporaryDirectory() as folder:
        dataset = there_and_back(
            format_name, [packed(each, i) for i, each in enumerate(outputs)], whole_of("train"), Path(folder)
        )
        found = annotations_by_key(dataset)
        assert dataset.classes == annotations_for_tests.CLASSES
        assert dataset.keypoint_names == annotations_for_tests.KEYPOINTS
        for i, each in enumerate(outputs):
            record = dataset.record(dataset.find(f"train/{each.name}") or 0)
            assert record.label == (None if label is None else annotations_for_tests.CLASSES.index(label))
            assert dataset.read(record) == pattern(i, height=SIZE[0], width=SIZE[1])
            assert (record.mask is None) == (not each.has_mask)
            if record.mask is not None:
                assert masks.decode_mask(dataset.read_mask(record)).max() == i % 4
            again, before = found[record.key], each.annotations
            assert np.allclose(again.boxes or (), before.boxes or (), atol=1e-9, rtol=0)
            assert replace(again, boxes=None) == replace(before, boxes=None)
            assert (again.boxes is None) == (before.boxes is None)


_names = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8)
_keys = st.lists(_names.filter(lambda name: name not in {".", ".."} and not name.startswith(".")), min_size=1).map(
    "/".join
)


_odd_keys = st.sampled_from(
    ["a.b", "a%2Eb", "a%252Eb", "__x__/1", "%5F_x__/1", "%255F_x__/1", "ü.2/é.1", "x" * 120 + "/" + "y" * 150]
)


@pytest.mark.parametrize("format_name", FORMATS)
@given(keys=st.lists(_keys | _odd_keys, min_size=1, unique=True))
@FEW
def test_any_key_comes_back(format_name: str, keys: list[str]) -> None:
    outputs = [packed(replace(output(key), copy=0), i) for i, key in enumerate(keys)]
    with tempfile.TemporaryDirectory() as folder:
        dataset = there_and_back(format_name, outputs, whole_of(targets=frozenset()), Path(folder))
        assert set(dataset.keys(range(dataset.num_records))) == {f"{key}__0" for key in keys}
        for record in dataset:
            assert dataset.read(record) == pattern(keys.index(record.key.removesuffix("__0")), height=24, width=32)


def test_a_dataset_is_the_same_in_both_formats(tmp_path: Path) -> None:
    boxes = ((1.0, 2.0, 9.5, 11.25),)
    said = Annotations(boxes=boxes, box_labels=(annotations_for_tests.CLASSES[1],), extra={"caption": "a cat"})
    outputs = [packed(replace(output(f"k/{i}", said, split="val", copy=i), class_name="z:1"), i) for i in range(5)]
    whole = whole_of("val", targets=frozenset({"label", "boxes"}))
    digests = {there_and_back(name, outputs, whole, tmp_path / name).digest for name in FORMATS}
    assert len(digests) == 1


def test_images_without_annotations_are_the_records_of_a_folder(tmp_path: Path) -> None:
    lay(tmp_path / "folder", {"cat/1.png": pattern(1), "dog/2.png": pattern(2)})
    outputs = [
        Packed(Output(f"{name}/{i}", None, None, "png", 8, 8, class_name=name), pattern(i), None)
        for i, name in ((1, "cat"), (2, "dog"))
    ]
    whole = OutputDataset(("cat", "dog"), (), frozenset({"label"}), (), "folder")
    digests = {there_and_back(name, outputs, whole, tmp_path / name).digest for name in FORMATS}
    assert digests == {scan.scan(tmp_path / "folder").digest}


def test_a_stream_of_a_folder_is_the_stream_of_its_shards(tmp_path: Path) -> None:
    images = {f"{i}.png": pattern(i, height=40, width=30) for i in range(12)}
    whole = OutputDataset((), (), frozenset(), (), "folder")
    outputs = [Packed(Output(name[:-4], None, None, "png", 40, 30), data, None) for name, data in images.items()]
    datasets = [scan.scan(lay(tmp_path / "folder", images))]
    datasets += [there_and_back(name, outputs, whole, tmp_path / name) for name in FORMATS]
    streams = [Stream(dataset, "flip-rotate-crop", batch_size=4, seed=7) for dataset in datasets]
    first, *others = [[stream.batch(epoch=1, index=index) for index in range(3)] for stream in streams]
    for other in others:
        for one, two in zip(first, other, strict=True):
            assert one.keys == two.keys
            assert np.array_equal(one.images, two.images)


@pytest.mark.parametrize("format_name", FORMATS)
def test_shards_are_a_function_of_what_is_packed(format_name: str) -> None:
    chosen = scan.shard_format(format_name)
    outputs = [packed(output(f"{i}"), i) for i in range(9)]
    assert chosen.pack(outputs, whole_of(), split=None, index=3) == chosen.pack(
        outputs, whole_of(), split=None, index=3
    )


@pytest.mark.parametrize("format_name", FORMATS)
def test_splits_of_any_name_come_back(format_name: str, tmp_path: Path) -> None:
    splits = ("train", "train-extra", "minival2017")
    outputs = [packed(output(f"{i}", split=split), i) for i, split in enumerate(splits)]
    dataset = there_and_back(format_name, outputs, whole_of(*splits, targets=frozenset()), tmp_path)
    assert dataset.splits == dict.fromkeys(splits, 1)


@pytest.mark.parametrize("format_name", FORMATS)
def test_originals_that_differ_by_extension_only_come_back(format_name: str, tmp_path: Path) -> None:
    outputs = [
        Packed(Output("a.jpg", None, None, "", 8, 8), pattern(1, image_format="jpeg"), None),
        Packed(Output("a.png", None, None, "", 8, 8), pattern(2), None),
        Packed(Output("plain", None, None, "", 8, 8), pattern(3), None),
    ]
    dataset = there_and_back(format_name, outputs, whole_of(targets=frozenset()), tmp_path)
    assert dataset.keys(range(3)) == ["a.jpg", "a.png", "plain"]


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_changed_shard_is_noticed_where_its_images_changed(format_name: str, tmp_path: Path) -> None:
    outputs = [packed(output(f"{i}"), i) for i in range(3)]
    whole = whole_of(targets=frozenset())
    dataset = there_and_back(format_name, outputs, whole, tmp_path)
    pack(tmp_path, format_name, [*outputs[:2], packed(output("2"), 77)], whole)
    for path in tmp_path.rglob("shard-*"):
        os.utime(path, (1_100_000_000, 1_100_000_000))
    assert dataset.read(dataset.record(0)) == outputs[0].image
    with pytest.raises(RecordChangedError):
        dataset.read(dataset.record(2))


@pytest.mark.parametrize("suffix", [".tar", ".parquet"])
def test_shards_of_splits_beside_others_are_ambiguous(suffix: str, tmp_path: Path) -> None:
    lay(tmp_path, {f"train-0{suffix}": b"", f"more-0{suffix}": b""})
    with pytest.raises(DatasetError, match=r"train-0.* shards without a split: more-0.* rename"):
        scan.scan(tmp_path, format="webdataset" if suffix == ".tar" else "parquet")
    lay(tmp_path / "two", {f"train-val-0{suffix}": b""})
    with pytest.raises(DatasetError, match="names of the splits train, val"):
        scan.scan(tmp_path / "two", format="webdataset" if suffix == ".tar" else "parquet")


@pytest.mark.parametrize("format_name", FORMATS)
def test_more_records_than_are_allowed_are_refused(format_name: str, tmp_path: Path) -> None:
    pack(tmp_path, format_name, [packed(output(f"{i}"), i) for i in range(5)], whole_of())
    with pytest.raises(DatasetError, match=r"more than 4 .*max_files"):
        scan.scan(tmp_path, max_files=4)
    assert scan.scan(tmp_path, max_files=5).num_records == 5


@pytest.mark.parametrize("format_name", FORMATS)
def test_what_is_no_shard_is_refused_by_name(format_name: str, tmp_path: Path) -> None:
    pack(tmp_path, format_name, [packed(output("1"))], whole_of())
    lay(tmp_path, {"notes.doc": b"x", "LICENSE": b"", "expansion.json": b"{}", "manifest-00000.parquet": b""})
    dataset = scan.scan(tmp_path)
    assert [(each.key, each.reason) for each in dataset.refused] == [("notes.doc", "misplaced")]


@pytest.mark.parametrize("format_name", FORMATS)
def test_classes_that_annotations_name_and_no_list_are_refused(format_name: str, tmp_path: Path) -> None:
    said = Annotations(boxes=((0.0, 0.0, 4.0, 4.0),), box_labels=("zebra",))
    whole = OutputDataset(("cat", "zebra"), (), frozenset({"label"}), (), "elsewhere")  # boxes go into the text
    pack(tmp_path, format_name, [packed(output("1", said))], whole)
    info = tmp_path / "dataset_info.json"
    info.write_text(info.read_text(encoding="utf-8").replace("zebra", "dog"), encoding="utf-8")
    if format_name == "webdataset":
        with pytest.raises(DatasetError, match="unknown class"):
            scan.scan(tmp_path)
        info.unlink()
        assert scan.scan(tmp_path).classes == ("zebra",)
    else:
        assert scan.scan(tmp_path).classes == ("cat", "zebra"), "the shards have the names themselves"
