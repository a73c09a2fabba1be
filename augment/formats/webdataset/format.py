"""WebDataset: tar shards, in which the members that share a base name are one sample.

The base name is a member's path up to the first dot of its last part; the rest gives the member's role:

    {name}.jpg          the image: any of ``shards.IMAGES`` or ``img``; if it is the only one, ``{name}.input.jpg``
    {name}.cls          its class: an index or a name
    {name}.json         an object: members of ``annotations`` are the image's, all others go into ``extra``
    {name}.txt          a text, which goes into ``extra`` as ``txt``
    {name}.mask.png     its mask: ``mask``, ``seg`` or ``segmentation``, as PNG, TIFF, BMP or GIF

Other members are left out; their number by kind is in the summary's ``details``. A member is refused by name if it is
not a plain file, leads out of the tar (``../x``, ``/x``) or occurs twice. See ``shards`` for the shards, their splits
and the names of records. The names of classes are read from ``dataset_info.json`` in the root (``classes``, or a
``ClassLabel`` of ``features``), or else from ``classes.txt``, one a line.

Written tars are ustar (POSIX.1-1988; pax if a name is too long for it), without time or owner. A dot in the last part
of a key, where readers would cut the name, is written as ``%2E``. A first part like ``__x__``, which they would skip,
is written as ``%5F_x__``. Text that looks like one of these has ``%25`` for its percent sign.
"""

import functools
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from augment.datasets import keys, read
from augment.errors import DatasetError
from augment.formats.files import Lazily
from augment.formats.format import (
    Described,
    FileGroup,
    Listing,
    MaskPlace,
    Output,
    OutputDataset,
    Packed,
    RefusedPath,
    ShardFormat,
    StreamedFile,
    WrittenFile,
)
from augment.formats.shared import shards
from augment.formats.shared.class_names import NO_CLASS, ClassValues, NamesInUse
from augment.formats.shared.shards import HAS_NAMES, ShardFile, carrying, parsed
from augment.formats.tree import Tree
from augment.formats.webdataset.samples import IMAGES, Samples, base_name, key, read_shard
from augment.formats.webdataset.tar_index import TarError
from augment.images import decode
from augment.samples.annotations import NOTHING, Annotations

_END = bytes(2 * tarfile.BLOCKSIZE)


def tar(members: Iterable[tuple[str, bytes]]) -> bytes:
    """Return a tar of these names and contents, in this order, with its end."""
    pieces: list[bytes] = []
    for name, content in members:
        header = tarfile.TarInfo(name)
        header.size = len(content)
        pieces += (_header(header), content, bytes(-len(content) % tarfile.BLOCKSIZE))
    return b"".join([*pieces, _END])


def _header(header: tarfile.TarInfo) -> bytes:
    try:
        return header.tobuf(tarfile.USTAR_FORMAT)
    except ValueError:  # the name does not fit into ustar's 100 bytes and a prefix of 155
        return header.tobuf(tarfile.PAX_FORMAT)


_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tar.lz4", ".tar.lz")
_BY_FORMAT = {"jpeg": "jpg", "tiff": "tif"} | {name: name for name in ("bmp", "gif", "png", "ppm", "webp")}


class WebDataset(ShardFormat):
    """WebDataset: tar shards, in which the members that share a base name are one sample."""

    name = "webdataset"
    writes = frozenset({"label", "labels", "mask", "boxes", "instance_masks", "keypoints"})

    def recognise(self, tree: Tree) -> bool:
        """Return True if there are tars, and no separate images."""
        return shards.recognise(tree, ".tar")

    def find(self, tree: Tree, listing: Listing, *, max_files: int | None = None) -> None:
        """Read the headers of all shards, and the members that name classes.

        Raises DatasetError if a file is not a shard or is truncated, the splits are ambiguous or there are more than
        ``max_files`` samples; StorageError.
        """
        root = tree.root
        info = shards.read_info(root)
        found = shards.find(tree, listing, ".tar", splits=info.splits, refused=_COMPRESSED)
        names = NamesInUse(ClassValues(info.classes), info.keypoint_names)
        read_ones: list[Samples] = []
        left_out: Counter[str] = Counter()
        for shard in found:
            samples = _read(root, shard)
            read_ones.append(samples)
            _note_names(names, samples)
            left_out.update(samples.left_out)
            listing.refused += [_named(shard, refused) for refused in samples.refused]
            listing.num_files += len(samples.members) + len(samples.refused)
            if max_files is not None and listing.num_files > max_files:
                raise DatasetError(
                    f"{root} holds more than {max_files} samples (max_files); split it, or raise the limit"
                )
        own = [[key(member) for member in samples.members] for samples in read_ones]
        name = shards.names_of(found, own, lambda number, i: own[number][i])
        for number, (shard, samples) in enumerate(zip(found, read_ones, strict=True)):
            describe = functools.partial(_described, shard, samples, names, functools.partial(name, number))
            described = Lazily(len(samples.members), describe)
            listing.groups.append(FileGroup(shard.path, tuple(samples.members), shard.split, described=described))
        listing.classes = names.values.classes
        listing.keypoint_names = names.keypoint_names
        listing.details = {"left_out": dict(left_out)} if left_out else {}

    def closing(self, outputs: Callable[[], Iterator[Output]], whole: OutputDataset) -> Iterator[StreamedFile]:
        """Yield ``dataset_info.json``: names of classes (the shards hold their indices), of keypoints and of splits."""
        yield shards.info_file(whole)

    def pack(self, outputs: Sequence[Packed], whole: OutputDataset, *, split: str | None, index: int) -> WrittenFile:
        """Pack ``{split}-{index:06d}.tar`` or ``shard-{index:06d}.tar``: image, ``.cls``, ``.json`` and mask of each.

        Samples of a dataset with classes all have a ``.cls``, which is -1 for an image without a class, and all have a
        ``.json``: readers expect the same members in every sample.
        """
        classes = {name: i for i, name in enumerate(whole.classes)}
        data = tar(member for packed in outputs for member in _members(packed, whole, classes))
        return WrittenFile(f"{split or 'shard'}-{index:06d}.tar", data)


