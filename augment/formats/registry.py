"""The formats that a dataset can have, and the scan that turns a folder of one into a dataset.

A format is a module with the names of ``Format``. To add one, write the module and name it in ``FORMATS``.
"""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from augment import arguments, decode, keys, manifest
from augment.dataset import Dataset
from augment.errors import DatasetError
from augment.formats import folder
from augment.formats.assemble import Assembly
from augment.formats.listing import Listing
from augment.formats.previous import Previous
from augment.formats.scan import DEFAULT_MAX_FILE_BYTES, Examiner, Limits
from augment.formats.watch import Watch
from augment.sample import Record

Progress = Callable[[int, int], None]
"""Called with the number of files that are done and the number of all, from the thread that called the scan."""


class Format(Protocol):
    """How a dataset lies on disk: how its files are found, and where the files of an expansion go."""

    NAME: str

    def find(self, root: Path, *, max_files: int | None = None, watch: Watch | None = None) -> Listing:
        """List the files that may be records; open none. Raises DatasetError where the layout is ambiguous.

        ``watch`` is told of each folder before it is read.
        """
        ...

    def output_path(self, key: str, copy: int, extension: str) -> str:
        """The path of a copy, relative to the output folder; ``extension`` is without its dot."""
        ...

    def original_path(self, record: Record) -> str:
        """The path of an unchanged original, relative to the output folder."""
        ...


FORMATS: Mapping[str, Format] = {folder.NAME: folder}


def scan(
    root: str | os.PathLike[str],
    *,
    format: str | None = None,  # noqa: A002 - the word of the contract, and the built-in is not used here
    sink: str | os.PathLike[str] | None = None,
    previous: Dataset | None = None,
    progress: Progress | None = None,
    max_pixels: int = decode.DEFAULT_MAX_PIXELS,
    max_file_bytes: int = DEFAULT_MAX_FILE_BYTES,
    max_files: int | None = None,
    num_threads: int | None = None,
    watch: Watch | None = None,
) -> Dataset:
    """Read every file below ``root`` once and describe what is there; pictures are probed, not decoded.

    The manifest is written to ``sink``, whole or not at all, or stays in memory. ``previous`` is an earlier scan of the
    same folder: a file whose size and mtime are unchanged is not read again. ``watch`` is told what is read. Raises
    DatasetError where there is no such folder, its layout is ambiguous or no picture in it can be used; StorageError
    where the machine fails.
    """
    chosen = _format(format)
    sink = None if sink is None else arguments.path("sink", sink, "the path of a file")
    folder_path = arguments.path("root", root).absolute()
    progress = arguments.function("progress", progress)
    _check_limits(max_pixels=max_pixels, max_file_bytes=max_file_bytes, max_files=max_files, num_threads=num_threads)
    if previous is not None:
        arguments.instance("previous", previous, Dataset, "give an earlier scan of the same folder, or None")
    if not folder_path.is_dir():
        what = (
            "is a file, not a folder; give the folder it lies in"
            if folder_path.exists()
            else "does not exist; give the folder of the dataset"
        )
        raise DatasetError(f"{keys.printable(str(folder_path))} {what}")
    scanned_ns = time.time_ns()
    listing = chosen.find(folder_path, max_files=max_files, watch=watch)
    assembly = Assembly(listing.splits)
    for refused in listing.refused:
        assembly.refuse(refused)
    examiner = Examiner(folder_path, Limits(max_pixels, max_file_bytes), _usable(previous, chosen, folder_path), watch)
    if watch is not None:
        watch.done()
    done = listing.num_files - sum(len(group.names) for group in listing.groups)
    if progress is not None:
        progress(done, listing.num_files)
    for some in examiner.examine_all(listing.groups, num_threads=num_threads or _default_threads()):
        for found in some:
            assembly.add(found)
        done += len(some)
        if progress is not None:
            progress(done, listing.num_files)
    if not assembly.num_records:
        raise DatasetError(_nothing(folder_path, assembly))
    assembled = assembly.finish(format_name=chosen.NAME, root=str(folder_path), scanned_ns=scanned_ns)
    if sink is None:
        memory = pa.BufferOutputStream()
        manifest.write(memory, assembled.summary, assembled.records, assembled.refused)
        return Dataset.from_buffer(memory.getvalue())
    with manifest.new_file(sink) as file:
        manifest.write(file, assembled.summary, assembled.records, assembled.refused)
    return Dataset.open(sink)


def take(dataset: object) -> Dataset:
    """What a function is given as its dataset: one, or the path of a folder, which is scanned; CallError else."""
    if isinstance(dataset, Dataset):
        return dataset
    return scan(arguments.path("dataset", dataset, "an augment.Dataset or the path of a folder"))


def _check_limits(**limits: int | None) -> None:
    for name, limit in limits.items():
        if limit is not None:
            arguments.integer(name, limit, 1)


def _format(name: str | None) -> Format:
    if name is None:
        return folder
    if arguments.text("format", name) not in FORMATS:
        raise DatasetError(f"there is no format {name!r}; there is {', '.join(sorted(FORMATS))}")
    return FORMATS[name]


def _default_threads() -> int:
    return min(16, (os.cpu_count() or 1) + 4)


def _usable(previous: Dataset | None, chosen: Format, root: Path) -> Previous | None:
    if previous is None or (previous.format, previous.root) != (chosen.NAME, root):
        return None
    return Previous(previous.source)


def _nothing(root: Path, assembly: Assembly) -> str:
    if not assembly.num_refused:
        return f"{root} holds no file; put pictures into it"
    lines = "; ".join(keys.printable(line) for line in assembly.first_refused(3))
    more = " …" if assembly.num_refused > 3 else ""
    return (
        f"{root} has no picture that can be used; all {assembly.num_refused} files in it were refused ({lines}{more}): "
        f"put pictures into it ({', '.join(decode.ALLOWED)})"
    )
