"""Formats of datasets, and the scan that turns a folder in one of them into a dataset.

To add a format, write a subclass of ``FolderFormat`` or ``ShardFormat`` and add it to ``_ASKED``.
"""

import gc
import os
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from augment import validation
from augment.datasets import keys, manifest
from augment.datasets.dataset import Dataset
from augment.errors import CallError, DatasetError
from augment.formats import evidence
from augment.formats.coco.format import Coco
from augment.formats.csv_table import CsvTable
from augment.formats.files import Watch, grow, watching
from augment.formats.folder import ClassFolders
from augment.formats.format import FolderFormat, Format, Listing, ShardFormat
from augment.formats.imagefolder import ImageFolder
from augment.formats.masks import VALUES_FILE, MaskFolders
from augment.formats.parquet.format import Parquet
from augment.formats.tree import Tree, join
from augment.formats.voc.format import Voc
from augment.formats.webdataset.format import WebDataset
from augment.formats.yolo.format import Yolo
from augment.images import decode
from augment.scanning import assemble
from augment.scanning.assemble import Assembly
from augment.scanning.examine import DEFAULT_MAX_FILE_BYTES, Examiner, ScanLimits
from augment.validation import did_you_mean, quoted

Progress = Callable[[int, int], None]
"""Called with the numbers of files that are done and of all files, from the thread that called the scan."""


_ASKED: tuple[tuple[Format, ...], ...] = (
    # recognised by a file that describes or holds images
    (Coco(), Yolo(), ImageFolder(), CsvTable(), WebDataset(), Parquet()),
    # recognised by folder names
    (Voc(),),
    (MaskFolders(),),
    # the fallback
    (ClassFolders(),),
)
"""Formats in the order of recognition. If two formats of one line recognise a folder, the user must name the format."""

FORMATS: Mapping[str, Format] = {each.name: each for equals in _ASKED for each in equals}


def named(name: str) -> Format:
    """Return the format of this name. Raises DatasetError if the name is unknown."""
    if name not in FORMATS:
        hint = did_you_mean(name, FORMATS)
        raise DatasetError(f"unknown format {quoted(name)}{hint}; the formats are {', '.join(sorted(FORMATS))}")
    return FORMATS[name]


def folder_format(name: str) -> FolderFormat:
    """Return the format of this name. Raises TypeError if its images are not separate files."""
    found = FORMATS[name]
    if not isinstance(found, FolderFormat):
        raise TypeError(f"the format {name} packs its images into shards")
    return found


def shard_format(name: str) -> ShardFormat:
    """Return the format of this name. Raises TypeError if it does not pack its images into shards."""
    found = FORMATS[name]
    if not isinstance(found, ShardFormat):
        raise TypeError(f"the format {name} does not pack its images into shards")
    return found


def recognised(tree: Tree) -> Format:
    """Return the format of a dataset, by evidence. Raises DatasetError if two formats fit equally well."""
    for equals in _ASKED:
        found = [each for each in equals if each.recognise(tree)]
        if len(found) > 1:
            names = " and ".join(f"{each.name}{_shown_by(tree, each)}" for each in found)
            raise DatasetError(
                f"{keys.printable(str(tree.root))} looks like {names}: name the format (--format; for an expansion "
                "--from-format), or give the folder of one of them"
            )
        if found:
            return found[0]
    return FORMATS[ClassFolders.name]


def _shown_by(tree: Tree, each: Format) -> str:
    path = evidence.first(tree, each.name, tree.paths)
    return "" if path is None else f" ({keys.printable(path)})"


