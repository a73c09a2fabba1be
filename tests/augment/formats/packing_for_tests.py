"""Shards written as in an expansion, without rendering; and tars made header by header."""

import io
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from augment.formats.format import Output, OutputDataset, Packed
from augment.scanning import scan
from tests.augment.folders_for_tests import lay


def pack(root: Path, format_name: str, packed: Sequence[Packed], whole: OutputDataset, *, shard_size: int = 3) -> Path:
    """Write outputs into shards of this many, and the files that describe the dataset."""
    chosen = scan.shard_format(format_name)
    ordered = sorted(packed, key=lambda each: (each.output.split or "", each.output.key.encode()))
    files: dict[str, bytes | None] = {}
    for split, group in groupby(ordered, key=lambda each: each.output.split):
        some = list(group)
        for index in range(0, len(some), shard_size):
            file = chosen.pack(some[index : index + shard_size], whole, split=split, index=index // shard_size)
            assert file.path not in files
            files[file.path] = file.data

    def again() -> Iterator[Output]:
        return iter([each.output for each in ordered])

    for streamed in chosen.closing(again, whole):
        assert streamed.path not in files
        files[streamed.path] = b"".join(streamed.pieces)
    return lay(root, files)


def tar_of(members: Mapping[str, bytes], *, tar_format: int = tarfile.USTAR_FORMAT) -> bytes:
    """Return a tar written by Python's own writer."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tar_format) as tar:
        for name, data in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    return file.getvalue()


def header(name: bytes, size: bytes = b"00000000000", *, kind: bytes = b"0", prefix: bytes = b"") -> bytes:
    """Return one header with a correct checksum; ``size`` are the 12 bytes of the field, or fewer."""
    block = bytearray(512)
    block[: len(name)] = name
    block[100:108] = b"0000644\0"
    block[124 : 124 + len(size)] = size
    block[136:148] = b"00000000000\0"
    block[156:157] = kind
    block[257:265] = b"ustar\00000"
    block[345 : 345 + len(prefix)] = prefix
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(content: bytes) -> bytes:
    """Return the content, filled up to whole blocks."""
    return content + bytes(-len(content) % 512)


def octal(number: int) -> bytes:
    """Return a size as tars write it."""
    return b"%011o\0" % number
