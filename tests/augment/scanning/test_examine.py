"""Scan: refusals and their reasons, files that are read, and results that depend on the files alone."""

import os
import random
import shutil
import socket
import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.datasets import keys, manifest, read
from augment.datasets.dataset import Dataset
from augment.errors import DatasetError, Reason, RecordChangedError, StorageError
from augment.expansion.expand import expand_dataset
from augment.formats.format import FileSlice
from augment.images import masks
from augment.samples.sample import Refusal
from augment.scanning.examine import Examiner, Refused
from augment.scanning.scan import scan
from tests.augment.folders_for_tests import LONG_AGO_S, as_nobody, lay, lay_images, no_descriptors, pattern
from tests.augment.images import hostile


def mask(value: int) -> bytes:
    """Return an encoded mask for ``image``."""
    return masks.encode_mask(np.full((8, 8), value, np.uint8))


def outcome(dataset: Dataset) -> tuple[object, ...]:
    """Return the result of a scan without its time and place."""
    return dataset.digest, dataset.classes, dataset.splits, tuple(dataset), dataset.refused, dataset.notices


def refused(dataset: Dataset) -> dict[str, tuple[Reason, str]]:
    return {refusal.key: (refusal.reason, refusal.detail) for refusal in dataset.refused}


# -------------------------------------------------------------------------------------------------------- refusals


def test_each_hostile_file_is_refused_by_name_and_the_rest_is_complete(tmp_path: Path) -> None:
    lay_images(tmp_path, "good.png", "lying.jpg", "no_extension")
    lay(tmp_path, {"text.png": b"words", "empty.png": b"", "notes.dat": b"words", "huge.png": pattern(width=5000)})
    (tmp_path / "broken.png").write_bytes(pattern()[:20])
    (tmp_path / "dangling.png").symlink_to("nowhere.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket.png"))
        dataset = scan(tmp_path, max_pixels=10_000)
    assert dataset.keys(range(dataset.num_records)) == ["good", "lying", "no_extension"]
    reasons = {name: reason for name, (reason, _) in refused(dataset).items()}
    assert reasons == {
        "broken.png": reasons["broken.png"],
        "dangling.png": Reason.UNREADABLE,
        "device.png": Reason.UNREADABLE,
        "empty.png": Reason.FORMAT,
        "huge.png": Reason.TOO_MANY_PIXELS,
        "notes.dat": Reason.FORMAT,
        "pipe.png": Reason.UNREADABLE,
        "socket.png": Reason.UNREADABLE,
        "text.png": Reason.FORMAT,
    }
    assert reasons["broken.png"] in {Reason.UNDECODABLE, Reason.FORMAT}
    assert dataset.num_refused == len(reasons)


