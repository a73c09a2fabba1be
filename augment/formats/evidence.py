"""Evidence about a dataset from the names and first bytes of its files.

Recognising a format and judging unread files are the same question. So the rules are written once, as data (``SIGNS``
and the sets of names). If a dataset was not understood, the error must name the file:

- A file that the chosen format did not read makes the scan **fail** if there is evidence that it is about the images.
- Any other such file is a **notice** with its name; more than ten become one notice with their number.

``docs/formats.md`` has the table of signs.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from augment.datasets import keys
from augment.formats import files
from augment.formats.files import SPLIT_NAMES
from augment.formats.tree import IMAGES, Tree, encoding, is_image
from augment.validation import quoted

HEAD_BYTES = 2**16
_LOOKED_AT = 20
"""Number of files that are opened to recognise a format."""

_TEXT_BYTES = 2**20
"""Number of bytes of a text that are searched for names of images."""


@dataclass(frozen=True, slots=True)
class Sign:
    """A kind of file that describes images: by its suffix or its name, and by the words in it.

    ``suffixes`` begin with a dot, or are whole names. ``format`` is the format that reads the file, or None. ``all_of``
    and ``any_of`` are words as ``words`` returns them: a file needs all of the first and, if there are any, one of the
    second.
    """

    tool: str
    format: str | None
    suffixes: frozenset[str]
    all_of: frozenset[str] = frozenset()
    any_of: frozenset[str] = frozenset()

    def fits(self, name: str, found: Collection[str]) -> bool:
        """True if a file with this name and these words is of this kind."""
        if not (self.suffixes & {keys.extension(name).lower(), name.lower()}) or not self.all_of.issubset(found):
            return False
        return not self.any_of or not self.any_of.isdisjoint(found)


def _sign(tool: str, reads: str | None, suffixes: str, all_of: str = "", any_of: str = "") -> Sign:
    return Sign(tool, reads, frozenset(suffixes.split()), frozenset(all_of.split()), frozenset(any_of.split()))


SIGNS: tuple[Sign, ...] = (
    _sign("LabelMe (XML)", None, ".xml", "/annotation object polygon", "deleted sourceImage"),
    _sign("PASCAL VOC", "voc", ".xml", "/annotation", "object size filename segmented"),
    _sign("KITTI", None, ".xml", "/boost_serialization", "tracklets"),
    _sign("CVAT", None, ".xml", "/annotations", "meta version image track"),
    _sign("dlib", None, ".xml", "/dataset", "images image"),
    _sign("Hasty", None, ".json", "images label_classes"),
    _sign("COCO", "coco", ".json", "images", "annotations categories *[].file_name"),
    _sign("COCO", "coco", ".json", "annotations", "*[].image_id *[].category_id *[].segmentation"),
    _sign("COCO", "coco", ".json", "categories *[].supercategory"),
    _sign("labelme", None, ".json", "shapes", "imagePath imageData imageHeight flags"),
    _sign("VGG Image Annotator", None, ".json", "_via_img_metadata"),
    _sign("VGG Image Annotator", None, ".json", ".filename .regions"),
    _sign("VGG Image Annotator", None, ".csv", "region_shape_attributes"),
    _sign("CreateML", None, ".json", "[].image [].annotations"),
    _sign("Label Studio", None, ".json", "[].data", "[].annotations [].completions [].predictions"),
    _sign("Label Studio", None, ".json", "[].annotation_id", "[].annotator [].lead_time"),
    _sign("Label Studio", None, ".csv .tsv", "annotation_id", "annotator lead_time"),
    _sign("Supervisely", None, ".json", "objects size", "tags description"),
    _sign("Supervisely", None, ".json", "classes", "projectType"),
    _sign("Datumaro", None, ".json", "items categories"),
    _sign("VoTT", None, ".json", "asset regions"),
    _sign("VoTT", None, ".json .vott", "assets", "visitedAssets tags name"),
    _sign("Cityscapes", None, ".json", "imgHeight imgWidth objects"),
    _sign("BDD100K", None, ".json", "[].name [].labels"),
    _sign("Labelbox", None, ".json", "[].data_row"),
    _sign("Labelbox", None, ".ndjson .jsonl", "data_row"),
    _sign("V7 Darwin", None, ".json", "annotations", "item image"),
    _sign("SuperAnnotate", None, ".json", "instances metadata"),
    _sign("Hugging Face imagefolder", "imagefolder", "metadata.jsonl metadata.csv", "file_name"),
    _sign("Open Images", "csv", ".csv", "imageid labelname xmin xmax ymin ymax"),
    _sign("Open Images", None, ".csv", "imageid", "labelname originalurl maskpath"),
    _sign("YOLO", "yolo", ".yaml .yml", "names", "train val test path nc kpt_shape"),
    _sign("YOLO", "yolo", ".yaml .yml", "nc", "train val test path"),
    _sign("YOLO", "yolo", ".txt", "lines:yolo"),
    _sign("YOLO with oriented boxes", "yolo", ".txt", "lines:oriented"),  # refused with the remedy
    _sign("KITTI", None, ".txt", "lines:kitti"),
    _sign("DOTA", None, ".txt", "lines:dota"),
    _sign("TensorFlow records", None, ".tfrecord .tfrecords .record"),
    _sign("TensorFlow label map", None, ".pbtxt", "item"),
    _sign("MATLAB", None, ".mat"),
)
"""Kinds of files that describe images; the first that fits is used."""

TABLES = frozenset({".csv", ".tsv"})
"""Suffixes of tables with columns."""

KINDS = frozenset(
    {".xml", ".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".txt", ".yaml", ".yml", ".parquet"}
    | {suffix for sign in SIGNS for suffix in sign.suffixes if suffix.startswith(".")}
)
"""Suffixes of files that may describe images."""

MASK_IMAGES = (
    (
        "Cityscapes",
        re.compile(r".*_gt(fine|coarse)_((label|instance)(train)?ids|color)\.png", re.IGNORECASE),
    ),
)
"""Names of images that only tools use, for masks."""

DOCUMENTS = re.compile(
    r"(readme|licen[sc]e|copying|notice|changelog|changes|authors|citation|contributing|requirements|todo|install)\b.*"
    r"|.*\.(md|rst|html?|pdf|docx?|py|ipynb|sh|bat|cfg|ini|toml|lock|log|md5|md5sums?|sha1|sha256|sha512|sums?|url|bib)"
    r"|(md5|sha1|sha256|sha512|check)sums?(\.txt)?|makefile|dockerfile",
    re.IGNORECASE,
)
"""Names of documents that people add to a dataset; they are left out, with a notice."""

STRUCTURAL = frozenset(
    {"images", "image", "imgs", "img", "pics", "jpegimages", "pngimages", "jpegs", "jpgs", "pngs", "rgb"}
    | {"image_2", "image_3", "image_02", "image_03", "leftimg8bit", "rightimg8bit", "imagefiles", "image_files"}
    | {"labels", "annotations", "annotation", "annots", "annot", "anno", "annos", "xmls", "xml", "jsons", "bboxes"}
    | {"masks", "gt", "gtfine", "gtcoarse", "ground_truth", "groundtruth", "segmentations", "segmentation"}
    | {
        "segmentationclass",
        "segmentationobject",
        "label_2",
        "imagesets",
        "data",
        "rgbleft",
        "rgbright",
        "color",
        "colour",
    }
)
"""Names of folders that only structure a dataset, in lower case: never a class."""

_STRUCTURE = "images?|imgs?|jpe?gs?|pngs?|pict(ure)?s|labels?|annotations?|annots?|masks?|gt|bbox|bounding_?box"
_SPLIT = "|".join(sorted(SPLIT_NAMES, key=len, reverse=True))
_WITH_SPLIT = re.compile(
    rf"({_SPLIT})[-_ ]?({_STRUCTURE})|({_STRUCTURE})[-_ ]?({_SPLIT}|raw|orig(inals?)?|resized|\d+x\d+)|ima?ge?_?\d+",
    re.IGNORECASE,
)

MASK_FOLDERS = frozenset(
    {"masks", "mask", "labels", "label", "annotations", "annotation", "annot", "annots", "gt", "gtfine"}
    | {"ground_truth", "groundtruth", "segmentationclass", "segmentationobject", "segmentationclasspng"}
    | {"segmentations", "segmentation", "seg", "segs", "targets", "instance", "instances", "semantic", "semantic_rgb"}
    | {"semseg", "panoptic", "depth", "depthleft", "depthright", "gtleft", "gtright", "gtcoarse", "labelids"}
)
"""Names of folders that hold masks, or depths, in lower case."""

MASK_ENDINGS = re.compile(
    r"[-_. ](masks?|labels?|annots?|annotations?|gt|segs?|segmentations?|P|L|labelids|instanceids|color)(_\d+)?$",
    re.IGNORECASE,
)
"""Ending of a mask's name after the name of its image."""