def scan(
    root: str | os.PathLike[str],
    *,
    format: str | None = None,  # noqa: A002 - the word of the contract, and the built-in is not used here
    sink: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    max_pixels: int = decode.DEFAULT_MAX_PIXELS,
    max_file_bytes: int = DEFAULT_MAX_FILE_BYTES,
    max_files: int | None = None,
    num_threads: int | None = None,
    bad_annotations: str = assemble.REFUSE,
    ignore: Sequence[str] = (),
    watch: Watch | None = None,
) -> Dataset:
    """Read every file below ``root`` once and describe the dataset; images are probed, not decoded.

    A file that this machine read before and that did not change since is not read again. The manifest is written to
    ``sink``, whole or not at all, or stays in memory. ``ignore`` are patterns as of ``PurePath.match``: files and
    folders whose paths match are left out. ``watch`` is told what is being read. Invalid annotations
    (Reason.ANNOTATION) refuse the scan, with a report of them. ``bad_annotations="leave_out"`` leaves only their
    records out, with rows in the manifest, like files that are not images.

    Raises DatasetError if the folder is missing, its layout is ambiguous or no image in it can be used; StorageError if
    the machine fails.
    """
    if bad_annotations not in assemble.BAD_ANNOTATIONS:
        allowed = " or ".join(assemble.BAD_ANNOTATIONS)
        raise CallError(f"bad_annotations is {bad_annotations!r}; give {allowed}")
    requested = None if format is None else named(validation.text("format", format))
    sink = None if sink is None else validation.path("sink", sink, "the path of a file")
    folder_path = validation.path("root", root).absolute()
    progress = validation.function("progress", progress)
    _check_limits(max_pixels=max_pixels, max_file_bytes=max_file_bytes, max_files=max_files, num_threads=num_threads)
    if not folder_path.is_dir():
        what = (
            "is a file, not a folder; give the folder that it is in"
            if folder_path.exists()
            else "does not exist; give the folder of the dataset"
        )
        raise DatasetError(f"{keys.printable(str(folder_path))} {what}")
    scanned_ns = time.time_ns()
    listing = Listing(is_named=requested is not None, ignore=_patterns(ignore))
    with watching(watch):
        tree = grow(folder_path, listing, max_files=max_files)
        chosen = requested or recognised(tree)
        chosen.find(tree, listing, max_files=max_files)
        _judge_unread(tree, listing, chosen)
    assembly = Assembly(listing)
    for refused in listing.refused:
        assembly.refuse(refused)
    examiner = Examiner(folder_path, ScanLimits(max_pixels, max_file_bytes), listing, watch)
    done = listing.num_files - sum(len(group.names) for group in listing.groups)
    if progress is not None:
        progress(done, listing.num_files)
    with _seldom_collected():
        for some in examiner.examine_all(num_threads=num_threads or _default_threads()):
            for found in some:
                assembly.add(found)
            done += len(some)
            if progress is not None:
                progress(done, listing.num_files)
    _check(assembly, folder_path, chosen, bad_annotations, listing.notices)
    assembled = assembly.finish(format_name=chosen.name, root=str(folder_path), scanned_ns=scanned_ns)
    if sink is None:
        memory = pa.BufferOutputStream()
        manifest.write(memory, assembled.summary, assembled.records, assembled.refused)
        return Dataset.from_buffer(memory.getvalue())
    with manifest.new_file(sink) as file:
        manifest.write(file, assembled.summary, assembled.records, assembled.refused)
    return Dataset.open(sink)


def _judge_unread(tree: Tree, listing: Listing, chosen: Format) -> None:
    """Raise DatasetError if a file that was not read is about the images; make notices of the others.

    If the user named the format, only notices are made.
    """
    images = [path for path in tree.images() if path not in listing.read]
    unread = set(tree.of_suffixes(evidence.KINDS)) - {each.path for each in listing.refused} - listing.read
    if unread:
        unread -= {join(group.folder, name) for group in listing.groups for name in group.names}
    found = list(evidence.judge(tree, unread, images)) if unread else []
    if isinstance(chosen, ClassFolders):
        found += [*evidence.masks_among(images), *evidence.of_no_suffix(tree)]
    about = [each for each in found if each.why is not None]
    if about and not listing.is_named:
        more = f" (and {len(about) - 1:,} more)" if len(about) > 1 else ""
        pattern = evidence.pattern(about, tree.paths - {each.path for each in about})
        raise DatasetError(
            f"{keys.printable(str(tree.root))} was read as {chosen.name}, and {keys.printable(about[0].path)} was not "
            f"read, though {about[0].why}{more}: {about[0].remedy} (--format; for an expansion --from-format), or "
            f"ignore such files (--ignore {shlex.quote(pattern)})"
        )
    listing.notices += evidence.notices(found, tree.num_ignored)


