"""Headers of tars: Python's tars are read correctly, and hostile tars are refused."""

import contextlib
import io
import os
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.datasets import read
from augment.formats.webdataset import format as tar_writing
from augment.formats.webdataset import tar_index
from augment.formats.webdataset.tar_index import Member, TarError
from tests.augment.formats.packing_for_tests import header, octal, padded, tar_of

END = bytes(1024)


def members(path: Path, data: bytes) -> list[Member]:
    path.write_bytes(data)
    return list(tar_index.members(path))


@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_those_that_were_written(tar_format: int, tmp_path: Path) -> None:
    long = {} if tar_format == tarfile.USTAR_FORMAT else {"x" * 300 + ".png": b"long", "ü" * 200: b"longer"}
    contents = {"a.png": b"1" * 700, "ü/b.cls": b"", f"{'d' * 90}/{'e' * 90}": b"prefix", **long, "z": bytes(512)}
    data = tar_of(contents, tar_format=tar_format)
    found = members(tmp_path / "x.tar", data)
    assert {each.name.decode(): data[each.offset : each.offset + each.size_bytes] for each in found} == contents
    assert {each.kind for each in found} == {None}


def test_a_tar_cut_anywhere_is_refused_or_whole(tmp_path: Path) -> None:
    contents = {f"{name}.png": name.encode() * 300 for name in "abc"}
    for tar_format in (tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT):
        last = "d/" * 60 if tar_format == tarfile.USTAR_FORMAT else "ü" * 150
        data = tar_of({**contents, f"{last}x": b"x"}, tar_format=tar_format)
        whole = members(tmp_path / "x.tar", data)
        content_end = whole[-1].offset + 512
        for length in range(0, len(data), 64):
            if length < content_end + 512:
                with pytest.raises(TarError, match=r"truncated|not a tar"):
                    members(tmp_path / "x.tar", data[:length])
            else:  # one empty block ends the tar
                assert members(tmp_path / "x.tar", data[:length]) == whole


def test_kinds_that_are_no_files_are_named(tmp_path: Path) -> None:
    kinds = {b"1": "hard link", b"2": "symbolic link", b"3": "device", b"4": "device", b"5": "folder", b"6": "pipe"}
    for kind, words in kinds.items():
        found = members(tmp_path / "x.tar", header(b"x", octal(5), kind=kind) + header(b"after") + END)
        assert words in (found[0].kind or "")
        assert found[1].name == b"after", "what it says of its size is not skipped"
    found = members(tmp_path / "x.tar", header(b"x", octal(5), kind=b"Z") + padded(b"12345") + header(b"after") + END)
    assert [each.kind for each in found] == ["of the unknown type b'Z'", None]
    assert members(tmp_path / "x.tar", header(b"x/", kind=b"\0") + END)[0].kind == "a folder", "as old tars have it"


def test_sparse_files_are_named_and_passed_over(tmp_path: Path) -> None:
    old = bytearray(header(b"sparse", octal(512), kind=b"S"))
    old[482] = 1
    old[148:156] = b" " * 8
    old[148:156] = b"%06o\0 " % sum(old)
    more = bytearray(512)
    more[504] = 1
    data = bytes(old) + bytes(more) + bytes(512) + bytes(b"d" * 512) + header(b"after") + END
    assert [each.kind for each in members(tmp_path / "x.tar", data)] == ["a sparse file", None]
    pax = pax_header(b"GNU.sparse.major=1", b"GNU.sparse.name=real.png")
    found = members(tmp_path / "x.tar", pax + header(b"x", octal(4)) + padded(b"1234") + END)
    assert (found[0].name, found[0].kind) == (b"real.png", "a sparse file")
    with pytest.raises(TarError, match="map of a sparse file"):
        members(tmp_path / "x.tar", bytes(old) + bytes(more)[:100])


