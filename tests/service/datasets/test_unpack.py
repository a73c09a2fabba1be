import io
import os
import random
import stat
import tarfile
import warnings
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from augment.errors import AugmentError, DatasetError
from augment.workers.files import ProgressFile
from service.datasets.unpack import ArchiveLimits, Unpacked, _Member, _Unpacking, unpack
from service.errors import MalformedError, MediaTypeError, ServiceError, TooLargeError
from tests.service.archives_for_tests import IMAGES, png, tar_member, tar_of, tarred, zip_of, zipped

LIMITS = ArchiveLimits(max_files=100, max_bytes=2**24, max_ratio=100)


def _unpack(data: bytes, folder: Path, limits: ArchiveLimits = LIMITS) -> Unpacked:
    (folder / "upload").write_bytes(data)
    return unpack(folder / "upload", folder / "files", limits, ProgressFile(folder / "progress", "unpacking"))


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "data",
    [
        zipped(), zipped(method=zipfile.ZIP_STORED), tarred(), tarred(mode="w:gz"),
        zipped({f"./{name}": data for name, data in IMAGES.items()}),
    ],
    ids=["zip", "zip stored", "tar", "tar.gz", "with dots"],
)  # fmt: skip
def test_archive_becomes_its_files(tmp_path: Path, data: bytes) -> None:
    unpacked = _unpack(data, tmp_path)
    assert _files(tmp_path / "files") == IMAGES
    assert unpacked == ("", 3, sum(map(len, IMAGES.values())))


@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_foreign_names_are_kept(tmp_path: Path, tar_format: int) -> None:
    names = ["ä/ö ü.png", "x" * 90 + "/" + "y" * 90 + ".png"]
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tar_format) as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 1
            archive.addfile(info, io.BytesIO(b"x"))
    _unpack(file.getvalue(), tmp_path)
    assert sorted(_files(tmp_path / "files")) == sorted(names)


def test_backslashes_in_a_zip_part_paths(tmp_path: Path) -> None:
    names = ["photos\\cat\\1.png", "photos\\dog\\2.png", "photos/dog\\猫.png", "photos\\", "photos\\empty\\"]
    unpacked = _unpack(zip_of(*((_info(name, 0), b"" if name.endswith("\\") else b"x") for name in names)), tmp_path)
    assert set(_files(tmp_path / "files")) == {"photos/cat/1.png", "photos/dog/2.png", "photos/dog/猫.png"}
    assert unpacked.folder == "photos"


@pytest.mark.parametrize(("encoding", "shown"), [("utf-8", "猫/é.png"), ("cp437", "é.png")])
def test_names_of_a_zip_that_marks_no_encoding(tmp_path: Path, encoding: str, shown: str) -> None:
    """Finder of macOS writes UTF-8 without the flag; the oldest programs write code page 437."""
    placeholder = "n" * len(shown.encode(encoding))
    data = zipped({placeholder: b"x"}).replace(placeholder.encode(), shown.encode(encoding))
    _unpack(data, tmp_path)
    assert list(_files(tmp_path / "files")) == [shown]


@pytest.mark.parametrize(
    ("names", "folder"),
    [
        (["photos/cat/1.png", "photos/dog/2.png"], "photos"),
        (["photos/train/cat/1.png", "__MACOSX/photos/._x", "photos/.DS_Store"], "photos"),
        (["cat/1.png", "cat/2.png"], ""),
        (["cat/1.png", "cat/indoors/2.png"], ""),
        (["train/cat/1.png"], ""),
        (["1.png", "cat/2.png"], ""),
        (["1.png"], ""),
    ],
)
def test_a_folder_that_holds_everything_is_the_dataset(tmp_path: Path, names: list[str], folder: str) -> None:
    assert _unpack(zipped(dict.fromkeys(names, b"x")), tmp_path).folder == folder
    assert not any("MACOSX" in name or ".DS_Store" in name for name in _files(tmp_path / "files"))