_LAST_LETTERS = ("k", "s", "l", "t", "n", "g", "p", "r")
"""Last letters of the words in ``MASK_ENDINGS``."""

MASK_BEGINNINGS = re.compile(r"^(masks?|labels?|gt|segs?)[-_. ]", re.IGNORECASE)
"""Beginning of a mask's name before the name of its image."""

_NEGATED = re.compile(r"(no|non|not|without|un|wo)[-_ ]?", re.IGNORECASE)


def is_structural(name: str) -> bool:
    """True if a folder of this name only structures a dataset."""
    return name.lower() in STRUCTURAL or _WITH_SPLIT.fullmatch(name) is not None


# ------------------------------------------------------------------------------------------------------------- words


_ROOT = re.compile(r"(?:\s|<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^>\[]*(?:\[[^\]]*\])?[^>]*>)*<([A-Za-z_][\w.:-]*)", re.DOTALL)
_ELEMENT = re.compile(r"<([A-Za-z_][\w.:-]*)")
_YAML_KEY = re.compile(r"^['\"]?([A-Za-z_][\w-]*)['\"]?\s*:", re.MULTILINE)
_JSON_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|[\[\]{}:,]', re.DOTALL)
_NUMBER = r"-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_CLASS = r"\d+(?:\.0*|\.\d+e\+\d+)?"
"""Number of a class, also as NumPy writes it: 1, 1.0, 1.000e+00."""

