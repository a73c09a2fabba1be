"""Where the parts of a PASCAL VOC dataset lie, and which names its lists put into which split; see ``voc``."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from augment import keys
from augment.errors import DatasetError
from augment.formats import files
from augment.formats.files import SPLIT_NAMES, join
from augment.formats.tree import Tree, has_file, is_picture

_MAX_LIST_BYTES = 256 * 2**20
_PICTURE_FOLDERS = ("jpegimages", "images")
_FLAGS = frozenset({"-1", "0", "1"})
_OF_MASKS = frozenset(
    {"segmentationclass", "segmentationobject", "segmentationclassraw", "segmentationclassvisualization"}
)


@dataclass(frozen=True, slots=True)
class Layout:
    """Which folder plays which part; each is relative to the root. None where there is no such folder."""

    base: str
    annotations: str | None
    pictures: str
    masks: str | None
    lists: str | None


def recognise(root: Path) -> bool:
    """Whether the names of folders are VOC's, or XML lies where its pictures do; looks at few names."""
    top = files.top(root)
    named = {name.lower(): name for name in top.folders}
    if "annotations" in named and has_file(root / named["annotations"], ".xml", depth=2):
        return True
    if "imagesets" in named or has_file(root, ".xml", depth=1):
        return True
    splits = [name for name in top.folders if name.lower() in SPLIT_NAMES]
    devkit = [name for name in top.folders if name.lower().startswith("voc")]
    return any(has_file(root / name, ".xml", depth=1) for name in splits) or any(
        has_file(root / name, ".xml", depth=3) for name in devkit
    )


def layout(root: Path, files: Tree) -> Layout:
    """Find the parts by the names of folders. Raises DatasetError where there are none, or several sets of them."""
    folders = {folder for path in files.paths for folder in _above(path)}
    hold_xml = {folder for path in files.paths if path.lower().endswith(".xml") for folder in _above(path)}
    by_lower: dict[str, list[str]] = {}
    for folder in sorted(folders, key=lambda each: (each.count("/"), each)):
        by_lower.setdefault(folder.rpartition("/")[2].lower(), []).append(folder)
    with_xml = [folder for folder in by_lower.get("annotations", ()) if folder in hold_xml]
    bases = [folder.rpartition("/")[0] for folder in with_xml]
    if len(with_xml) > 1:
        shown = ", ".join(keys.printable(base or ".") for base in bases[:3])
        raise DatasetError(f"{keys.printable(str(root))} holds several sets of VOC ({shown}): give the folder of one")
    if not with_xml:
        lists = next(iter(by_lower.get("imagesets", ())), None)
        if lists is None and not any(keys.extension(path).lower() == ".xml" for path in files.paths):
            raise DatasetError(
                f"{keys.printable(str(root))} holds no XML file: a dataset of VOC has some in Annotations"
            )
        if lists is None:
            return Layout("", None, "", None, None)
        bases = [lists.rpartition("/")[0]]
    base = bases[0]
    inside = {name.lower(): name for name in (_below(base, folder) for folder in folders) if name is not None}
    pictures = next((inside[name] for name in _PICTURE_FOLDERS if name in inside), "")
    masks = inside.get("segmentationclass")
    lists = next((inside[name] for name in ("imagesets/main", "imagesets/segmentation") if name in inside), None)
    return Layout(
        base,
        with_xml[0] if with_xml else None,
        join(base, pictures) if pictures else base,
        None if masks is None else join(base, masks),
        None if lists is None else join(base, lists),
    )


def _above(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _below(base: str, folder: str) -> str | None:
    if not base:
        return folder
    return folder.removeprefix(f"{base}/") if folder.startswith(f"{base}/") else None


def is_mask(path: str, found: Layout) -> bool:
    """Whether a file lies in one of the folders of masks."""
    top = (_below(found.base, path) or "").partition("/")[0].lower()
    return top in _OF_MASKS


def xml(found: Layout, name: str) -> str:
    """The path of the XML file of this name."""
    folder = found.pictures if found.annotations is None else found.annotations
    return join(folder, f"{name}.xml")


def splits(files: Tree, found: Layout, pictures: Iterable[str]) -> Iterator[tuple[str | None, list[tuple[str, str]]]]:
    """Each split with the names in it, and what each record there goes by."""
    if found.lists is None:
        yield from _folders_as_splits(pictures)
        return
    lists = {}
    for path in sorted(files.below(found.lists)):
        name, extension = keys.without_extension(path.removeprefix(f"{found.lists}/")), keys.extension(path)
        if extension.lower() == ".txt" and (name.lower() in SPLIT_NAMES or name.lower() == "trainval"):
            lists[name] = path
    trainval = next((name for name in lists if name.lower() == "trainval"), None)
    if trainval is not None:
        path = lists.pop(trainval)
        if not {"train", "val"} & {name.lower() for name in lists}:
            lists = {"train": path, **lists}
    if not lists:
        yield None, [(name, name) for name in pictures]
    known = frozenset(pictures)
    for split, path in lists.items():
        try:
            text = files.read_text(path, max_bytes=_MAX_LIST_BYTES)
        except ValueError as error:
            raise DatasetError(f"{keys.printable(str(files.root))}: the list {error}") from error
        names = list(dict.fromkeys(name for line in text.split("\n") if (name := _listed(line, known))))
        prefix = f"{split}/"
        cut = prefix if all(name.startswith(prefix) for name in names) else ""
        yield split, [(name, name.removeprefix(cut)) for name in names]


def _listed(line: str, known: frozenset[str]) -> str:
    """The name in a line: without the ``1`` or ``-1`` that some lists add, and without a picture's extension."""
    if line in known:
        return line
    name = line.strip()
    before_flag = name.rsplit(maxsplit=1)
    if len(before_flag) == 2 and before_flag[1] in _FLAGS and name not in known:
        name = before_flag[0]
    return keys.without_extension(name) if name not in known and is_picture(name) else name


def _folders_as_splits(pictures: Iterable[str]) -> Iterator[tuple[str | None, list[tuple[str, str]]]]:
    names = list(pictures)
    tops = {name.partition("/")[0] if "/" in name else "" for name in names}
    if not all(top.lower() in SPLIT_NAMES for top in tops):
        yield None, [(name, name) for name in names]
        return
    for split in sorted(tops):
        yield split, [(name, name.removeprefix(f"{split}/")) for name in names if name.startswith(f"{split}/")]