def _info(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = mode << 16
    return info


def _encrypted() -> bytes:
    data = bytearray(zipped({"cat/1.png": png()}, zipfile.ZIP_STORED))
    data[6] |= 1  # the flag in the member's own header
    data[data.index(b"PK\x01\x02") + 8] |= 1  # and in the directory
    return bytes(data)


def _twice() -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return zip_of((zipfile.ZipInfo("cat/1.png"), b"a"), (zipfile.ZipInfo("cat/1.png"), b"b"))


HOSTILE: dict[str, tuple[bytes, type[Exception]]] = {
    "zip: above": (zipped({"../x.png": b"x"}), DatasetError),
    "zip: above, from inside": (zipped({"cat/../../x.png": b"x"}), DatasetError),
    "zip: absolute": (zipped({"/etc/x.png": b"x"}), DatasetError),
    "zip: backslash": (zip_of((_info("..\\x.png", 0o644 | stat.S_IFREG), b"x")), DatasetError),
    "zip: backslash, absolute": (zip_of((_info("\\\\server\\x.png", 0o644 | stat.S_IFREG), b"x")), DatasetError),
    "zip: backslash, twice": (zipped({"cat/1.png": b"a", "cat\\1.png": b"b"}), DatasetError),
    "tar: backslash": (tarred({"cat\\1.png": b"x"}), DatasetError),
    "zip: link": (zip_of((_info("cat/link", 0o777 | stat.S_IFLNK), b"/etc/passwd")), DatasetError),
    "zip: device": (zip_of((_info("cat/null", 0o666 | stat.S_IFCHR), b"")), DatasetError),
    "zip: twice": (_twice(), DatasetError),
    "zip: twice, by another spelling": (zipped({"cat/1.png": b"a", "./cat//1.png": b"b"}), DatasetError),
    "zip: file and folder": (zipped({"cat": b"a", "cat/1.png": b"b"}), DatasetError),
    "zip: folder and file": (zipped({"cat/1.png": b"b", "cat": b"a"}), DatasetError),
    "zip: encrypted": (_encrypted(), DatasetError),
    "zip: lzma": (zipped(method=zipfile.ZIP_LZMA), MediaTypeError),
    "zip: deep": (zipped({"a/" * 40 + "x.png": b"x"}), DatasetError),
    "zip: long name": (zipped({"a" * 300: b"x"}), DatasetError),
    "zip: bomb": (zipped({"cat/1.png": bytes(2**26)}), TooLargeError),
    "zip: cut short": (zipped()[:-30], MalformedError),
    "zip: only its end": (zipped()[-60:], MediaTypeError),
    "zip: changed": (zipped(method=zipfile.ZIP_STORED).replace(png(1)[60:70], b"0123456789"), MalformedError),
    "tar: above": (tarred({"../x.png": b"x"}), DatasetError),
    "tar: absolute": (tarred({"/x.png": b"x"}), DatasetError),
    "tar: link": (tar_of(tar_member("cat/2.png", tarfile.SYMTYPE, "/etc/passwd")), DatasetError),
    "tar: hard link": (tar_of(tar_member("cat/2.png", tarfile.LNKTYPE, "../../etc/passwd")), DatasetError),
    "tar: hard link inside": (tar_of(tar_member("cat/2.png", tarfile.LNKTYPE, "cat/1.png")), DatasetError),
    "tar: device": (tar_of(tar_member("cat/null", tarfile.CHRTYPE)), DatasetError),
    "tar: pipe": (tar_of(tar_member("cat/pipe", tarfile.FIFOTYPE)), DatasetError),
    "tar: folder above": (tar_of(tar_member("../cat", tarfile.DIRTYPE)), DatasetError),
    "tar: cut in a file": (tarred()[:700], MalformedError),
    "tar: cut between files": (tarred()[: 512 + (len(IMAGES["cat/1.png"]) + 511) // 512 * 512], MalformedError),
    "tar.gz: cut": (tarred(mode="w:gz")[:-40], MalformedError),
    "tar.gz: checksum": (tarred(mode="w:gz")[:-8] + b"\0\0\0\0" + tarred(mode="w:gz")[-4:], MalformedError),
    "tar.gz: bomb": (tarred({"cat/1.png": bytes(2**26)}, mode="w:gz"), TooLargeError),
    "tar.gz: bomb of a header": (tarred({"a" * 2**25: b"x"}, mode="w:gz"), TooLargeError),
    "tar.bz2": (tarred(mode="w:bz2"), MediaTypeError),
    "text": (b"once upon a time" * 100, MediaTypeError),
    "nothing": (b"", MediaTypeError),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused_and_writes_nowhere_else(tmp_path: Path, name: str) -> None:
    data, kind = HOSTILE[name]
    with pytest.raises(kind):
        _unpack(data, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} <= {"upload", "files", "progress"}
    for path in (tmp_path / "files").rglob("*"):
        assert not path.is_symlink()
        assert path.is_file() or path.is_dir()


def test_bounds_hold_where_they_are_said_to_be(tmp_path: Path) -> None:
    for i, (limits, setting) in enumerate(
        [
            (ArchiveLimits(max_files=2, max_bytes=2**24, max_ratio=100), "AUGMENT_MAX_FILES"),
            (ArchiveLimits(max_files=3, max_bytes=1000, max_ratio=100), "AUGMENT_MAX_HOME_BYTES"),
        ]
    ):
        folder = tmp_path / str(i)
        folder.mkdir()
        with pytest.raises(TooLargeError, match=setting):
            _unpack(zipped(), folder, limits)
    (tmp_path / "fits").mkdir()
    assert _unpack(zipped(), tmp_path / "fits", ArchiveLimits(3, 2**24, 100)).num_files == 3
    (tmp_path / "folders").mkdir()
    empty = tar_of(*(tar_member(f"d{i}", tarfile.DIRTYPE) for i in range(10)))
    with pytest.raises(TooLargeError, match="AUGMENT_MAX_FILES"):
        _unpack(empty, tmp_path / "folders", ArchiveLimits(3, 2**24, 100))


def test_members_that_overlap_are_bounded_as_others(tmp_path: Path) -> None:
    # Fifield, "A better zip bomb" (2019): a directory whose entries all point at one member.
    names = [f"cat/{i:03}.png" for i in range(90)]
    member = random.Random(0).randbytes(2**10) * 200
    data = bytearray(zipped(dict.fromkeys(names, member)))
    end = data.index(b"PK\x01\x02")
    first_bytes = data[: data.index(b"PK\x03\x04", 4)]
    directory = bytearray(data[end:])
    place = 0
    while (place := directory.find(b"PK\x01\x02", place)) != -1:
        directory[place + 42 : place + 46] = bytes(4)
        place += 4
    eocd = directory.index(b"PK\x05\x06")
    directory[eocd + 16 : eocd + 20] = len(first_bytes).to_bytes(4, "little")
    with pytest.raises(MalformedError, match="broken"):  # each member's own header has another name than its entry
        _unpack(bytes(first_bytes + directory), tmp_path)


def test_what_a_stopped_upload_wrote_into_does_not_come_back(tmp_path: Path) -> None:
    unpacking = _Unpacking(tmp_path / "files", LIMITS, 1000, ProgressFile(tmp_path / "progress", "unpacking"))
    (tmp_path / "files").rmdir()
    with pytest.raises(OSError, match="No such file"):
        unpacking.take(_Member("cat/1.png", io.BytesIO(b"x")))
    assert list(tmp_path.iterdir()) == []


_WHOLE = {"zip": zipped(), "tar": tarred(), "tar.gz": tarred(mode="w:gz")}


@given(kind=st.sampled_from(sorted(_WHOLE)), seed=st.integers(0, 2**32), num_changes=st.integers(1, 8))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_archive_is_unpacked_or_refused_and_nothing_else(
    tmp_path: Path, kind: str, seed: int, num_changes: int
) -> None:
    chance = random.Random(seed)
    data = bytearray(_WHOLE[kind])
    for _ in range(num_changes):
        data[chance.randrange(len(data))] = chance.randrange(256)
    if chance.random() < 0.3:
        del data[chance.randrange(len(data)) :]
    folder = tmp_path / os.urandom(8).hex()
    folder.mkdir()
    with suppress(AugmentError, ServiceError):
        _unpack(bytes(data), folder)
    assert {path.name for path in folder.iterdir()} <= {"upload", "files", "progress"}
