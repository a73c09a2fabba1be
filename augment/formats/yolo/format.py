"""YOLO format: one text file of lines an image, and a ``data.yaml`` with the names of classes and the splits.

    data.yaml                      names, train, val, test; kpt_shape and flip_idx of poses
    images/train/{name}.jpg
    labels/train/{name}.txt        see ``labels``

- **Places** of a split are folders (with all below), lists of images (``.txt``), or several of them. They are relative
  to ``path`` of data.yaml if that is a folder in the dataset, or else to data.yaml's own folder. ``../train/images``,
  as Roboflow writes it, is searched inside the dataset. Paths that begin with the dataset's own name or come from
  another machine are searched by their ends, if all begin alike. A place outside the dataset's folder is an error, a
  missing one is refused. An image in no place is refused, and so is an image of two splits in the later one.
- **Lines** of an image are in the path with the last ``images`` replaced by ``labels`` and the extension by ``.txt``.
  If the file is missing or empty, the image has no objects; a notice counts images without a file.
- **Splits** are named by the keys: ``train``, ``val``, ``test``. If there is only ``train`` and its place does not have
  the name of a split, the dataset has no splits; such a dataset is written that way.
- **Darknet's layout**, without data.yaml: names in ``obj.names`` or ``classes.txt``, splits in ``obj.data`` or
  ``train.txt`` and ``valid.txt``, or else as for folders.
- **Without names** classes are called by their numbers, with a notice, unless folders could be the classes.
- **Oriented boxes**, and keypoints without ``kpt_shape``, look like outlines. ``labels.other_kind`` detects them in the
  first files, and they are refused unless data.yaml has ``task: segment``.
- **Names** of keypoints are ``kpt_names`` of data.yaml if it has them, or else ``0``, ``1`` … Poses and masks cannot be
  in one dataset.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice

from augment.datasets import keys
from augment.errors import DatasetError, OutputError, Reason, RecordError
from augment.formats import evidence
from augment.formats.files import add_images, refuse
from augment.formats.format import Described, FolderFormat, Listing, Output, OutputDataset, StreamedFile, WrittenFile
from augment.formats.shared import object_rules
from augment.formats.tree import Tree
from augment.formats.yolo import config, labels, layout
from augment.formats.yolo.config import Config
from augment.formats.yolo.labels import Words
from augment.samples.annotations import Annotations

_MAX_LABEL_BYTES = 16 * 2**20
_LOOKED_AT = 200
"""Number of files that are examined for oriented boxes and keypoints."""


class Yolo(FolderFormat):
    """Ultralytics YOLO: data.yaml and a label file for each image."""

    name = "yolo"
    writes = frozenset({"boxes", "instance_masks", "keypoints"})
    tells_crowds = False

    def recognise(self, tree: Tree) -> bool:
        """Return True if there is a data.yaml, darknet's list of names, or a file of lines for an image."""
        return layout.recognise(tree)

    def find(self, tree: Tree, listing: Listing, *, max_files: int | None = None) -> None:
        """Add the images of all splits; opens none. Raises DatasetError, StorageError."""
        config = layout.config(tree)
        splits = layout.images(tree, config, listing)
        images = sorted({path for names in splits.values() for path in names})
        orphans = layout.lines_of_none(tree)
        if not config.words.classes:
            config = _numbered(tree, config, images, orphans, listing)
        _check_kind(tree, config, images)
        listing.splits = tuple(split for split in splits if split is not None)
        listing.classes = config.words.classes
        listing.keypoint_names = config.words.keypoint_names
        listing.details = config.details
        without = [path for path in images if layout.label_path(path) not in tree.paths]
        problems = {**_lost_lines(without, orphans), **_shared_lines(tree, images), **_masks(tree, images)}
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
            add_images(listing, own, split, partial(_describe, tree, config.words, own, problems))
        listing.read |= layout.label_files(tree) | layout.files_of_dataset(tree, config)
        for path in orphans:
            detail = "no image: no image has the name of these lines at the same path in a folder images; rename one"
            refuse(listing, path, Reason.ANNOTATION, detail)
        where = f"in a place that {config.file} names" if config.places else "in the folder of a split, as others are"
        for path in sorted(tree.images()):
            if path not in taken:
                refuse(listing, path, Reason.MISPLACED, f"it is not {where}")
        if num := len(set(without) - set(problems)):
            listing.notices.append(
                f"{num:,} of {len(images):,} images have no file of lines, so they were read as images without objects"
            )

    def image_path(self, output: Output) -> str:
        """Return a path in ``images`` and the split.

        An extension is always added, because the path of the lines lacks the last one.
        """
        extension = output.extension or keys.extension(output.key).removeprefix(".")
        folder = "images" if output.split is None else f"images/{output.split}"
        return f"{folder}/{output.name}.{extension}"

    def sidecars(self, output: Output, whole: OutputDataset) -> Sequence[WrittenFile]:
        """Return its lines: an empty file for an image without objects, no file for one without annotations.

        Raises RecordError if YOLO cannot express it, OutputError if the dataset has both keypoints and masks.
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
        return (WrittenFile(layout.label_path(self.image_path(output)), lines.encode()),)

    def closing(self, outputs: Callable[[], Iterator[Output]], whole: OutputDataset) -> Iterator[StreamedFile]:
        """Yield the data.yaml."""
        splits = list(dict.fromkeys(output.split for output in outputs()))
        words = _words(whole)
        flip_idx = whole.details.get("flip_idx") if whole.source_format == self.name else None
        flip_idx = flip_idx or config.mirrored(words.keypoint_names)
        text = config.written(words, splits, flip_idx, has_outlines="instance_masks" in whole.targets)
        yield StreamedFile("data.yaml", iter([text.encode()]))


def _words(whole: OutputDataset) -> Words:
    poses = "keypoints" in whole.targets
    if poses and "instance_masks" in whole.targets:
        raise OutputError(
            "YOLO has keypoints or masks of objects, not both, and this dataset has both; write it as COCO"
        )
    return config.of_output(whole.classes, whole.keypoint_names if poses else ())


def _describe(tree: Tree, words: Words, names: dict[str, str], problems: Mapping[str, str], path: str) -> Described:
    return Described(annotate=partial(_annotations, tree, words, path), named=names[path], problem=problems.get(path))


def _annotations(tree: Tree, words: Words, path: str, height: int, width: int) -> Annotations:
    return labels.parse(_lines(tree, path), words, height=height, width=width)


def _lines(tree: Tree, path: str) -> str:
    label = layout.label_path(path)
    if label not in tree.paths:
        return ""
    try:
        return tree.read_text(label, max_bytes=_MAX_LABEL_BYTES)
    except ValueError as error:
        raise ValueError(f"unreadable annotations: {error}") from error


def _texts(tree: Tree, images: Sequence[str]) -> Iterator[str]:
    """Yield the non-empty lines of images; unreadable ones refuse their record later."""
    for path in images:
        try:
            text = _lines(tree, path)
        except ValueError:
            continue
        if text.strip():
            yield text


def _numbered(tree: Tree, config: Config, images: Sequence[str], orphans: Sequence[str], listing: Listing) -> Config:
    """Return the configuration with numbers as names of classes.

    Raises DatasetError if there are no lines, or if the folders may be the classes.
    """
    root = keys.printable(str(tree.root))
    number = max(map(labels.num_classes, _texts(tree, images)), default=0)
    if not number:
        hint = f" ({keys.printable(orphans[0])} matches no image in a folder images)" if orphans else ""
        raise DatasetError(
            f"{root} has no data.yaml, no list of classes (classes.txt, obj.names) and no lines of boxes for "
            f"its images{hint}: add a data.yaml with the keys names, train and val"
        )
    folders = layout.folders_of_classes(images)
    if len(folders) > 1:
        raise DatasetError(
            f"{root} has boxes without names of classes, in the folders {' and '.join(folders[:3])}, which could be "
            "the classes: add a classes.txt or a data.yaml with the names, or read only the folders "
            "(--format folder; for an expansion --from-format folder)"
        )
    called = "0" if number == 1 else f"0 to {number - 1}"
    listing.notices.append(
        "the names of the classes are missing (no data.yaml, classes.txt or obj.names lists them): the classes are "
        f"called by their numbers, {called}"
    )
    return replace(config, words=Words(tuple(map(str, range(number)))))


def _lost_lines(images: Sequence[str], orphans: Collection[str]) -> dict[str, str]:
    """Return the problem of each image whose lines are at another path; it may not be read as one without objects."""
    by_name = {keys.without_extension(path.rpartition("/")[2]): path for path in orphans}
    problems = {}
    for path in images:
        name = path.rpartition("/")[2]
        if (orphan := by_name.get(keys.without_extension(name)) or by_name.get(name)) is not None:
            detail = (
                f"its lines belong into {keys.printable(layout.label_path(path))}, but are in {keys.printable(orphan)}"
            )
            problems[path] = f"lines at another place: {detail}"
    return problems


def _shared_lines(tree: Tree, images: Sequence[str]) -> dict[str, str]:
    """Return the problem of images whose names differ only by their extensions, so that the lines may be of either."""
    of: dict[str, list[str]] = {}
    for path in images:
        of.setdefault(layout.label_path(path), []).append(path)
    problems: dict[str, str] = {}
    for label, several in of.items():
        if len(several) > 1 and label in tree.paths:
            named = " and ".join(map(keys.printable, several[:3]))
            problems |= dict.fromkeys(several, f"lines of two images: {keys.printable(label)} has the name of {named}")
    return problems


def _masks(tree: Tree, images: Sequence[str]) -> dict[str, str]:
    """Return the problem of images without lines that are probably masks."""
    without = {path for path in images if layout.label_path(path) not in tree.paths}
    found = evidence.masks_among(images) if without else ()
    return {each.path: f"mask: {each.why}; ignore such files (--ignore)" for each in found if each.path in without}


def _check_kind(tree: Tree, config: Config, images: Sequence[str]) -> None:
    """Raise DatasetError if lines are of a kind that cannot be read."""
    if config.outlines or config.words.keypoint_names:
        return
    first = islice(_texts(tree, images), _LOOKED_AT)
    kind = labels.other_kind([line.split() for text in first for line in text.splitlines() if line.strip()])
    if kind is not None:
        raise DatasetError(
            f"{keys.printable(str(tree.root))}: lines have {kind}; if they are outlines, write `task: segment` "
            f"into {config.remedy}"
        )