def test_special_files_are_named_for_what_they_are(tmp_path: Path) -> None:
    lay_images(tmp_path, "good.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    (tmp_path / "dangling.png").symlink_to("nowhere.png")
    assert {name: detail for name, (_, detail) in refused(scan(tmp_path)).items()} == {
        "dangling.png": "a dangling link",
        "device.png": "a device, not a file",
        "pipe.png": "a named pipe, not a file",
    }


def test_named_pipe_is_never_opened(tmp_path: Path) -> None:
    lay_images(tmp_path, "good.png")
    os.mkfifo(tmp_path / "pipe.png")
    opened = threading.Event()

    def write() -> None:
        with (tmp_path / "pipe.png").open("wb"):  # returns once the pipe is read
            opened.set()

    writer = threading.Thread(target=write)
    writer.start()
    scan(tmp_path)
    assert not opened.wait(0.2)
    reader = os.open(tmp_path / "pipe.png", os.O_RDONLY | os.O_NONBLOCK)
    writer.join()
    os.close(reader)


def test_unreadable_files_and_folders_are_refused(tmp_path: Path) -> None:
    root = lay_images(tmp_path, "cat/1.png", "cat/2.png", "dog/1.png")
    scan(root)  # imports everything while it is allowed to
    (root / "cat" / "2.png").chmod(0)
    (root / "dog").chmod(0)
    tmp_path.chmod(0o755)
    closed = [folder for folder in tmp_path.parents if not folder.stat().st_mode & 0o001]
    modes = {folder: folder.stat().st_mode for folder in closed}
    try:
        for folder in closed:
            folder.chmod(0o755)
        with as_nobody():
            dataset = scan(root)
    finally:
        for folder, mode in modes.items():
            folder.chmod(mode)
        (root / "dog").chmod(0o755)
    assert dataset.keys(range(dataset.num_records)) == ["cat/1"]
    assert refused(dataset) == {
        "cat/2.png": (Reason.UNREADABLE, "permission denied"),
        "dog": (Reason.UNREADABLE, "a folder: permission denied"),
    }


def test_name_that_is_not_utf8_is_refused_in_print(tmp_path: Path) -> None:
    lay_images(tmp_path, "good.png")
    for name in (b"caf\xe9.png", b"d\xff/1.png"):
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(pattern())
    dataset = scan(tmp_path)
    assert dataset.refused == (
        Refusal(r"caf\xe9.png", Reason.UNREADABLE, "its path is not UTF-8; rename it"),
        Refusal(r"d\xff/1.png", Reason.UNREADABLE, "its path is not UTF-8; rename it"),
    )
    assert dataset.classes == ()


def test_file_above_the_limit_is_not_read(tmp_path: Path) -> None:
    lay_images(tmp_path, "good.png")
    with (tmp_path / "long.png").open("wb") as file:
        file.truncate(5 * 2**40)  # a hole: it takes no space, and reading it would take hours
    detail = f"{5 * 2**40} bytes, of {256 * 2**20} allowed (max_file_bytes)"
    assert refused(scan(tmp_path)) == {"long.png": (Reason.TOO_MANY_BYTES, detail)}


def test_refusals_by_the_hundred_thousand_are_kept_in_order(tmp_path: Path) -> None:
    from augment.formats.format import Described, FileGroup, Listing, RefusedPath
    from augment.scanning.assemble import Assembly
    from augment.scanning.examine import ExaminedImage, Found, ListedFile

    assembly = Assembly(Listing())
    for number in range(100_000):
        assembly.refuse(RefusedPath(f"{number:06d}.txt", Reason.FORMAT, "no: image"))
    one = ListedFile(FileGroup("", ("1.png",)), "1.png", Described())
    assembly.add(Found(one, ExaminedImage(1, 1, 1, bytes(16))))
    assembled = assembly.finish(format_name="folder", root=str(tmp_path), scanned_ns=0)
    with manifest.new_file(tmp_path / "m.arrow") as file:
        manifest.write(file, assembled.summary, assembled.records, assembled.refused)
    dataset = Dataset.open(tmp_path / "m.arrow")
    assert dataset.num_refused == len(dataset.refused) == 100_000
    assert dataset.refused[70_001] == Refusal("070001.txt", Reason.FORMAT, "no: image")


# ---------------------------------------------------------------------------------------------------- the whole call


def test_folder_without_an_image_is_an_error_that_names_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds no file; put images into it"):
        scan(tmp_path)
    lay(tmp_path, {f"{name}.dat": b"words" for name in "abcd"})
    with pytest.raises(DatasetError, match=r"all 4 files in it were refused \(a\.dat: format: .*; c\.dat: .* …\): put"):
        scan(tmp_path)
    for path in tmp_path.iterdir():
        path.rename(path.with_suffix(".txt"))
    with pytest.raises(DatasetError, match=r"holds no image: a\.txt was not read; b\.txt was not read; .*; put"):
        scan(tmp_path)


def test_path_that_is_no_folder_is_an_error(tmp_path: Path) -> None:
    lay_images(tmp_path, "1.png")
    with pytest.raises(DatasetError, match="does not exist"):
        scan(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="is a file, not a folder; give the folder that it is in"):
        scan(tmp_path / "1.png")


def test_unknown_format_is_an_error_that_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="unknown format 'films'; the formats are coco, "):
        scan(lay_images(tmp_path, "1.png"), format="films")