def take(dataset: object, *, bad_annotations: str = assemble.REFUSE) -> Dataset:
    """Return the dataset, or scan the folder if a path is given. Raises CallError for anything else."""
    if isinstance(dataset, Dataset):
        return dataset
    folder_path = validation.path("dataset", dataset, "an augment.Dataset or the path of a folder")
    return scan(folder_path, bad_annotations=bad_annotations)


def _check(assembly: Assembly, folder_path: Path, chosen: Format, bad_annotations: str, notices: Sequence[str]) -> None:
    """Raise DatasetError if the results are not a usable dataset."""
    bad = assembly.refusals.bad_annotations()
    if bad and bad_annotations == assemble.REFUSE:
        raise DatasetError(_bad(folder_path, bad))
    if not assembly.num_records:
        raise DatasetError(_nothing(folder_path, assembly, notices))
    if assembly.are_boxes_shares:
        raise DatasetError(
            f"{keys.printable(str(folder_path))}: all boxes are between 0 and 1, so they seem to be fractions of their "
            f"images; {chosen.name} uses pixels: multiply them by width and height"
        )
    if assembly.binary_mask is not None:
        raise DatasetError(
            f"{keys.printable(str(folder_path))}: all masks hold only 0 and 255, as "
            f"{keys.printable(assembly.binary_mask)} does, and 255 is not a class, so there is no class but 0: replace "
            f"255 by 1; or, for the format masks, put {VALUES_FILE} next to them, with the lines "
            "'Pixel Value,Class', '0,background' and '255,object'"
        )


def _patterns(ignore: Sequence[str]) -> tuple[str, ...]:
    patterns = tuple(validation.text("ignore", each) for each in validation.many("ignore", ignore))
    for each in patterns:
        if not each.strip("/") or each.startswith("/") or ".." in each.split("/"):
            raise CallError(f"ignore has {each!r}; give names or paths below the dataset, like '*.xml' or 'notes/*'")
    return patterns


def _check_limits(**limits: int | None) -> None:
    for name, limit in limits.items():
        if limit is not None:
            validation.integer(name, limit, 1)


@contextmanager
def _seldom_collected() -> Iterator[None]:
    """Make garbage collection rare: a scan makes millions of tuples and no cycles, and it cost a seventh."""
    thresholds = gc.get_threshold()
    gc.set_threshold(200_000, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


def _default_threads() -> int:
    return min(16, (os.cpu_count() or 1) + 4)


def _bad(root: Path, kinds: Sequence[assemble.Kind]) -> str:
    number = sum(kind.number for kind in kinds)
    what = "1 image" if number == 1 else f"{number:,} images"
    report = ", ".join(map(str, kinds))
    return (
        f"{root} has {what} with invalid annotations: {report}: correct them, or leave these images out "
        "(--bad-annotations leave-out; bad_annotations: leave_out)"
    )


def _nothing(root: Path, assembly: Assembly, notices: Sequence[str]) -> str:
    if not assembly.num_refused:
        unread = "; ".join(notices[:3]) + (" …" if len(notices) > 3 else "")
        what = f"no image: {unread}" if notices else "no file"
        return f"{root} holds {what}; put images into it"
    lines = "; ".join(keys.printable(line) for line in assembly.first_refused(3))
    more = " …" if assembly.num_refused > 3 else ""
    return (
        f"{root} has no usable image; all {assembly.num_refused} files in it were refused ({lines}{more}): "
        f"put images into it ({', '.join(decode.ALLOWED)})"
    )