def _read(root: Path, shard: ShardFile) -> Samples:
    path = root / shard.path
    try:
        return read_shard(path)
    except TarError as error:
        raise DatasetError(f"{keys.printable(path)} {error}") from error
    except read.NotAFileError as error:
        raise DatasetError(f"{keys.printable(path)} is {error}; remove it") from error
    except OSError as error:
        raise shards.unreadable(path, error) from error


def _named(shard: ShardFile, refused: RefusedPath) -> RefusedPath:
    return RefusedPath(shard.named(f"{keys.printable(shard.below)}/{refused.path}"), refused.reason, refused.detail)


def _note_names(names: NamesInUse, samples: Samples) -> None:
    """Collect the names in a shard; its .json members are read only if something is not listed."""
    for value in samples.values:
        if value is not None:
            names.values.note(value)
    for i in range(0 if names.complete else len(samples.members)):
        try:
            text = samples.text(i, "json")
            if text is not None and HAS_NAMES.search(text):
                names.note(parsed(text, "its .json"))
        except ValueError:
            continue  # reported when the record is examined


def _described(shard: ShardFile, samples: Samples, names: NamesInUse, name: Callable[[int], str], i: int) -> Described:
    """Return the description of sample ``i`` of a shard."""
    class_name, problem = None, samples.problems.get(i)
    if problem is None:
        class_name, problem = names.values.name_or_problem(samples.values[i])
    mask, said = samples.part(i, "mask"), samples.part(i, "json") or samples.part(i, "txt")
    return Described(
        annotate=None if said is None else functools.partial(_annotate, samples, names, i),
        mask=None if mask is None else MaskPlace(shard.path, mask),
        class_name=class_name,
        named=name(i) + keys.extension(samples.members[i]).lower(),
        part=samples.part(i, "image"),
        problem=problem,
    )


def _annotate(samples: Samples, names: NamesInUse, i: int, height: int, width: int) -> Annotations | None:  # noqa: ARG001
    text, caption = samples.text(i, "json"), samples.text(i, "txt")
    said = NOTHING if text is None else parsed(text, "its .json")
    if caption is not None:
        said = carrying(said, {"txt": caption})
    names.check(said)
    return None if said == NOTHING else said


def _members(packed: Packed, whole: OutputDataset, classes: Mapping[str, int]) -> Iterator[tuple[str, bytes]]:
    output = packed.output
    name = base_name(output.name)
    said = output.annotations
    extra = dict(said.extra or {})
    caption = extra.get("txt")
    if isinstance(caption, str):
        del extra["txt"]
        said = replace(said, extra=extra or None)
    yield f"{name}.{_extension(packed)}", packed.image
    if "label" in whole.targets:
        index = NO_CLASS if output.class_name is None else classes[output.class_name]
        yield f"{name}.cls", str(index).encode()
    yield f"{name}.json", said.to_json().encode()
    if isinstance(caption, str):
        yield f"{name}.txt", caption.encode()
    if packed.mask is not None:
        yield f"{name}.mask.png", packed.mask


def _extension(packed: Packed) -> str:
    extension = (packed.output.extension or keys.extension(packed.output.key)[1:]).lower()
    if extension in IMAGES:
        return extension
    return _BY_FORMAT[decode.probe(packed.image).format]