_LINES: Mapping[str, re.Pattern[str]] = {
    "kitti": re.compile(rf"[A-Za-z_]\w*(?: {_NUMBER}){{14,15}}"),
    "dota": re.compile(rf"(?:{_NUMBER} ){{8}}[A-Za-z][\w-]* [0-2]"),
    "oriented": re.compile(rf"{_CLASS}(?:\s+{_NUMBER}){{8}}"),
    "yolo": re.compile(rf"{_CLASS}(?:\s+{_NUMBER}){{4,}}"),
}
_LINES_LOOKED_AT = 20


def words(suffix: str, head: bytes) -> frozenset[str]:
    """Return the words in the first bytes of a file, for ``Sign``.

    XML: ``/root`` and the names of elements. JSON: the keys of the outer object, ``.key`` in its objects, ``*[].key``
    in objects of its lists, ``[].key`` in objects of an outer list. Tables: the columns in lower case. YAML: the outer
    keys. Text: ``lines:kind`` if all lines are of one kind.
    """
    text = decoded(head)
    if suffix == ".xml":
        root = _ROOT.match(text)
        return frozenset() if root is None else frozenset({f"/{root[1]}", *_ELEMENT.findall(text)})
    if suffix in {".json", ".vott"}:
        return frozenset(_json_keys(text))
    if suffix in {".jsonl", ".ndjson"}:
        return frozenset(_json_keys(text.partition("\n")[0]))
    if suffix in TABLES:
        return frozenset(cell.strip().strip('"').lower() for cell in re.split(r"[,;\t]", text.partition("\n")[0]))
    if suffix in {".yaml", ".yml"}:
        return frozenset(_YAML_KEY.findall(text))
    if suffix == ".pbtxt":
        return frozenset(re.findall(r"\w+", text[:1000]))
    if suffix == ".txt":
        return frozenset(_line_kinds(text, is_whole=len(head) < HEAD_BYTES))
    return frozenset()


def decoded(head: bytes) -> str:
    """Decode the first bytes of a text by ``tree.encoding``; invalid bytes are replaced."""
    return head.decode(encoding(head), errors="replace")


def _json_keys(text: str) -> Iterator[str]:
    """Yield the keys of the outer levels of a JSON text, which may be cut."""
    opened, last = "", ""
    for match in _JSON_TOKEN.finditer(text):
        if match[0] in {"{", "["}:
            opened += match[0]
        elif match[0] in {"}", "]"}:
            opened = opened[:-1]
        elif match[0] == ":":
            prefix = {"{": "", "{{": ".", "[{": "[].", "{[{": "*[]."}.get(opened)
            if prefix is not None:
                yield prefix + last
        elif match[1] is not None:
            last = match[1]


def _line_kinds(text: str, *, is_whole: bool) -> Iterator[str]:
    lines = [line.strip() for line in text.splitlines()[: _LINES_LOOKED_AT + 1]]
    lines = [line for line in (lines if is_whole else lines[:_LINES_LOOKED_AT]) if line]
    if lines:
        for kind, pattern in _LINES.items():
            if all(pattern.fullmatch(line) for line in lines):
                yield f"lines:{kind}"
                return