def test_more_files_than_allowed_are_an_error(tmp_path: Path) -> None:
    lay_images(tmp_path, "1.png", "a/2.png", "a/3.png")
    scan(tmp_path, max_files=3)
    with pytest.raises(DatasetError, match=r"more than 2 files \(max_files"):
        scan(tmp_path, max_files=2)


def test_machine_out_of_descriptors_is_no_fault_of_the_dataset(tmp_path: Path) -> None:
    lay_images(tmp_path, "1.png")
    scan(tmp_path)
    with no_descriptors(), pytest.raises(StorageError, match="EMFILE"):
        scan(tmp_path)


def test_progress_counts_every_file_once(tmp_path: Path) -> None:
    lay_images(tmp_path, *(f"{number}.png" for number in range(100)))
    lay(tmp_path, {"notes.dat": b"words", os.fsdecode(b"\xff.png"): b"x"})
    calls: list[tuple[int, int]] = []
    scan(tmp_path, progress=lambda done, total: calls.append((done, total)))
    assert {total for _, total in calls} == {102}
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})
    assert (calls[0][0], calls[-1][0]) == (1, 102)  # the one whose name is not UTF-8 is done before any is read


def test_failing_progress_ends_the_scan_with_its_error(tmp_path: Path) -> None:
    lay_images(tmp_path, *(f"{number}.png" for number in range(200)))

    def fail(done: int, _: int) -> None:
        if done:
            raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        scan(tmp_path, progress=fail)
    assert threading.active_count() == before


def test_sink_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    root = lay_images(tmp_path / "data", "a/1.png", "b/2.png")
    sink = tmp_path / "manifest.arrow"
    dataset = scan(root, sink=sink)
    assert outcome(dataset) == outcome(scan(root)) == outcome(Dataset.open(sink))
    assert {path.name for path in tmp_path.iterdir()} == {"data", "manifest.arrow"}
    with pytest.raises(StorageError, match=r"cannot be written: No such file or directory"):
        scan(root, sink=tmp_path / "nowhere" / "manifest.arrow")


# ------------------------------------------------------------------------------------------------------- determinism

names = st.lists(
    st.tuples(
        st.lists(st.sampled_from(["a", "b", "a-b", "a.b", "é", "A"]), max_size=2),
        st.sampled_from(["1", "2", "1.jpg", "a", "😀"]),
        st.sampled_from(["", ".jpg", ".png", ".dat"]),
    ).map(lambda parts: "/".join([*parts[0], parts[1] + parts[2]])),
    min_size=1,
    max_size=12,
    unique=True,
)


@settings(max_examples=40, deadline=None)
@given(names=names, is_image=st.lists(st.booleans(), min_size=12, max_size=12), shuffler=st.randoms())
def test_outcome_depends_on_the_files_alone(names: list[str], is_image: list[bool], shuffler: random.Random) -> None:
    contents = {
        name: pattern(shade) if is_image[shade] else b"words"
        for shade, name in enumerate(names)
        if not any(other.startswith(f"{name}/") for other in names)  # no file in place of a folder
    }
    with TemporaryDirectory() as first, TemporaryDirectory() as second:
        lay(Path(first), contents)
        shuffled = list(contents.items())
        shuffler.shuffle(shuffled)
        lay(Path(second), dict(shuffled))
        if not any(is_image[names.index(name)] for name in contents):
            with pytest.raises(DatasetError):
                scan(first)
            return
        here, there = scan(first, num_threads=1), scan(second, num_threads=5)
        assert here.digest == there.digest
        assert here.refused == there.refused
        found = here.keys(range(here.num_records))
        assert found == there.keys(range(there.num_records)) == sorted(set(found), key=str.encode)
        assert len(found) + here.num_refused == len(contents)
        assert not {refusal.key for refusal in here.refused} & set(found)
        assert [here.find(key) for key in found] == list(range(len(found)))
        for record in here:
            relative = record.path.relative_to(first).as_posix()
            assert record.key in {relative, keys.without_extension(relative)}


