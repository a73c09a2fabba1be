"""Datasets: views of splits, records by index and key, and checked bytes."""

import json
import os
import pickle
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from augment.datasets.dataset import Dataset
from augment.errors import CallError, DatasetError, Reason, RecordChangedError, RecordError, StorageError
from augment.images.headers import Conversion
from augment.scanning.scan import scan
from augment.splitting.divide import divide_dataset
from tests.augment.folders_for_tests import as_nobody, lay, lay_images, no_descriptors, pattern
from tests.augment.images import hostile


@pytest.fixture
def flat(tmp_path: Path) -> Dataset:
    return scan(lay_images(tmp_path / "flat", *(f"{number:03d}.png" for number in range(100))))


@pytest.fixture
def split(tmp_path: Path) -> Dataset:
    names = ["train/cat/1.png", "train/cat/2.png", "train/dog/1.png", "val/cat/1.png", "val/dog/9.png"]
    return scan(lay_images(tmp_path / "split", *names))


def keys_of(dataset: Dataset) -> list[str]:
    return dataset.keys(range(dataset.num_records))


# ---------------------------------------------------------------------------------------------------------- records


def test_records_come_in_the_order_asked_for(flat: Dataset) -> None:
    indices = np.array([7, 3, 7, 99])
    records = flat.records(indices)
    assert [record.key for record in records] == flat.keys(indices) == ["007", "003", "007", "099"]
    assert records[0] == flat.record(7) == list(flat)[7]


def test_record_says_what_its_file_is(tmp_path: Path) -> None:
    data = pattern(3, height=5, width=9)
    dataset = scan(lay(tmp_path, {"cat/x.png": data}))
    record = dataset.record(0)
    assert record.path == tmp_path / "cat" / "x.png"
    assert (record.height, record.width, record.size_bytes) == (5, 9, len(data))
    assert record.label == 0
    assert len(bytes.fromhex(record.digest)) == 16


@pytest.mark.parametrize("index", [-1, 100])
def test_place_outside_is_refused_with_the_limit(flat: Dataset, index: int) -> None:
    with pytest.raises(CallError, match=rf"record is {index}; give an index in \[0, 100\)"):
        flat.record(index)
    with pytest.raises(CallError):
        flat.keys([index])


def test_find_gives_the_place_of_a_key_or_none(flat: Dataset, split: Dataset) -> None:
    assert [flat.find(key) for key in keys_of(flat)] == list(range(100))
    assert [flat.find(key) for key in ("", "0", "1000", "050x", "zzz", "\udcff")] == [None] * 6
    train = split.choose("train")
    assert (train.find("dog/1"), train.find("dog/9"), train.find("train/dog/1")) == (2, None, None)


def test_sizes_are_those_of_the_view(tmp_path: Path) -> None:
    files = {
        "train/1.png": pattern(height=9, width=30),
        "train/2.png": pattern(height=20, width=7),
        "val/1.png": pattern(height=8, width=8),
        "val/2.png": pattern(height=8, width=8),
    }
    dataset = scan(lay(tmp_path, {**files}))
    assert dataset.choose("train").min_size() == (9, 7, "2")
    assert dataset.choose("val").min_size() == (8, 8, "1")
    assert dataset.min_size() == (8, 7, "train/2")
    sizes = [view.common_size() for view in (dataset.choose("train"), dataset.choose("val"), dataset)]
    assert sizes == [None, (8, 8), None]


# ----------------------------------------------------------------------------------------------------------- splits


def test_split_omitted_means_train(split: Dataset) -> None:
    chosen = split.choose(None)
    assert (chosen.split, chosen.num_records, keys_of(chosen)) == ("train", 3, ["cat/1", "cat/2", "dog/1"])
    assert chosen.splits == split.splits == {"train": 3, "val": 2}
    assert chosen.digest == split.digest


@pytest.mark.parametrize("name", ["training", "Train", "TRAIN"])
def test_training_split_may_be_spelled_otherwise(tmp_path: Path, name: str) -> None:
    dataset = scan(lay_images(tmp_path, f"{name}/1.png", "test/1.png"))
    assert dataset.choose(None).split == name