def sign_of(tree: Tree, path: str) -> Sign | None:
    """Return the kind of a file by its suffix and its first bytes, or None."""
    suffix = keys.extension(path).lower()
    if suffix not in KINDS:
        return None
    for num_bytes in (HEAD_BYTES, _TEXT_BYTES) if suffix == ".json" else (HEAD_BYTES,):
        head = files.head(tree.root / path, num_bytes)
        found = words(suffix, head)
        sign = next((sign for sign in SIGNS if sign.fits(path.rpartition("/")[2], found)), None)
        if sign is not None or len(head) < num_bytes:
            return sign
    return None


def has(tree: Tree, name: str, paths: Iterable[str]) -> bool:
    """Return True if one of these files is of a kind that this format reads; opens few of them."""
    return first(tree, name, paths) is not None


def first(tree: Tree, name: str, paths: Iterable[str]) -> str | None:
    """Return the first of these files that is of a kind that this format reads, or None; opens few of them."""
    some = tree.of_suffixes(KINDS) if paths is tree.paths else [p for p in paths if keys.extension(p).lower() in KINDS]
    for path in sorted(some, key=lambda path: (path.count("/"), path))[:_LOOKED_AT]:
        if (sign := sign_of(tree, path)) is not None and sign.format == name:
            return path
    return None


# ------------------------------------------------------------------------------------------------------------- unread


@dataclass(frozen=True, slots=True)
class Unread:
    """A file that the format did not read. ``why`` is the evidence that it is about the images, or None.

    ``tool`` is the name of the tool if no format reads its files, ``columns`` the first line of a table.
    """

    path: str
    why: str | None
    tool: str | None = None
    columns: str | None = None

    @property
    def remedy(self) -> str:
        """Advice to the user, apart from ignoring the file."""
        if self.tool is not None:
            return f"files of {self.tool} cannot be read, so export as COCO, YOLO or VOC, or name another format"
        if self.columns is not None:
            return (
                f"of its columns {self.columns} rename the images' to file_name and the classes' to label, or name "
                "the format"
            )
        return "name the format"


def pattern(unread: Sequence[Unread], others: Collection[str]) -> str:
    """Return a pattern that ignores these files and, if possible, no others."""
    first = unread[0].path
    name, suffix = first.rpartition("/")[2], keys.extension(first)
    ending = MASK_ENDINGS.search(keys.without_extension(name))
    candidates = [f"*{ending[0]}{suffix}"] if ending is not None else []
    candidates += [f"*{suffix}"] if suffix else []
    for each in candidates:
        if len(unread) > 1 and not any(PurePosixPath(path).match(each) for path in others):
            return each
    return name


def judge(tree: Tree, unread: Iterable[str], images: Collection[str]) -> Iterator[Unread]:
    """Judge files that may describe images, in the order of their paths.

    ``images`` are the paths of the images that are records or refused.
    """
    names = _Names(images)
    for path in sorted(unread, key=str.encode):
        name = path.rpartition("/")[2]
        if keys.extension(path).lower() not in KINDS:
            continue
        sign = None if DOCUMENTS.fullmatch(name) else sign_of(tree, path)
        if sign is not None:
            yield Unread(path, f"it is a file of {sign.tool}", None if sign.format else sign.tool)
        else:
            why = None if DOCUMENTS.fullmatch(name) else _why(tree, path, names)
            yield Unread(path, why, columns=_first_line(tree, path) if why is not None else None)


_NAMED = 10
"""Largest number of files with a notice each; more are only counted."""


def notices(found: Collection[Unread], num_ignored: int) -> list[str]:
    """Return a sentence for each unread file, or one sentence with the number of more than ten."""
    sentences = [
        f"{keys.printable(each.path)} was not read" + (f", though {each.why}" if each.why is not None else "")
        for each in found
    ]
    if len(sentences) > _NAMED:
        first = ", ".join(keys.printable(each.path) for each in list(found)[:3])
        sentences = [f"{len(sentences):,} files were not read: {first} …"]
    if num_ignored:
        what = "1 file or folder is" if num_ignored == 1 else f"{num_ignored:,} files and folders are"
        sentences.append(f"{what} ignored as requested")
    return sentences


def of_no_suffix(tree: Tree) -> Iterator[Unread]:
    """Yield files without a known suffix that are a tool's XML, like those of Stanford Dogs; opens few."""
    known = KINDS | IMAGES
    some = tree.of_suffixes(suffix for suffix in tree.by_suffix if suffix not in known)
    for path in sorted(some)[:_LOOKED_AT]:
        found = words(".xml", files.head(tree.root / path, HEAD_BYTES))
        sign = next((sign for sign in SIGNS if sign.fits("x.xml", found)), None)
        if sign is not None:
            yield Unread(path, f"it is a file of {sign.tool}", None if sign.format else sign.tool)