def test_digest_changes_with_content_key_and_class_and_with_nothing_else(tmp_path: Path) -> None:
    files = {"cat/1.png": pattern(1), "dog/1.png": pattern(2)}

    def digest(number: int, files: dict[str, bytes | None]) -> str:
        return scan(lay(tmp_path / str(number), files)).digest

    original = digest(0, {**files})
    assert digest(1, {**files, "README.txt": b"words", "empty": None}) == original
    assert digest(2, {"cat/1.jpg": pattern(1), "dog/1": pattern(2)}) == original  # no key has an extension here
    os.utime(tmp_path / "0" / "cat" / "1.png", (1, 1))
    assert scan(tmp_path / "0").digest == original
    others = [
        digest(3, {**files, "cat/1.png": pattern(3)}),
        digest(4, {"cat/2.png": pattern(1), "dog/1.png": pattern(2)}),
        digest(5, {"cow/1.png": pattern(1), "dog/1.png": pattern(2)}),
        digest(6, {**files, "dog/2.png": pattern(3)}),
        digest(7, {f"train/{name}": data for name, data in files.items()}),
        digest(8, {f"val/{name}": data for name, data in files.items()}),
    ]
    assert len({original, *others}) == 7


def test_new_class_leaves_the_other_records_as_they_are(tmp_path: Path) -> None:
    before = {r.key: r for r in scan(lay_images(tmp_path, "cat/1.png", "dog/1.png"))}
    after = {r.key: r for r in scan(lay(tmp_path, {"ant/1.png": pattern(9)}))}
    assert [after[key].digest for key in before] == [record.digest for record in before.values()]
    assert [(before[key].label, after[key].label) for key in before] == [(0, 1), (1, 2)]


# ---------------------------------------------------------------------------------------------------- what is reused


