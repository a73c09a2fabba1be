"""Cells of Parquet files: read by row, each group once, and damaged files are refused."""

import contextlib
import io
import os
import random
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from augment.datasets import parquet_rows
from augment.datasets.parquet_rows import UnreadableRowError
from augment.errors import DatasetError, RecordChangedError
from augment.scanning.scan import scan
from tests.augment.folders_for_tests import pattern

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def written(path: Path, num_rows: int, **options: object) -> Path:
    images = [{"bytes": b"%06d" % i * 100, "path": f"{i}"} for i in range(num_rows)]
    pq.write_table(pa.table({"image": pa.array(images, IMAGE), "n": list(range(num_rows))}), path, **options)
    return path


@pytest.mark.parametrize("options", [{}, {"row_group_size": 7}, {"use_dictionary": False, "compression": "none"}])
def test_cells_are_those_of_their_rows(options: dict[str, object], tmp_path: Path) -> None:
    path = written(tmp_path / "x.parquet", 50, **options)
    rows = list(range(50))
    random.Random(0).shuffle(rows)
    for row in rows:
        assert parquet_rows.read_cell(path, "image", row)[0] == b"%06d" % row * 100
        assert parquet_rows.read_row(path, ["n"], row) == {"n": row}
    assert parquet_rows.read_cell(path, "image", 50)[0] is None
    assert parquet_rows.read_cell(path, "image", -1)[0] is None
    with pytest.raises(UnreadableRowError, match="no column mask"):
        parquet_rows.read_cell(path, "mask", 0)
    with pytest.raises(UnreadableRowError, match="does not hold bytes"):
        parquet_rows.read_cell(path, "n", 0)


def test_a_group_is_read_once_whoever_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "x.parquet", 100, row_group_size=50)
    reads: list[int] = []
    original = parquet_rows._read_group

    def counted(identity: parquet_rows._Identity, group: int, leaves: tuple[str, ...]) -> pa.Table:
        reads.append(group)
        return original(identity, group, leaves)

    monkeypatch.setattr(parquet_rows, "_read_group", counted)
    threads = [
        threading.Thread(target=lambda: [parquet_rows.read_cell(path, "image", row) for row in range(100)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(reads) == [0, 1]


def test_what_is_kept_is_bounded_by_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_rows, "KEPT_BYTES", 20_000)
    kept = parquet_rows._Kept()
    path = written(tmp_path / "x.parquet", 500, row_group_size=10)
    for group in range(50):
        kept.group(parquet_rows._identify(path)[0], group, ("image.bytes",))
        assert sum(table.nbytes for table in kept._tables.values()) <= 20_000
    assert len(kept._tables) >= 2
    monkeypatch.setattr(parquet_rows, "KEPT_BYTES", 1)
    kept.group(parquet_rows._identify(path)[0], 0, ("image.bytes",))
    assert len(kept._tables) == 1, "one of any size"


def test_a_file_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    path = written(tmp_path / "x.parquet", 3)
    assert parquet_rows.read_cell(path, "image", 2)[0] == b"000002" * 100
    written(tmp_path / "y.parquet", 2).replace(path)
    assert parquet_rows.read_cell(path, "image", 2)[0] is None


def test_a_value_that_recurs_takes_no_more_memory_than_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = pa.DictionaryArray.from_arrays(pa.array([0] * 5000, pa.int32()), pa.array([b"x" * 100_000], pa.binary()))
    pq.write_table(pa.table({"image": cells}), tmp_path / "x.parquet", store_schema=False)
    assert (tmp_path / "x.parquet").stat().st_size < 200_000
    monkeypatch.setattr(parquet_rows, "GROUP_MAX_BYTES", 10_000_000)
    before = pa.total_allocated_bytes()
    with pytest.raises(UnreadableRowError, match="write the file in row groups"):
        parquet_rows.read_cell(tmp_path / "x.parquet", "image", 0)
    assert pa.total_allocated_bytes() - before < 1_000_000


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.parquet")
    with pytest.raises(UnreadableRowError, match="not a regular file"):
        parquet_rows.describe(tmp_path / "x.parquet")
    with pytest.raises(FileNotFoundError):
        parquet_rows.describe(tmp_path / "y.parquet")


def _bases() -> list[bytes]:
    images = [{"bytes": pattern(i), "path": f"{i}.png"} for i in range(6)]
    columns = {"label": [0, 1, 2] * 2, "objects": [{"bbox": [[1.0, 1.0, 2.0, 2.0]], "category": ["a"]}] * 6}
    rows = pa.table({"image": pa.array(images, IMAGE), **columns, "caption": ["x" * 20] * 6})
    found = []
    for options in ({}, {"compression": "none", "use_dictionary": False}, {"compression": "zstd", "row_group_size": 2}):
        file = io.BytesIO()
        pq.write_table(rows, file, **options)
        found.append(file.getvalue())
    return found


def test_a_damaged_file_is_refused_or_read(tmp_path: Path) -> None:
    chance = random.Random(7)
    bases = _bases()
    num_read = 0
    for _ in range(600):
        data = bytearray(chance.choice(bases))
        for _ in range(chance.choice([1, 1, 2, 4, 16])):
            first = chance.choice([0, 0, max(len(data) - 1500, 0)])
            data[chance.randrange(first, len(data))] = chance.choice([chance.randrange(256), 0, 127, 128, 255])
        (tmp_path / "x.parquet").unlink(missing_ok=True)
        (tmp_path / "x.parquet").write_bytes(data)
        try:
            dataset = scan(tmp_path, format="parquet", bad_annotations="leave_out")
        except DatasetError:
            continue
        for record in dataset:
            try:
                num_read += len(dataset.read(record)) > 0
            except RecordChangedError:
                continue
    assert num_read > 100


def test_a_column_that_would_end_the_process_does_not(tmp_path: Path) -> None:
    """Arrow's bindings call ``std::terminate`` for a column whose type is damaged."""
    # the type of a column of texts, in the footer, as Thrift's compact protocol has it: BYTE_ARRAY becomes BOOLEAN
    data = bytearray(_bases()[1])
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    places = [i for i in range(footer, len(data) - 8) if data[i : i + 2] == b"\x15\x0c"]
    assert places
    for place in places:
        damaged = bytes(data[: place + 1]) + b"\x00" + bytes(data[place + 2 :])
        (tmp_path / "x.parquet").unlink(missing_ok=True)
        (tmp_path / "x.parquet").write_bytes(damaged)
        with contextlib.suppress(DatasetError):
            assert scan(tmp_path, format="parquet").num_records == 6
