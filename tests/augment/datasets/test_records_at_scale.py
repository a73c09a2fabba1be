"""Millions of records: a manifest is opened without reading it, and a batch's keys touch only their own pages."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from augment.datasets import manifest
from augment.datasets.dataset import Dataset
from augment.datasets.manifest import DatasetSummary, Size, SplitSummary
from augment.scanning import assemble

NUM_CLASSES = 1000

MEASURE = """
import json, sys, time
import numpy as np, psutil
from augment.chance import EpochOrder
from augment.datasets.dataset import Dataset

path, small, index, epoch = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
warm = Dataset.open(small)
warm.keys([0]), EpochOrder(warm.num_records, 0, 0).take(np.arange(1))  # what is loaded once in a process
process = psutil.Process()

rss, begin = process.memory_info().rss, time.process_time()
dataset = Dataset.open(path)
opened_s, opened_bytes = time.process_time() - begin, process.memory_info().rss - rss

begin = time.process_time()
positions = np.arange(64 * index, 64 * (index + 1)) % dataset.num_records
indices = EpochOrder(dataset.num_records, 7, epoch).take(positions)
keys = dataset.keys(indices)
keys_s, keys_bytes = time.process_time() - begin, process.memory_info().rss - rss

begin = time.process_time()
records = dataset.records(indices)
records_s = time.process_time() - begin

begin = time.process_time()
found = [dataset.find(key) for key in keys]
find_s = time.process_time() - begin
assert found == indices.tolist() and [record.key for record in records] == keys
print(json.dumps({
    "opened_s": opened_s, "opened_bytes": opened_bytes, "keys_s": keys_s, "keys_bytes": keys_bytes,
    "records_s": records_s, "find_s": find_s, "keys": keys, "indices": indices.tolist(),
}))
"""


class Synthetic:
    """Records of an invented dataset, made batch by batch; can be iterated again."""

    def __init__(self, num_records: int) -> None:
        self.num_records = num_records

    def key(self, index: int) -> str:
        return f"{index * NUM_CLASSES // self.num_records:04d}/{index:08d}"

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        chance = np.random.default_rng(0)
        for start in range(0, self.num_records, 50_000):
            indices = np.arange(start, min(start + 50_000, self.num_records))
            keys = pa.array([self.key(index) for index in indices.tolist()])
            labels = (indices * NUM_CLASSES // self.num_records).astype(np.int32)
            columns = {
                "key": keys,
                "path": pa.array([f"{key}.jpg" for key in keys.to_pylist()]),
                "label": pa.array(labels),
                "height": pa.array(np.full(len(indices), 375, np.int32)),
                "width": pa.array(np.full(len(indices), 500, np.int32)),
                "size_bytes": pa.array(indices.astype(np.int64)),
                "digest": pa.FixedSizeBinaryArray.from_buffers(
                    pa.binary(16), len(indices), [None, pa.py_buffer(chance.bytes(16 * len(indices)))]
                ),
            }
            absent = {each.name: pa.nulls(len(indices), each.type) for each in manifest.SCHEMA}
            yield pa.RecordBatch.from_arrays(list((absent | columns).values()), schema=manifest.SCHEMA)

    def save(self, path: Path) -> None:
        smallest = Size(375, 500, self.key(0))
        split = SplitSummary(None, 0, self.num_records, smallest, (375, 500), 0, None)
        summary = DatasetSummary(
            format="folder",
            root="/data",
            digest=assemble.dataset_digest({None: self}),
            classes=tuple(f"{number:04d}" for number in range(NUM_CLASSES)),
            splits=(split,),
            num_records=self.num_records,
            num_refused=0,
            scanned_ns=0,
        )
        with manifest.new_file(path) as file:
            manifest.write(file, summary, self)


def measure(folder: Path, num_records: int, *, index: int, epoch: int) -> dict[str, Any]:
    """Measure what a separate process, with all modules loaded, needs for the manifest and for one batch of it."""
    synthetic = Synthetic(num_records)
    synthetic.save(folder / "large.arrow")
    Synthetic(1).save(folder / "small.arrow")
    command = [sys.executable, "-c", MEASURE, str(folder / "large.arrow"), str(folder / "small.arrow"), str(index)]
    root = Path(__file__).parents[3]
    done = subprocess.run([*command, str(epoch)], check=True, capture_output=True, text=True, cwd=root)
    measured: dict[str, Any] = json.loads(done.stdout)
    keys = measured.pop("keys")
    assert keys == [synthetic.key(i) for i in measured.pop("indices")]
    assert len(set(keys)) == 64
    print(measured)  # noqa: T201 - what `-rP` shows
    return measured


def test_three_hundred_thousand_records_open_at_once(tmp_path: Path) -> None:
    measured = measure(tmp_path, 300_000, index=4_000, epoch=9)
    assert measured["opened_s"] < 1
    assert measured["opened_bytes"] <= measured["keys_bytes"] < 50 * 2**20
    assert measured["keys_s"] < 0.05


@pytest.mark.long
def test_ten_million_records_open_at_once(tmp_path: Path) -> None:
    measured = measure(tmp_path, 10_000_000, index=100_000, epoch=9)
    assert measured["opened_s"] < 1
    assert measured["opened_bytes"] <= measured["keys_bytes"] < 50 * 2**20
    assert measured["keys_s"] < 0.05
    (tmp_path / "large.arrow").unlink()  # a gigabyte that pytest would keep


def test_synthetic_manifest_is_a_dataset(tmp_path: Path) -> None:
    synthetic = Synthetic(70_000)
    synthetic.save(tmp_path / "m.arrow")
    dataset = Dataset.open(tmp_path / "m.arrow")
    record = dataset.record(66_000)
    assert (record.key, record.label, record.size_bytes) == (synthetic.key(66_000), 942, 66_000)
    assert dataset.keys(range(70_000)) == sorted(dataset.keys(range(70_000)), key=str.encode)
