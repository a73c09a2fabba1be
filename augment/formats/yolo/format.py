"""The YOLO format: one text file of lines a picture, and a ``data.yaml`` with the names of classes and the splits.

    data.yaml                      names, train, val, test; kpt_shape and flip_idx of poses
    images/train/{name}.jpg
    labels/train/{name}.txt        see ``labels``

- **Places** of a split are folders (with all below), lists of pictures (``.txt``), or several of them, relative to
  ``path`` of data.yaml where that is a folder in the dataset, else to data.yaml's own. ``../train/images``, as Roboflow
  writes it from beside the folder, is looked for inside. A place outside of the dataset's folder is an error, one that
  is not there is refused; so is a picture in no place, or in those of two splits in the later one.
- **Lines** of a picture are where the last ``images`` on its way is replaced by ``labels`` and its extension by
  ``.txt``. No file, or an empty one, says that nothing is in the picture.
- **Splits** are called as the keys: ``train``, ``val``, ``test``. Where ``train`` alone is given and its place does not
  have the name of a split, there are no splits; so it is written.
- **Darknet's layout**, without data.yaml: names in ``obj.names`` or ``classes.txt``, splits in ``obj.data`` or
  ``train.txt`` and ``valid.txt``, else as for folders.
- **Oriented boxes** have the nine columns of outlines of four points. Where all lines of the first files have nine they
  are taken for them and refused; ``task: segment`` in data.yaml says otherwise.
- **Names** of keypoints are ``kpt_names`` of data.yaml where it has them, else ``0``, ``1`` … Poses and masks cannot be
  in one dataset.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice

from augment.datasets import keys
from augment.errors import DatasetError, OutputError, Reason, RecordError
from augment.formats.files import add_pictures, refuse
from augment.formats.format import Described, FolderFormat, Listing, Output, StreamedFile, Whole, WrittenFile
from augment.formats.shared import object_rules
from augment.formats.tree import Tree
from augment.formats.yolo import config, labels, layout
from augment.formats.yolo.config import Config
from augment.formats.yolo.labels import Words
from augment.samples.annotations import Annotations

_MAX_LABEL_BYTES = 16 * 2**20
_ORIENTED_COLUMNS = 9
_LOOKED_AT = 200
"""Files of lines that are looked at for oriented boxes."""


class Yolo(FolderFormat):
    """Ultralytics YOLO: data.yaml and a label file for each image."""

    name = "yolo"
    writes = frozenset({"boxes", "instance_masks", "keypoints"})
    tells_crowds = False

    def recognise(self, tree: Tree) -> bool:
        """Return True if there is a data.yaml, darknet's list of names, or a file of lines for an image."""
        return layout.recognise(tree)

    def find(self, tree: Tree, listing: Listing, *, max_files: int | None = None) -> None:
        """List the pictures of all splits; opens none. Raises DatasetError, StorageError."""
        files = tree
        config = layout.config(files)
        splits = layout.pictures(files, config, listing)
        listing.splits = tuple(split for split in splits if split is not None)
        listing.classes = config.words.classes
        listing.keypoint_names = config.words.keypoint_names
        listing.details = config.details
        _check_not_oriented(files, config, splits)
        taken: dict[str, str | None] = {}
        for split, names in splits.items():
            prefix = "" if split is None else f"{split}/"
            own: dict[str, str] = {}
            for path, name in names.items():
                if path in taken:
                    detail = f"it is in {taken[path]} too; take it out of one of them"
                    refuse(listing, f"{prefix}{name}", Reason.MISPLACED, detail)
                else:
                    taken[path] = split
                    own[path] = f"{prefix}{name}"
            add_pictures(listing, own, split, partial(_describe, files, config.words, own))
        listing.read.update(layout.label_path(picture) for picture in files.pictures())
        listing.read.update(layout.files_of_dataset(files, config))
        for path in layout.lines_of_none(files, files.pictures()):
            refuse(listing, path, Reason.ANNOTATION, "no picture: none has these lines by its name; rename one of both")
        for path in sorted(files.pictures()):
            if path not in taken:
                refuse(listing, path, Reason.MISPLACED, f"it lies in no place that {config.file} names")

    def picture_path(self, output: Output) -> str:
        """Below ``images`` and the split. Lines go by the name less its extension, so that one is always added."""
        extension = output.extension or keys.extension(output.key).removeprefix(".")
        folder = "images" if output.split is None else f"images/{output.split}"
        return f"{folder}/{output.name}.{extension}"

    def sidecars(self, output: Output, whole: Whole) -> Sequence[WrittenFile]:
        """Its lines, none where nothing is in the picture; no file where nothing is said about it.

        Raises RecordError where YOLO cannot say it, OutputError where the dataset has both keypoints and masks.
        """
        if output.annotations.boxes is None and not output.annotations.keypoints:
            return ()
        words = _words(whole)
        said = output.annotations
        lacks = object_rules.without_class(said, whole.classes)
        if lacks is None and words.keypoint_names:
            lacks = object_rules.lacking(said)
        if lacks is not None:
            raise RecordError(output.key, Reason.NOT_RENDERABLE, lacks)
        outlines = "instance_masks" in whole.targets
        lines = labels.write(said, words, height=output.height, width=output.width, outlines=outlines)
        return (WrittenFile(layout.label_path(self.picture_path(output)), lines.encode()),)

    def closing(self, outputs: Callable[[], Iterator[Output]], whole: Whole) -> Iterator[StreamedFile]:
        """The data.yaml."""
        splits = list(dict.fromkeys(output.split for output in outputs()))
        words = _words(whole)
        flip_idx = whole.details.get("flip_idx") if whole.source_format == self.name else None
        flip_idx = flip_idx or config.mirrored(words.keypoint_names)
        text = config.written(words, splits, flip_idx, has_outlines="instance_masks" in whole.targets)
        yield StreamedFile("data.yaml", iter([text.encode()]))


def _words(whole: Whole) -> Words:
    poses = "keypoints" in whole.targets
    if poses and "instance_masks" in whole.targets:
        raise OutputError(
            "YOLO writes keypoints or masks of objects, not both, and this dataset has both; write it as COCO"
        )
    return config.of_output(whole.classes, whole.keypoint_names if poses else ())


def _describe(files: Tree, words: Words, names: dict[str, str], path: str) -> Described:
    return Described(annotate=partial(_annotations, files, words, path), named=names[path])


def _annotations(files: Tree, words: Words, path: str, height: int, width: int) -> Annotations:
    return labels.parse(_lines(files, path), words, height=height, width=width)


def _lines(files: Tree, path: str) -> str:
    label = layout.label_path(path)
    if label not in files.paths:
        return ""
    try:
        return files.read_text(label, max_bytes=_MAX_LABEL_BYTES)
    except ValueError as error:
        raise ValueError(f"unreadable annotations: {error}") from error


def _check_not_oriented(files: Tree, config: Config, splits: dict[str | None, dict[str, str]]) -> None:
    if config.outlines or config.words.keypoint_names:
        return
    first = islice(sorted(path for names in splits.values() for path in names), _LOOKED_AT)
    columns: set[int] = set()
    for path in first:
        try:
            columns |= {len(line.split()) for line in _lines(files, path).splitlines()}
        except ValueError:  # the record will be refused for it
            continue
    if columns - {0} == {_ORIENTED_COLUMNS}:
        raise DatasetError(
            f"{keys.printable(str(files.root))}: all lines have nine columns, as oriented boxes have, which are not "
            f"read here; if they are outlines of four points, write `task: segment` into {config.file}"
        )