def test_split_omitted_means_all_where_none_is_for_training(tmp_path: Path) -> None:
    dataset = scan(lay_images(tmp_path, "val/cat/1.png", "test/cat/1.png", "test/cat/2.png")).choose(None)
    assert (dataset.split, dataset.num_records) == (None, 3)
    assert keys_of(dataset) == ["test/cat/1", "test/cat/2", "val/cat/1"]
    assert [dataset.find(key) for key in keys_of(dataset)] == [0, 1, 2]
    assert dataset.find("cat/1") is None


def test_split_omitted_means_the_only_one(tmp_path: Path) -> None:
    dataset = scan(lay_images(tmp_path, "val/cat/1.png")).choose(None)
    assert (dataset.split, keys_of(dataset)) == ("val", ["cat/1"])


def test_split_of_a_split_is_that_of_the_whole(split: Dataset) -> None:
    assert keys_of(split.choose("train").choose("val")) == ["cat/1", "dog/9"]


def test_unknown_split_is_refused_with_those_there_are(split: Dataset, flat: Dataset) -> None:
    with pytest.raises(DatasetError, match=r"no split 'tran'; it has train, val; did you mean 'train'\?"):
        split.choose("tran")
    with pytest.raises(DatasetError, match=r"no split 'train'; it has no splits, so leave the split out"):
        flat.choose("train")


def test_split_without_an_image_is_refused_also_when_it_is_the_one_meant(tmp_path: Path) -> None:
    dataset = scan(lay(tmp_path, {"train/1.png": b"words", "val/1.png": pattern()}))
    assert dataset.splits == {"train": 0, "val": 1}
    for name in ("train", None):
        with pytest.raises(DatasetError, match=r"split 'train' of .* has no usable image \(1 files were"):
            dataset.choose(name)


def test_refusals_of_a_split_are_named_as_its_records_are(tmp_path: Path) -> None:
    files = {"train/cat/1.png": pattern(), "train/cat/x.dat": b"words", "val/1.png": pattern(), "y.dat": b"words"}
    dataset = scan(lay(tmp_path, {**files}))
    assert [refusal.key for refusal in dataset.refused] == ["train/cat/x.dat", "y.dat"]
    assert [refusal.key for refusal in dataset.choose("train").refused] == ["cat/x.dat"]
    assert dataset.choose("val").refused == ()


def test_unlabelled_records_are_counted_in_the_view(tmp_path: Path) -> None:
    dataset = scan(lay_images(tmp_path, "train/cat/1.png", "val/cat/1.png", "val/2.png", "val/3.png"))
    views = [dataset, dataset.choose("train"), dataset.choose("val")]
    assert [view.num_unlabelled for view in views] == [2, 0, 2]
    assert [view.first_unlabelled for view in views] == ["val/2", None, "2"]


# ------------------------------------------------------------------------------------------------- what reading loses


def _with_losses(root: Path) -> Dataset:
    """Write three images of 16 bits, two of them grey and one of these without a class, among lossless ones."""
    deep = np.full((4, 4, 3), 0x4242, np.uint16)
    files = {
        "train/cat/1.png": pattern(1),
        "train/cat/2.png": hostile.png16(deep),
        "train/cat/3.png": hostile.png16(deep[..., 0]),
        "val/4.png": hostile.png16(deep[..., 0]),
        "val/cat/5.png": pattern(5),
        "val/cat/6.png": hostile.saved(hostile.pattern(), "JPEG"),
        "val/cat/7.dat": b"words",
    }
    return scan(lay(root, files))


def test_notices_count_what_reading_loses_and_name_the_first(tmp_path: Path) -> None:
    dataset = _with_losses(tmp_path)
    assert dataset.source.summary.conversions == {"bit_depth": 3, "grey": 2}
    depth, grey = Conversion.BIT_DEPTH, Conversion.GREY
    assert dataset.notices == (
        f"3 of 6 images have {depth.feature}; {depth.result} (the first is `train/cat/2`)",
        f"2 of 6 images have {grey.feature}; {grey.result} (the first is `train/cat/3`)",
    )
    assert dataset.choose("val").notices == (
        f"1 of 3 images has {depth.feature}; {depth.result} (the first is `4`)",
        f"1 of 3 images has {grey.feature}; {grey.result} (the first is `4`)",
    )
    assert pickle.loads(pickle.dumps(dataset)).notices == dataset.notices  # noqa: S301
    column = [kinds for batch in dataset.source.record_batches() for kinds in batch.column("conversions").to_pylist()]
    assert column == [None, "bit_depth", "bit_depth grey", "bit_depth grey", None, None]


