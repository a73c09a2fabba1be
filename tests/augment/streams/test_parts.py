"""Packed images: reading them by offset, and the inputs of a record's digest."""

import hashlib
import io
import os
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augment import address
from augment.datasets import parquet_rows, read, seen_files
from tests.augment.folders_for_tests import pattern

# ------------------------------------------------------------------------------------------------------------ parts


def test_image_is_read_from_its_place_in_a_tar(tmp_path: Path) -> None:
    path = tmp_path / "shard.tar"
    with tarfile.open(path, "w") as archive:
        for number in range(3):
            member = tarfile.TarInfo(f"{number}.png")
            member.size = len(pattern(number))
            archive.addfile(member, io.BytesIO(pattern(number)))
    with tarfile.open(path) as archive:
        places = [(member.offset_data, member.size) for member in archive]
    for number, (offset, size_bytes) in enumerate(places):
        content = read.read_part(path, offset, size_bytes=size_bytes)
        assert (content.data, content.size_bytes) == (pattern(number), len(pattern(number)))
        assert content.status.packed == seen_files.packed(path.stat())
    assert read.read_part(path, 10**9, size_bytes=5).data == b""


@given(st.binary(max_size=60), st.integers(0, 70), st.integers(0, 70))
def test_part_is_the_slice_of_the_file(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, start: int, size: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes"
    path.write_bytes(data)
    assert read.read_part(path, start, size_bytes=size).data == data[start : start + size]


def test_part_of_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(read.NotAFileError, match="a named pipe, not a file"):
        read.read_part(tmp_path / "pipe", 0, size_bytes=1)
    with pytest.raises(FileNotFoundError):
        read.read_part(tmp_path / "nowhere", 0, size_bytes=1)


@pytest.mark.parametrize("as_struct", [False, True])
def test_image_is_read_from_its_row_of_a_parquet_file(tmp_path: Path, as_struct: bool) -> None:
    path = tmp_path / "part.parquet"
    cells = [pattern(number) for number in range(7)]
    column = [{"bytes": cell, "path": None} for cell in cells] if as_struct else cells
    pq.write_table(pa.table({"image": column}), path, row_group_size=2)
    for row in (6, 0, 3, 3):
        assert read.read_part(path / "image", row, size_bytes=None).data == cells[row]
        assert parquet_rows.read_cell(path, "image", row)[0] == cells[row]


def test_parquet_file_that_is_replaced_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    for number in range(3):
        pq.write_table(pa.table({"image": [pattern(number)]}), tmp_path / "new")
        (tmp_path / "new").replace(path)
        assert read.read_part(path / "image", 0, size_bytes=None).data == pattern(number)


def test_broken_parquet_file_and_a_column_that_it_lacks_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(read.NotAFileError, match="a broken Parquet file"):
        read.read_part(path / "image", 0, size_bytes=None)
    pq.write_table(pa.table({"image": [pattern()]}), path)
    with pytest.raises(read.NotAFileError, match="a broken Parquet file"):
        read.read_part(path / "photo", 0, size_bytes=None)


# ----------------------------------------------------------------------------------------------------------- digest


def fields_by_hand(*fields: bytes) -> bytes:
    """Return the digest of docs/rules.md: each field after its length as eight little-endian bytes."""
    digest = hashlib.blake2b(digest_size=16, person=b"augment.record")
    for field in fields:
        digest.update(len(field).to_bytes(8, "little") + field)
    return digest.digest()


def test_record_digest_is_made_as_the_rules_say() -> None:
    content, mask = read.content_digest(b"image"), read.content_digest(b"mask")
    assert content == hashlib.blake2b(b"image", digest_size=16).digest()
    assert read.record_digest(content) == fields_by_hand(content)
    assert read.record_digest(content, "cät") == fields_by_hand(content, b"class", "cät".encode())
    assert read.record_digest(content, "cat", '{"boxes":[]}', mask) == fields_by_hand(
        content, b"class", b"cat", b"annotations", b'{"boxes":[]}', b"mask", mask
    )


def test_each_part_of_what_is_said_changes_the_digest() -> None:
    content = bytes(16)
    several = [
        read.record_digest(content),
        read.record_digest(content, "a"),
        read.record_digest(content, None, "a"),
        read.record_digest(content, None, None, b"a"),
        read.record_digest(content, "annotations", "a"),
        read.record_digest(content, "a", "{}", content),
    ]
    assert len(set(several)) == len(several)
    assert len({*several, address.digest_fields([content])}) == len(several) + 1