def _why(tree: Tree, path: str, names: "_Names") -> str | None:
    if (image := names.by_stem.get(_stem(path))) is not None:
        return f"it has the name of {keys.printable(image)}"
    return names.mentioned(decoded(files.head(tree.root / path, _TEXT_BYTES)))


def _first_line(tree: Tree, path: str) -> str | None:
    if keys.extension(path).lower() not in TABLES:
        return None
    return quoted(decoded(files.head(tree.root / path, HEAD_BYTES)).strip().partition("\n")[0].strip())


class _Names:
    """Names of images, to be found in texts."""

    def __init__(self, images: Iterable[str]) -> None:
        images = sorted(images, reverse=True)  # of several images with one name, the first is shown
        self.by_stem = {_stem(path): path for path in images}
        self._by_name = {path.rpartition("/")[2]: path for path in images}

    def mentioned(self, text: str) -> str | None:
        """Return evidence that a text names images, by file name or by stem in most of its lines, or None."""
        lines = [line for line in text.splitlines() if line.strip()]
        if _are_checksums(lines):
            return None
        with_stem = Counter[str]()
        for number, line in enumerate(lines):
            for token in _TOKENS.split(line):
                last = re.split(r"[/\\]", token)[-1]
                if last in self._by_name and is_image(last):
                    return f"line {number + 1} names {keys.printable(self._by_name[last])}"
                if last in self.by_stem:
                    with_stem[last] += 1
                    break
        if len(with_stem) >= 2 and 2 * with_stem.total() >= len(lines):
            return f"its lines name {' and '.join(map(keys.printable, list(with_stem)[:2]))}"
        return None


_TOKENS = re.compile(r"[\s,;|\"'<>=:()\[\]{}]+")
_CHECKSUM = re.compile(r"\\?[0-9a-fA-F]{32,128}\s+\*?\S.*|\w+ \(.*\) = [0-9a-fA-F]{32,128}")


def _are_checksums(lines: list[str]) -> bool:
    return bool(lines) and 2 * sum(_CHECKSUM.fullmatch(line.strip()) is not None for line in lines) >= len(lines)


def _stem(path: str) -> str:
    return keys.without_extension(path.rpartition("/")[2])


def ends_as_mask(stem: str) -> bool:
    """True if a name without its suffix has the ending of a mask."""
    if not stem.lower().rstrip("0123456789_").endswith(_LAST_LETTERS):
        return False  # most names end here, and searching takes five times as long
    return MASK_ENDINGS.search(stem) is not None


def _may_be_mask(path: str) -> bool:
    folder, _, name = path.rpartition("/")
    if not MASK_FOLDERS.isdisjoint(folder.lower().split("/")):
        return True
    return ends_as_mask(_stem(name)) or MASK_BEGINNINGS.match(name) is not None


def masks_among(images: Collection[str]) -> Iterator[Unread]:
    """Yield images that are probably masks of others, each with the evidence.

    An image is one if its name without a mask's ending or beginning is another's, or if it is in a folder of masks and
    shares its name with an image outside it. A folder ``mask`` next to ``no_mask`` is a class.
    """
    suspects = [path for path in images if _may_be_mask(path)]
    if not suspects:
        return
    by_stem: dict[str, list[str]] = {}
    for path in images:
        by_stem.setdefault(_stem(path), []).append(path)
    folders = {folder.rpartition("/")[2].lower() for path in images for folder in files.above(path)}
    classes = {_NEGATED.sub("", name, count=1) for name in folders if _NEGATED.match(name)}
    for path in sorted(suspects, key=str.encode):
        folder, stem = path.rpartition("/")[0], _stem(path)
        starts = {MASK_ENDINGS.sub("", stem), MASK_BEGINNINGS.sub("", stem)} - {stem}
        others = [each for start in starts for each in by_stem.get(start, ())]
        other = min(others, key=lambda each: (each.rpartition("/")[0] != folder, each), default=None)
        holder = next((part for part in folder.lower().split("/") if part in MASK_FOLDERS - classes), None)
        if other is None and holder is not None:
            outside = (each for each in by_stem[stem] if holder not in each.lower().split("/")[:-1])
            other = min(outside, default=None)
        tool = next((name for name, pattern in MASK_IMAGES if pattern.fullmatch(path.rpartition("/")[2])), None)
        if tool is not None:
            yield Unread(path, f"it is a file of {tool}", tool)
        elif other is not None:
            yield Unread(path, f"it looks like the mask of {keys.printable(other)}")