def test_notices_of_a_divided_dataset_count_anew(tmp_path: Path) -> None:
    root = lay(tmp_path, {f"{i}.png": hostile.saved(hostile.pattern()[..., 0] + i, "PNG") for i in range(10)})
    divided = divide_dataset(scan(root), ratios="50,50", max_distance=None).divided()
    assert list(divided.splits.values()) == [5, 5]
    for split in divided.splits:
        [notice] = divided.choose(split).notices
        assert notice.startswith("5 of 5 images have one channel")


def test_manifest_of_an_earlier_version_tells_no_losses(tmp_path: Path) -> None:
    file = pa.ipc.open_file(_with_losses(tmp_path).to_buffer())
    columns = [name for name in file.schema.names if name not in {"encoding", "conversions"}]
    summary = json.loads(file.schema.metadata[b"augment.manifest"])
    for split in summary["splits"]:
        split.pop("conversions")
    schema = pa.schema([file.schema.field(name) for name in columns], {b"augment.manifest": json.dumps(summary)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        for number in range(file.num_record_batches):
            writer.write_batch(file.get_batch(number).select(columns).replace_schema_metadata(schema.metadata))
    earlier = Dataset.from_buffer(sink.getvalue())
    assert (earlier.num_records, earlier.notices, earlier.source.summary.conversions) == (6, (), {})
    assert [batch.column("conversions").null_count for batch in earlier.source.record_batches()] == [6]


def test_kind_of_a_later_version_is_passed_over(tmp_path: Path) -> None:
    buffer = _with_losses(tmp_path).to_buffer().to_pybytes()
    later = Dataset.from_buffer(pa.py_buffer(buffer.replace(b"bit_depth", b"hit_depth")))
    assert [notice.split()[4:6] for notice in later.notices] == [["have", "one"]]


# ------------------------------------------------------------------------------------------- reading what was scanned


def test_read_gives_the_bytes_of_the_file(flat: Dataset) -> None:
    assert flat.read(flat.record(5)) == pattern(5)


def test_touched_file_is_read_and_changed_file_is_refused(tmp_path: Path) -> None:
    dataset = scan(lay_images(tmp_path, "cat/1.png", "cat/2.png", "3.png"))
    for record in dataset:
        os.utime(record.path)
        assert dataset.read(record) == record.path.read_bytes()
        record.path.write_bytes(pattern(200))
        assert record.path.stat().st_size == record.size_bytes
        with pytest.raises(RecordChangedError, match=f"{record.key}: changed: the file changed since the scan; scan"):
            dataset.read(record)


def test_file_that_grew_shrank_or_went_is_refused(tmp_path: Path) -> None:
    dataset = scan(lay_images(tmp_path, "1.png", "2.png", "3.png", "4.png"))
    grown, shrunk, gone, pipe = dataset
    with grown.path.open("ab") as file:
        file.truncate(2**40)  # a hole; reading it would take minutes
    os.truncate(shrunk.path, 5)
    gone.path.unlink()
    pipe.path.unlink()
    os.mkfifo(pipe.path)
    details = {
        grown: f"it has {2**40} bytes, but had {grown.size_bytes} at the scan; scan the dataset again",
        shrunk: f"it has 5 bytes, but had {shrunk.size_bytes} at the scan; scan the dataset again",
        gone: "the file was deleted after the scan; scan the dataset again",
        pipe: "it became a named pipe, not a file; scan the dataset again",
    }
    for record, detail in details.items():
        with pytest.raises(RecordChangedError) as caught:
            dataset.read(record)
        assert (caught.value.key, caught.value.reason, caught.value.detail) == (record.key, Reason.CHANGED, detail)


def test_bytes_are_those_of_the_record_with_its_class(tmp_path: Path) -> None:
    dataset = scan(lay_images(tmp_path, "cat/1.png", "dog/1.png"))
    record = dataset.record(0)
    os.utime(record.path)
    with pytest.raises(RecordChangedError):
        dataset.read(replace(record, label=1))


def test_closed_file_is_the_record_s_fault_and_a_failing_machine_is_not(tmp_path: Path) -> None:
    dataset = scan(lay_images(tmp_path, "1.png"))
    record = dataset.record(0)
    dataset.read(record)
    with no_descriptors(), pytest.raises(StorageError, match=r"reading 1 failed: Too many open files \(EMFILE\); try"):
        dataset.read(record)
    record.path.chmod(0)
    with as_nobody(), pytest.raises(RecordError) as caught:
        dataset.read(record)
    assert (caught.value.key, caught.value.reason) == ("1", Reason.UNREADABLE)


def test_folder_that_is_gone_as_a_whole_is_no_record_s_fault(tmp_path: Path) -> None:
    dataset = scan(lay_images(tmp_path / "data", "1.png"))
    (tmp_path / "data").rename(tmp_path / "moved")
    with pytest.raises(StorageError, match=r"the dataset's folder .*data is gone; is its file system mounted\?"):
        dataset.read(dataset.record(0))


# ------------------------------------------------------------------------------------------------------------ travel


def test_saved_dataset_is_the_same_wherever_it_is_opened(split: Dataset, tmp_path: Path) -> None:
    split.choose("train").save(tmp_path / "m.arrow")
    for opened in (Dataset.open(tmp_path / "m.arrow"), Dataset.from_buffer(split.to_buffer())):
        assert (list(opened), opened.digest, opened.root, opened.classes) == (
            list(split),
            split.digest,
            split.root,
            split.classes,
        )


def test_pickled_dataset_is_the_same_view(split: Dataset, tmp_path: Path) -> None:
    split.save(tmp_path / "m.arrow")
    for dataset in (split.choose("val"), Dataset.open(tmp_path / "m.arrow").choose("val")):
        copy = pickle.loads(pickle.dumps(dataset))  # noqa: S301 - our own
        assert (list(copy), copy.split) == (list(dataset), "val")


def test_pickle_of_an_opened_dataset_is_a_path(flat: Dataset, tmp_path: Path) -> None:
    flat.save(tmp_path / "m.arrow")
    assert len(pickle.dumps(Dataset.open(tmp_path / "m.arrow"))) < 1000


def test_pickled_dataset_notices_that_its_manifest_was_replaced(flat: Dataset, split: Dataset, tmp_path: Path) -> None:
    flat.save(tmp_path / "m.arrow")
    pickled = pickle.dumps(Dataset.open(tmp_path / "m.arrow"))
    split.save(tmp_path / "m.arrow")
    with pytest.raises(DatasetError, match="it was scanned again; open it again"):
        pickle.loads(pickled)  # noqa: S301 - our own


def test_opened_dataset_outlives_the_replacing_of_its_manifest(flat: Dataset, split: Dataset, tmp_path: Path) -> None:
    flat.save(tmp_path / "m.arrow")
    opened = Dataset.open(tmp_path / "m.arrow")
    split.save(tmp_path / "m.arrow")
    assert list(opened) == list(flat)


def test_key_is_the_same_in_another_process_under_another_locale(tmp_path: Path) -> None:
    scan(lay_images(tmp_path / "data", "é/😀.png"), sink=tmp_path / "m.arrow")
    code = f"""
from augment.datasets.dataset import Dataset
dataset = Dataset.open({str(tmp_path / "m.arrow")!r})
assert dataset.keys([0]) == ["\\u00e9/\\U0001f600"]
assert len(dataset.read(dataset.record(0))) == dataset.record(0).size_bytes
"""
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=Path(__file__).parents[3])


def test_dataset_serves_many_threads(flat: Dataset, tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    flat.save(tmp_path / "m.arrow")
    opened = Dataset.open(tmp_path / "m.arrow")
    wanted = [random.Random(number).choices(range(100), k=200) for number in range(16)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(opened.keys, wanted)) == [[f"{i:03d}" for i in indices] for indices in wanted]


def test_dataset_shows_what_it_is(split: Dataset) -> None:
    assert repr(split.choose("val")) == f"<Dataset {split.root} (2 records, split='val') {split.digest}>"