def pax_header(*records: bytes, kind: bytes = b"x") -> bytes:
    lines = []
    for record in records:
        length = len(record) + 2
        while length != len(record) + 2 + len(str(length)):
            length = len(record) + 2 + len(str(length))
        lines.append(b"%d %s\n" % (length, record))
    content = b"".join(lines)
    return header(b"pax", octal(len(content)), kind=kind) + padded(content)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (header(b"x", b"\xff" * 12), "an invalid number"),
        (header(b"x", b"-0000000001\0"), "an invalid number"),
        (header(b"x", b"0o17"), "an invalid number"),
        (header(b"x", b"1_0"), "an invalid number"),
        (header(b"x", b"\x80" + b"\xff" * 11), "its member 'x' would end at"),
        (header(b"x", b"77777777777\0"), "its member 'x' would end at"),
        (header(b"x", octal(600)) + bytes(512), "its member 'x' would end at"),
        (b"x" * 512, "no tar header at byte 0|invalid number"),
        (b"", "without the empty blocks"),
        (header(b"x"), "without the empty blocks"),
        (header(b"x")[:-1], "without the empty blocks"),
        (END + header(b"behind"), "more data after its end"),
        (header(b"long", octal(2**21), kind=b"L") + bytes(2**21), "a header of 2097152 bytes"),
        (header(b"long", octal(600), kind=b"L") + bytes(512), "would end at"),
        (header(b"long", octal(3), kind=b"L") + padded(b"abc") + END, "after a header that belongs to a member"),
        (pax_header(b"size=-1") + header(b"x") + END, "a member of b'-1' bytes"),
        (pax_header(b"size=" + b"9" * 30) + header(b"x") + END, "bytes at byte"),
        (pax_header(b"path=all", kind=b"g") + header(b"x") + END, "gives all members the same name"),
        (header(b"p", octal(8), kind=b"x") + padded(b"99 a=bc\n") + header(b"x") + END, "an invalid pax header"),
        (header(b"p", octal(8), kind=b"x") + padded(b"0 a=bcd\n") + header(b"x") + END, "an invalid pax header"),
        (b"\x1f\x8b" + bytes(600), "is compressed .gzip."),
        (b"BZh9" + bytes(600), "is compressed .bzip2."),
        (b"\xfd7zXZ\0" + bytes(600), "is compressed .xz."),
        (b"\x28\xb5\x2f\xfd" + bytes(600), "is compressed .zstandard."),
    ],
)
def test_what_no_tar_says_is_refused(data: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(TarError, match=words) as caught:
        members(tmp_path / "x.tar", data)
    assert "\n" not in str(caught.value)


def test_a_chain_of_headers_costs_no_depth(tmp_path: Path) -> None:
    chain = (header(b"long", octal(3), kind=b"L") + padded(b"abc")) * 5000
    assert [each.name for each in members(tmp_path / "x.tar", chain + header(b"x") + END)] == [b"abc"]


def test_sizes_of_base_256_are_read(tmp_path: Path) -> None:
    data = header(b"x", b"\x80" + bytes(9) + b"\x02\x00") + bytes(512) + header(b"after") + END
    assert [each.size_bytes for each in members(tmp_path / "x.tar", data)] == [512, 0]


def test_checksums_over_bytes_with_a_sign_are_right_too(tmp_path: Path) -> None:
    block = bytearray(header("ü".encode()))
    unsigned = int(block[148:154], 8)
    block[148:156] = b"%06o\0 " % (unsigned - 2 * 256)
    assert [each.name.decode() for each in members(tmp_path / "x.tar", bytes(block) + END)] == ["ü"]
    block[148:156] = b"%06o\0 " % (unsigned - 256)
    with pytest.raises(TarError, match="no tar header"):
        members(tmp_path / "x.tar", bytes(block) + END)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.tar")
    with pytest.raises(read.NotAFileError, match="named pipe"):
        list(tar_index.members(tmp_path / "x.tar"))


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_a_damaged_tar_is_refused_or_its_members_lie_within_it(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        whole = bytearray(tar_of({"a.png": b"1" * 700, "b" * 120: b"2"}, tar_format=tarfile.PAX_FORMAT))
        for place, value in data.draw(
            st.lists(st.tuples(st.integers(0, 4095), st.integers(0, 255)), min_size=1, max_size=4)
        ):
            whole[place] = value
        if data.draw(st.booleans()):  # with correct checksums, so that the fields they protect are read
            for start in range(0, 4096, 512):
                whole[start + 148 : start + 156] = b" " * 8
                whole[start + 148 : start + 156] = b"%06o\0 " % sum(whole[start : start + 512])
        with contextlib.suppress(TarError):
            for member in members(Path(folder) / "x.tar", bytes(whole)):
                assert 512 <= member.offset <= member.offset + member.size_bytes <= len(whole)


def test_our_tars_are_those_of_others(tmp_path: Path) -> None:
    contents = {"a.png": b"1" * 700, f"{'d' * 200}/{'e' * 99}.png": b"2", "ü.cls": b"", "x" * 200: b"3"}
    data = tar_writing.tar(contents.items())
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        files = {member.name: tar.extractfile(member) for member in tar}
        assert {name: file.read() for name, file in files.items() if file is not None} == contents
        assert all((member.mtime, member.uid, member.uname) == (0, 0, "") for member in tar)
    assert [each.name.decode() for each in members(tmp_path / "x.tar", data)] == list(contents)
