"""Cost of an image in a shard compared with one in a file: ``python -m bench.packed FOLDER``.

Writes the folder's images to files, tar shards and Parquet (as we write it, and in the row groups of 100 rows that
``datasets`` writes), and prints for each: images a second of a scan, microseconds to read one in order of the keys and
in random order, and images a second of a shuffled stream. A process keeps some row groups of Parquet
(``parquet_rows.KEPT_BYTES``): ``--num`` repeats the images to exceed that.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from augment.formats.format import Output, OutputDataset, Packed
from augment.scanning.scan import scan, shard_format
from augment.streams.stream import Stream

# ruff: noqa: T201 - a benchmark prints


SHARD_ROWS = 256
READS = 1000
BATCHES = 8


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--num", type=int, default=2000)
    arguments.add_argument("--pipeline", default="inception")
    options = arguments.parse_args()
    dataset = scan(options.folder)
    encoded = [dataset.read(record) for record in islice(dataset, options.num)]
    images = [(f"{i:06d}", encoded[i % len(encoded)]) for i in range(options.num)]
    print(f"{len(images)} images of {sum(len(data) for _, data in images) / len(images) / 1000:.0f} kB")
    with tempfile.TemporaryDirectory() as folder:
        for name, format_name in _lay(Path(folder), images).items():
            _line(Path(folder) / name, name, format_name, options.pipeline)


def _lay(root: Path, images: Sequence[tuple[str, bytes]]) -> dict[str, str]:
    (root / "folder").mkdir()
    for key, data in images:
        (root / "folder" / f"{key}.jpg").write_bytes(data)
    whole = OutputDataset((), (), frozenset(), (), "folder")
    for name in ("webdataset", "parquet"):
        for start in range(0, len(images), SHARD_ROWS):
            rows = images[start : start + SHARD_ROWS]
            some = [Packed(Output(key, None, None, "jpg", 1, 1), data, None) for key, data in rows]
            file = shard_format(name).pack(some, whole, split=None, index=start // SHARD_ROWS)
            (root / name / file.path).parent.mkdir(parents=True, exist_ok=True)
            (root / name / file.path).write_bytes(file.data)
    (root / "groups-of-100").mkdir()
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("image", kind)])
    path = root / "groups-of-100" / "shard.parquet"
    with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
        for start in range(0, len(images), 100):
            cells = [{"bytes": data, "path": f"{key}.jpg"} for key, data in images[start : start + 100]]
            writer.write_table(pa.table({"image": pa.array(cells, kind)}))
    return {"folder": "folder", "webdataset": "webdataset", "parquet": "parquet", "groups-of-100": "parquet"}


def _line(root: Path, name: str, format_name: str, pipeline: str) -> None:
    start = time.perf_counter()
    dataset = scan(root, format=format_name)
    scanned = dataset.num_records / (time.perf_counter() - start)
    costs = []
    every = range(dataset.num_records)
    shuffled = random.Random(0).sample(every, k=len(every))  # noqa: S311 - an order, not a secret
    for order in (every, shuffled):
        records = dataset.records(order[:READS])
        start = time.perf_counter()
        for record in records:
            dataset.read(record)
        costs.append((time.perf_counter() - start) / len(records) * 1e6)
    stream = Stream(dataset, pipeline, batch_size=32, seed=0)
    num_batches = min(BATCHES, stream.num_batches)
    start = time.perf_counter()
    for index in range(num_batches):
        stream.batch(epoch=0, index=index)
    rendered = 32 * num_batches / (time.perf_counter() - start)
    print(
        f"{name:14} scan {scanned:6.0f}/s   read {costs[0]:6.0f} us in order, {costs[1]:6.0f} us at random   "
        f"stream {rendered:5.0f}/s"
    )


if __name__ == "__main__":
    main()