@pytest.fixture
def num_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the files whose images or masks were read."""
    names: list[str] = []
    real = Examiner._read

    def counted(examiner: Examiner, name: str, part: FileSlice | None) -> read.FileContent | Refused:
        names.append(name)
        return real(examiner, name, part)

    monkeypatch.setattr(Examiner, "_read", counted)
    return names


@pytest.mark.usefixtures("files_are_settled")
def test_second_scan_reads_what_changed_and_nothing_else(tmp_path: Path, num_read: list[str]) -> None:
    root = lay_images(tmp_path / "in", "cat/1.png", "cat/2.png", "cat/3.png", "dog/1.png")
    first = outcome(scan(root))
    num_read.clear()
    assert outcome(scan(root)) == first
    assert num_read == []
    (root / "cat" / "1.png").write_bytes(pattern(7, height=9))
    (root / "cat" / "2.png").write_bytes(pattern(8))
    (root / "cat" / "4.png").write_bytes(pattern(9))
    (root / "dog" / "1.png").write_bytes(b"no image")
    (root / "cat" / "3.png").rename(root / "dog" / "3.png")
    num_read.clear()
    second = scan(root)
    assert sorted(num_read) == ["cat/1.png", "cat/2.png", "cat/4.png", "dog/1.png", "dog/3.png"]
    assert refused(second).keys() == {"dog/1.png"}
    copied = scan(shutil.copytree(root, tmp_path / "copy"))
    assert (second.digest, second.num_records, second.refused) == (copied.digest, 4, copied.refused)


@pytest.mark.usefixtures("files_are_settled")
def test_second_scan_tells_what_reading_loses_without_reading(tmp_path: Path, num_read: list[str]) -> None:
    deep = np.full((4, 4), 0x4242, np.uint16)
    root = lay(tmp_path / "in", {"1.png": hostile.png16(deep), "2.png": pattern(2), "3.png": mask(3)})
    first = scan(root)
    assert first.source.summary.conversions == {"bit_depth": 1, "grey": 2}
    num_read.clear()
    second = scan(root)
    assert outcome(second) == outcome(first)
    assert second.source.summary == replace(first.source.summary, scanned_ns=second.source.summary.scanned_ns)
    assert num_read == []


@pytest.mark.usefixtures("files_are_settled")
@pytest.mark.parametrize("packed", ["webdataset", "parquet", "masks"])
def test_second_scan_of_masks_and_packed_files_reads_no_image(tmp_path: Path, num_read: list[str], packed: str) -> None:
    root = lay(
        tmp_path / "in",
        {f"{folder}/{i}.png": data for i in range(3) for folder, data in (("images", pattern(i)), ("masks", mask(i)))},
    )
    if packed != "masks":
        expand_dataset(root, tmp_path / "out", "light", output_format=packed, copies=1)
        root = tmp_path / "out"
    first = scan(root)
    assert first.targets == {"mask"}
    num_read.clear()
    assert outcome(scan(root)) == outcome(first)
    assert num_read == []


def test_second_scan_reads_a_young_file_again(tmp_path: Path, num_read: list[str]) -> None:
    """Within two seconds a file may change once more and keep its status."""
    root = lay_images(tmp_path, "1.png")
    scan(root)
    num_read.clear()
    scan(root)
    assert num_read == ["1.png"]


@pytest.mark.usefixtures("files_are_settled")
def test_second_scan_believes_nothing_of_a_file_of_equal_size_and_time(tmp_path: Path) -> None:
    """``cp -p``, ``rsync -t`` and ``tar`` set size and time as they like."""
    root = lay_images(tmp_path, "1.png", "2.png", "3.png")
    first = scan(root)
    other = lay(tmp_path / "other", {"1.png": pattern(7)}) / "1.png"
    subprocess.run(["cp", "-p", other, root / "1.png"], check=True)
    lay(root, {"2.png": pattern(8)})
    lay(tmp_path / "other", {"3.png": pattern(9)})
    (tmp_path / "other" / "3.png").rename(root / "3.png")
    for record in first:
        assert (record.path.stat().st_size, record.path.stat().st_mtime) == (record.size_bytes, LONG_AGO_S)
        with pytest.raises(RecordChangedError):
            first.read(record)
    (tmp_path / "other" / "1.png").unlink()
    second = scan(root)
    assert second.digest != first.digest
    assert [second.read(record) for record in second] == [pattern(7), pattern(8), pattern(9)]


@pytest.mark.usefixtures("files_are_settled")
def test_second_scan_is_told_another_class_by_the_layout(tmp_path: Path) -> None:
    root = lay_images(tmp_path, "train/cat/1.png", "bus/1.png")
    scan(root)
    (root / "bus" / "1.png").unlink()
    (root / "bus").rmdir()
    second = scan(root)
    assert (second.classes, second.splits) == (("cat",), {"train": 1})


@pytest.mark.usefixtures("files_are_settled")
def test_second_scan_obeys_lower_limits(tmp_path: Path) -> None:
    root = lay(tmp_path, {"1.png": pattern(1), "2.png": pattern(2, height=100)})
    largest = max(path.stat().st_size for path in root.iterdir())
    scan(root)
    assert refused(scan(root, max_pixels=100))["2.png"][0] is Reason.TOO_MANY_PIXELS
    assert refused(scan(root, max_file_bytes=largest - 1))["2.png"][0] is Reason.TOO_MANY_BYTES
    assert not refused(scan(root))


# ----------------------------------------------------------------------------------------------------------- details


def test_file_that_moves_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "restless"
    path.write_bytes(bytes(2**26))
    stop = threading.Event()

    def write() -> None:
        with path.open("r+b", buffering=0) as file:
            while not stop.wait(0.001):
                file.seek(0)
                file.write(b"x")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        was_noticed = any(not read.read_file(path, max_bytes=2**40).steady for _ in range(200))
    finally:
        stop.set()
        writer.join()
    assert was_noticed
    assert read.read_file(path, max_bytes=2**40).steady


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a.png", "a.png"),
        ("é😀", "é😀"),
        ("a\nb", r"a\nb"),
        ("\x1b[31m", r"\x1b[31m"),
        ("\udce9", r"\xe9"),
        ("\ud800", r"\ud800"),
    ],
)
def test_printable_name_is_one_harmless_line(name: str, shown: str) -> None:
    assert keys.printable(name) == shown
