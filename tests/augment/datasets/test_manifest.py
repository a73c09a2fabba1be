"""Manifest file: its content, files that are not manifests, and a search that agrees with a dictionary."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augment.datasets import keys, manifest
from augment.datasets.dataset import Dataset
from augment.errors import DatasetError, Reason, StorageError
from augment.formats.format import Described, FileGroup, Listing, RefusedPath
from augment.scanning.assemble import Assembled, Assembly
from augment.scanning.examine import ExaminedImage, Found, ListedFile
from augment.scanning.scan import scan
from tests.augment.folders_for_tests import lay_images

names = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=6)


def assemble(paths: list[str], refused: list[str] = []) -> Assembled:  # noqa: B006 - never written to
    assembly = Assembly(Listing())
    for number, path in enumerate(paths):
        group = FileGroup("", (path,), class_name=path.partition("/")[0] if "/" in path else None)
        image = ExaminedImage(number + 1, 10, number, number.to_bytes(16, "big"))
        assembly.add(Found(ListedFile(group, path, Described()), image))
    for path in refused:
        assembly.refuse(RefusedPath(path, Reason.FORMAT, "no image"))
    return assembly.finish(format_name="folder", root="/data", scanned_ns=5)


def in_memory(assembled: Assembled) -> Dataset:
    sink = pa.BufferOutputStream()
    manifest.write(sink, assembled.summary, assembled.records, assembled.refused)
    return Dataset.from_buffer(sink.getvalue())


@given(paths=st.sets(st.lists(names, min_size=1, max_size=2).map("/".join), min_size=1, max_size=20), other=names)
def test_find_agrees_with_a_dictionary(paths: set[str], other: str) -> None:
    dataset = in_memory(assemble(sorted(paths)))
    places = {record.key: place for place, record in enumerate(dataset)}
    assert len(places) == len(paths)
    for key in [*places, other, *(key + "!" for key in places), *(key[:-1] for key in places)]:
        assert dataset.find(key) == places.get(key)


def reference_keys(paths: list[str], taken: set[str]) -> dict[str, str]:
    """Return the keys by the plain rule: extend all that collide until none do."""
    result = {path: keys.without_extension(path) for path in paths}
    while True:
        claims = [*result.values(), *taken]
        colliding = [path for path, key in result.items() if key != path and claims.count(key) > 1]
        if not colliding:
            return result
        result |= {path: path for path in colliding}


few = st.lists(st.sampled_from(["a", "b", ".jpg", ".png", "x/"]), min_size=1, max_size=4).map("".join)


@given(paths=st.sets(few, min_size=1, max_size=12), taken=st.sets(few, max_size=3))
def test_keys_are_those_of_the_rule_and_distinct(paths: set[str], taken: set[str]) -> None:
    given_paths = sorted(paths - taken)
    found = keys.distinct_keys(pa.array(given_paths, pa.large_string()), pa.array(sorted(taken), pa.large_string()))
    assert dict(zip(given_paths, found.to_pylist(), strict=True)) == reference_keys(given_paths, taken)
    assert len({*found.to_pylist(), *taken}) == len(given_paths) + len(taken)


def test_rows_cross_batches_unharmed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "BATCH_ROWS", 8)
    paths = [f"{'cat' if number % 3 else 'dog'}/{number:03d}.png" for number in range(61)]
    dataset = in_memory(assemble([*paths, "bare.png"], [f"{number:02d}.txt" for number in range(30)]))
    reader = pa.ipc.open_file(dataset.to_buffer())
    lengths = [reader.get_batch(number).num_rows for number in range(reader.num_record_batches)]
    assert lengths == [8] * 7 + [6] + [8] * 3 + [6]
    expected = {keys.without_extension(path): number for number, path in enumerate([*paths, "bare.png"])}
    for record in dataset:
        number = expected.pop(record.key)
        assert (record.height, record.width, record.size_bytes) == (number + 1, 10, number)
        assert record.digest == f"{number:032x}"
        assert record.label == {"cat": 0, "dog": 1}.get(record.key.partition("/")[0])
    assert not expected
    assert [refusal.key for refusal in dataset.refused] == [f"{number:02d}.txt" for number in range(30)]


def test_any_arrow_reader_opens_it(tmp_path: Path) -> None:
    lay_images(tmp_path / "data", "cat/1.png", "2.png")
    (tmp_path / "data" / "x.dat").write_bytes(b"words")
    scan(tmp_path / "data", sink=tmp_path / "m.arrow")
    with pa.OSFile(str(tmp_path / "m.arrow")) as file:
        table = pa.ipc.open_file(file).read_all()
    table.validate(full=True)
    assert table.column_names == list(manifest.SCHEMA.names)
    assert table.column("key").to_pylist() == ["2", "cat/1", "x.dat"]
    assert table.column("label").to_pylist() == [None, 0, None]
    assert table.column("refusal").to_pylist()[:2] == [None, None]


def test_summary_survives_a_root_whose_name_is_not_utf8(tmp_path: Path) -> None:
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/d\xe9"))
    dataset = scan(lay_images(root, "1.png"))
    assert dataset.root == root
    assert dataset.read(dataset.record(0)) == (root / "1.png").read_bytes()


@pytest.mark.parametrize("content", [b"", b"words", b"ARROW1\0\0", b"x" * 5000])
def test_file_that_is_no_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.arrow").write_bytes(content)
    with pytest.raises(DatasetError, match="is not a manifest"):
        Dataset.open(tmp_path / "m.arrow")


def test_cut_manifest_is_refused_wherever_it_is_cut(tmp_path: Path) -> None:
    whole = bytes(in_memory(assemble(["1.png", "2.png"])).to_buffer())
    for length in range(0, len(whole), 97):
        (tmp_path / "m.arrow").write_bytes(whole[:length])
        with pytest.raises(DatasetError, match="is not a manifest"):
            Dataset.open(tmp_path / "m.arrow")


def test_other_arrow_file_is_refused(tmp_path: Path) -> None:
    table = pa.table({"key": ["a"]})
    with pa.ipc.new_file(str(tmp_path / "m.arrow"), table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(DatasetError, match="is not a manifest that this version reads"):
        Dataset.open(tmp_path / "m.arrow")


def test_manifest_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(manifest, "VERSION", 99)
        buffer = in_memory(assemble(["1.png"])).to_buffer()
    with pytest.raises(DatasetError, match=r"version 99 .*; scan the dataset again"):
        Dataset.from_buffer(buffer)


def test_manifest_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"there is no manifest .*; scan the dataset first"):
        Dataset.open(tmp_path / "m.arrow")
    with pytest.raises(DatasetError, match="is a folder, not a manifest; scan it"):
        Dataset.open(tmp_path)


def test_file_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "m.arrow").write_bytes(b"before")
    with pytest.raises(TypeError), manifest.new_file(tmp_path / "m.arrow") as file:
        file.writelines([b"half", "a fault"])  # type: ignore[list-item]
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("m.arrow", b"before")]


def test_full_disk_is_an_error_of_storage_and_leaves_nothing(tmp_path: Path) -> None:
    import resource
    import signal

    def rows() -> Iterator[pa.RecordBatch]:
        yield from assemble(["1.png"]).records

    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then writing fails with EFBIG, as it would with ENOSPC
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with (
            pytest.raises(StorageError, match=r"m.arrow cannot be written: File too large"),
            manifest.new_file(tmp_path / "m.arrow") as file,
        ):
            manifest.write(file, assemble(["1.png"]).summary, rows())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert list(tmp_path.iterdir()) == []


def test_damaged_manifest_is_an_error_of_ours_or_still_readable() -> None:
    whole = bytes(in_memory(assemble(["cat/1.png", "2.png"], ["3.txt"])).to_buffer())
    chance = random.Random(0)
    num_refused = 0
    for _ in range(500):
        damaged = bytearray(whole)
        end = chance.choice([len(damaged), 1000])  # the schema, or anything up to the footer
        damaged[chance.randrange(end)] = chance.randrange(256)
        try:
            dataset = Dataset.from_buffer(pa.py_buffer(bytes(damaged)))
            dataset.common_size(), dataset.min_size()
            list(dataset)
        except (DatasetError, StorageError, UnicodeDecodeError):
            num_refused += 1
    assert 0 < num_refused < 500


def mapped_kb(path: Path) -> int:
    """Return how much of a file this process has mapped at this moment."""
    total, is_it = 0, False
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines():
        if "-" in line.split(" ", 1)[0]:
            is_it = line.endswith(str(path))
        elif is_it and line.startswith("Rss:"):
            total += int(line.split()[1])
    return total


@pytest.mark.parametrize("is_large", [True, False])
def test_rows_of_a_large_manifest_do_not_stay_in_memory(
    is_large: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assembled = assemble([f"class/{number:05d}.jpg" for number in range(2_000)])
    path = tmp_path / "manifest.arrow"
    with manifest.new_file(path) as file:
        manifest.write(file, assembled.summary, assembled.records, assembled.refused)
    if is_large:
        monkeypatch.setattr(manifest, "_SMALL_BYTES", 1)
    opened = manifest.open_file(path)
    places = random.Random(0).sample(range(2_000), 64)
    rows = [opened.row(place) for place in places]
    assert (mapped_kb(path) == 0) == is_large
    assert [opened.row(place) for place in places] == rows
    assert [row.key for row in rows] == [f"class/{place:05d}".encode() for place in places]
