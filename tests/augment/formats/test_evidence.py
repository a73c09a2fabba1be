"""Evidence: recognition of files, the treatment of unread files, and that nothing is lost silently."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.errors import CallError, DatasetError
from augment.formats import evidence
from augment.formats.evidence import SIGNS, is_structural, words
from augment.samples.sample import Record
from augment.scanning.scan import scan
from tests.augment.folders_for_tests import lay, pattern

PAGE = (Path(__file__).parents[3] / "docs" / "formats.md").read_text(encoding="utf-8")


def xml(name: str, *, root: str = "annotation") -> bytes:
    """Return a VOC file for an image of 8 x 8, with one box."""
    box = "<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>6</xmax><ymax>6</ymax></bndbox>"
    size = "<size><width>8</width><height>8</height><depth>3</depth></size>"
    inside = f"<filename>{name}</filename>{size}<object><name>dog</name>{box}</object>"
    return f"<{root}>{inside}</{root}>".encode()


def coco(*names: str) -> bytes:
    images = [{"id": i, "file_name": name, "width": 8, "height": 8} for i, name in enumerate(names)]
    objects = [{"id": i, "image_id": i, "category_id": 1, "bbox": [1, 1, 3, 3], "area": 9} for i in range(len(names))]
    return json.dumps({"images": images, "annotations": objects, "categories": [{"id": 1, "name": "dog"}]}).encode()


LABELME = json.dumps({"version": "5", "flags": {}, "shapes": [], "imagePath": "a.png"}).encode()
CVAT = b'<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version><image id="0"/></annotations>'

EXAMPLES: dict[str, list[tuple[str, bytes]]] = {
    "PASCAL VOC": [("a.xml", xml("a.png")), ("a.xml", b"\xef\xbb\xbf<?xml version='1.0'?><!-- c -->" + xml("a.png"))],
    "LabelMe (XML)": [("a.xml", b"<annotation><object><deleted>0</deleted><polygon/></object></annotation>")],
    "CVAT": [("annotations.xml", CVAT)],
    "dlib": [("training.xml", b"<?xml-stylesheet href='x'?><dataset><images><image file='a.jpg'/></images></dataset>")],
    "COCO": [
        ("x.json", coco("a.png")),
        ("x.json", b'{"annotations": [{"id": 1, "image_id": 3}]}'),
        ("x.json", b'{"categories": [{"supercategory": "animal", "id": 1}], "annotations": [{'),
    ],
    "Hasty": [("x.json", b'{"project_name": "p", "images": [], "label_classes": []}')],
    "labelme": [("a.json", LABELME)],
    "VGG Image Annotator": [
        ("via.json", b'{"_via_settings": {}, "_via_img_metadata": {}}'),
        ("via.json", b'{"a.png123": {"filename": "a.png", "size": 123, "regions": []}}'),
        ("via.csv", b"filename,file_size,region_shape_attributes\n"),
    ],
    "CreateML": [("_annotations.createml.json", b'[{"image": "a.png", "annotations": []}]')],
    "Label Studio": [
        ("export.json", b'[{"id": 1, "annotations": [], "data": {"image": "/data/upload/a.png"}}]'),
        ("min.json", b'[{"image": "a.png", "annotator": 1, "annotation_id": 1}]'),
        ("export.csv", b"image,id,label,annotator,annotation_id\n"),
    ],
    "Supervisely": [
        ("a.png.json", b'{"description": "", "tags": [], "size": {"height": 8, "width": 8}, "objects": []}'),
        ("meta.json", b'{"classes": [], "tags": [], "projectType": "images"}'),
    ],
    "Datumaro": [("train.json", b'{"info": {}, "categories": {}, "items": []}')],
    "VoTT": [("x.json", b'{"asset": {"name": "a.png"}, "regions": []}'), ("p.vott", b'{"name": "p", "assets": {}}')],
    "Cityscapes": [("a_gtFine_polygons.json", b'{"imgHeight": 8, "imgWidth": 8, "objects": []}')],
    "BDD100K": [("det.json", b'[{"name": "a.jpg", "labels": []}]')],
    "Labelbox": [("x.json", b'[{"data_row": {}}]'), ("x.ndjson", b'{"data_row": {"id": "1"}}\n{"data_row": {}}\n')],
    "V7 Darwin": [("a.json", b'{"version": "2.0", "item": {"name": "a.png"}, "annotations": []}')],
    "SuperAnnotate": [("a.png___objects.json", b'{"metadata": {"name": "a.png"}, "instances": []}')],
    "Hugging Face imagefolder": [("metadata.jsonl", b'{"file_name": "a.png"}\n'), ("metadata.csv", b"file_name,x\n")],
    "YOLO": [
        ("data.yaml", b"train: a\nnames: [b]\n"),
        ("data.yaml", b"\xef\xbb\xbfnc: 1\nval: x\n"),
        ("a.txt", b"0 .5 .5 .1 .1\n"),
    ],
    "YOLO with oriented boxes": [("a.txt", b"0 .1 .1 .2 .1 .2 .2 .1 .2\n")],
    "KITTI": [
        ("tracklet_labels.xml", b"<!DOCTYPE boost_serialization><boost_serialization><tracklets/>"),
        ("a.txt", b"Car 0.00 0 -1.5 1 2 3 4 1.4 1.6 3.6 1.8 1.4 8.4 -1.5\n"),
    ],
    "DOTA": [("a.txt", b"1 1 2 1 2 2 1 2 plane 0\n")],
    "TensorFlow records": [("x.tfrecord", b"\0")],
    "TensorFlow label map": [("labels.pbtxt", b"item { id: 1 name: 'cat' }")],
    "MATLAB": [("imagelabels.mat", b"MATLAB 5.0")],
}  # fmt: skip


@pytest.mark.parametrize("tool", sorted({sign.tool for sign in SIGNS} & EXAMPLES.keys()))
def test_files_of_each_tool_are_told(tool: str, tmp_path: Path) -> None:
    for name, content in EXAMPLES[tool]:
        suffix = name[name.rindex(".") :]
        found = next((sign for sign in SIGNS if sign.fits(name, words(suffix, content))), None)
        assert found is not None, (name, sorted(words(suffix, content)))
        assert found.tool == tool
    if next(sign for sign in SIGNS if sign.tool == tool).format is None:
        name, content = EXAMPLES[tool][0]
        lay(tmp_path, {"cat/1.png": pattern(1), "dog/2.png": pattern(2), f"notes/{name}": content})
        with pytest.raises(
            DatasetError, match=rf"notes/.*was not read, though it is a file of {re.escape(tool)}: files of"
        ):
            scan(tmp_path)


def test_every_sign_is_in_the_documentation() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and "evidence" not in line]
    for sign in SIGNS:
        suffixes = ", ".join(f"`{suffix}`" for suffix in sorted(sign.suffixes))
        reader = f"[`{sign.format}`](#{sign.format})" if sign.format else "none"
        assert any(row.startswith(f"| {sign.tool} |") and suffixes in row and reader in row for row in rows), sign


@pytest.mark.parametrize(
    "text", [b"", b"{", b'{"a": [1, {"b": "\\"', b"\xff\xfe\x00", b"[" * 10**5, b'"' * 999, b"<!--", b"<" * 9999]
)
def test_broken_files_say_nothing_and_never_fail(text: bytes) -> None:
    for suffix in evidence.KINDS:
        assert isinstance(words(suffix, text), frozenset)


@given(st.binary(max_size=300), st.sampled_from(sorted(evidence.KINDS)))
def test_any_bytes_are_looked_at(text: bytes, suffix: str) -> None:
    assert isinstance(words(suffix, text), frozenset)


def test_utf16_is_read() -> None:
    assert {"names", "train"} <= words(".yaml", "names: [a]\ntrain: x\n".encode("utf-16"))
    assert "/annotation" in words(".xml", xml("a.png").decode().encode("utf-16"))


# ------------------------------------------------------------------------------------------------------- class folders


ORDINARY = {
    "README": b"Images of cats and dogs, see cat/1.png",
    "README.md": b"![a cat](cat/1.png)",
    "readme.txt": b"cat/1.png is a cat",
    "LICENSE.txt": b"MIT",
    "requirements.txt": b"numpy==1.26\nPillow>=10\n",
    "SHA256SUMS": b"aa  cat/1.png\n",
    "md5.txt": b"d41d8cd98f00b204e9800998ecf8427e  cat/1.png\nd41d8cd98f00b204e9800998ecf8427e  dog/2.png\n",
    "checksums.txt": b"d41d8cd98f00b204e9800998ecf8427e *cat/1.png\n",
    ".DS_Store": b"x",
    "Thumbs.db": b"x",
    "cat/Thumbs.db": b"x",
    "synset.txt": b"n01440764\nn01443537\n",
    "synset_words.txt": b"n01440764 tench, Tinca tinca\nn01443537 goldfish\n",
    "classes.txt": b"cat\ndog\n",
    "labels.txt": b"0 cat\n1 dog\n",
    "info.xml": b"<info><author>me</author></info>",
    "package.json": b'{"name": "pets"}',
    "dataset.yaml": b"author: me\n",
    "wordnet.is_a.txt": b"n1 n2\n",
    "settings.ini": b"[a]\nb=1\n",
}


@given(st.sets(st.sampled_from(sorted(ORDINARY))))
@settings(max_examples=40)
def test_ordinary_class_folders_are_never_refused(tmp_path_factory: pytest.TempPathFactory, names: set[str]) -> None:
    root = tmp_path_factory.mktemp("ordinary")
    lay(root, {"cat/1.png": pattern(1), "cat/3.png": pattern(3), "dog/2.png": pattern(2)})
    lay(root, {name: ORDINARY[name] for name in names})
    dataset = scan(root)
    assert (dataset.format, dataset.classes, dataset.num_records) == ("folder", ("cat", "dog"), 3)


def test_what_was_not_read_is_noticed_by_name_and_above_ten_counted(tmp_path: Path) -> None:
    lay(tmp_path, {"cat/1.png": pattern(1), "info.xml": b"<info/>", "notes.txt": b"words"})
    assert scan(tmp_path).notices == ("info.xml was not read", "notes.txt was not read")
    lay(tmp_path, {f"notes/{i:02}.txt": b"words" for i in range(11)})
    (notice,) = scan(tmp_path).notices
    assert notice == "13 files were not read: info.xml, notes.txt, notes/00.txt …"


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("notes/1.json", b"{}", r"notes/1\.json was not read, though it has the name of cat/1\.png"),
        ("list.txt", b"the best is 1.png\n", r"list\.txt was not read, though line 1 names cat/1\.png"),
        ("list.tsv", b"name\tkind\ncat\\1.png\ta\n", r"list\.tsv was not read, though line 2 names cat/1\.png"),
        ("ages.txt", b"0123 7\n0124 9\n", r"ages\.txt was not read, though its lines name 0123 and 0124"),
        (
            "annotations.xml",
            CVAT,
            r"annotations\.xml was not read, though it is a file of CVAT: files of CVAT cannot be read",
        ),
    ],
)
def test_file_about_the_images_is_an_error_with_the_remedy(name: str, content: bytes, why: str, tmp_path: Path) -> None:
    images = {f"cat/{stem}.png": pattern(i) for i, stem in enumerate(["1", "0123", "0124"])}
    lay(tmp_path, {**images, name: content})
    with pytest.raises(
        DatasetError, match=rf"was read as folder, and {why}.*--from-format\), or ignore .*--ignore {Path(name).name}\)"
    ):
        scan(tmp_path)
    assert scan(tmp_path, ignore=[Path(name).name]).notices == ("1 file or folder is ignored as requested",)
    named = scan(tmp_path, format="folder")
    assert named.classes == ("cat",)
    assert named.notices[0].startswith(f"{name} was not read, though ")


def test_many_files_are_ignored_by_one_pattern(tmp_path: Path) -> None:
    lay(tmp_path, {f"cat/{i}.png": pattern(i) for i in range(3)} | {f"cat/{i}.json": LABELME for i in range(3)})
    with pytest.raises(DatasetError, match=r"a file of labelme \(and 2 more\): .*--ignore '\*\.json'\)"):
        scan(tmp_path)
    assert scan(tmp_path, ignore=["*.json"]).num_records == 3


@pytest.mark.parametrize("ignored", ["", "/", "/etc/*", "../*", "a/../b", 3])
def test_pattern_that_cannot_fit_is_refused(ignored: object, tmp_path: Path) -> None:
    with pytest.raises(CallError, match="ignore"):
        scan(lay(tmp_path, {"1.png": pattern()}), ignore=[ignored])  # type: ignore[list-item]


# --------------------------------------------------------------------------------------------------- names of folders


@pytest.mark.parametrize(
    "name",
    [
        *("images", "Images", "imgs", "JPEGImages", "train_images", "images_train", "test-images", "labels", "masks"),
        *(
            "annotations",
            "image_2",
            "bbox_train",
            "leftImg8bit",
            "gtFine",
            "images_512x512",
            "valid_labels",
            "images-raw",
            "xmls",
        ),
    ],
)
def test_folder_that_only_structures_is_never_a_class(name: str, tmp_path: Path) -> None:
    assert is_structural(name)
    dataset = scan(lay(tmp_path, {f"{name}/a.png": pattern(1), f"{name}/b.png": pattern(2)}))
    assert (dataset.format, dataset.classes, dataset.num_records) == ("folder", (), 2)


@pytest.mark.parametrize(
    "name",
    ["cat", "imagery", "mask", "label_0", "masked", "train", "no_mask", "0", "labelled", "images of cats", "photos"],
)
def test_other_names_are_classes(name: str) -> None:
    assert not is_structural(name)


def test_classes_below_structure_are_found(tmp_path: Path) -> None:
    files = {
        "images/train/cat/1.png": pattern(1),
        "images/train/dog/2.png": pattern(2),
        "images/val/cat/3.png": pattern(3),
    }
    dataset = scan(lay(tmp_path, files))
    assert (dataset.classes, dataset.splits) == (("cat", "dog"), {"train": 2, "val": 1})
    assert dataset.keys(range(3)) == ["train/images/cat/1", "train/images/dog/2", "val/images/cat/3"]


def test_several_structures_without_a_common_name_need_the_format(tmp_path: Path) -> None:
    lay(tmp_path, {"imgs/1.png": pattern(1), "labels/2.png": pattern(2)})
    with pytest.raises(
        DatasetError, match=r"all images are in imgs and labels, names that only structure .*--format folder"
    ):
        scan(tmp_path)
    dataset = scan(tmp_path, format="folder")
    assert dataset.classes == ("imgs", "labels")


def test_mask_and_no_mask_are_classes(tmp_path: Path) -> None:
    lay(tmp_path, {f"{folder}/{i}.png": pattern(i) for i in range(3) for folder in ("mask", "no_mask")})
    assert scan(tmp_path).classes == ("mask", "no_mask")


@pytest.mark.parametrize(
    ("mask", "image"),
    [
        ("dog/1_mask.png", "cat/1.png"),
        ("cat/mask_1.png", "cat/1.png"),
        ("gt/x/1.png", "cat/1.png"),
        ("training/instance/1.png", "training/image_2/1.png"),
        ("SemSeg/1.png", "RGB/1.png"),
    ],
)
def test_mask_among_images_is_an_error(mask: str, image: str, tmp_path: Path) -> None:
    lay(tmp_path, {mask: pattern(1), image: pattern(2), str(Path(image).with_name("2.png")): pattern(3)})
    with pytest.raises(DatasetError, match=rf"{mask} was not read, though it looks like the mask of {image}"):
        scan(tmp_path)


def test_xml_without_a_suffix_is_told(tmp_path: Path) -> None:
    lay(tmp_path, {"Images/n1-dog/n1_7.jpg": pattern(1), "Annotation/n1-dog/n1_7": xml("n1_7")})
    with pytest.raises(DatasetError, match=r"Annotation/n1-dog/n1_7 was not read, though it is a file of PASCAL VOC"):
        scan(tmp_path)


def test_masks_of_cityscapes_are_named(tmp_path: Path) -> None:
    name = "gtFine/train/ulm/ulm_0_gtFine_labelIds.png"
    lay(tmp_path, {name: pattern(1), "leftImg8bit/train/ulm/ulm_0_leftImg8bit.png": pattern(2)})
    with pytest.raises(DatasetError, match=rf"{name} was not read, though it is a file of Cityscapes: files of"):
        scan(tmp_path)


# ---------------------------------------------------------------------------------------------------- nothing is lost


Maker = Callable[[str], bytes]
ABOUT: dict[str, tuple[str, Maker]] = {
    "voc": (".xml", xml),
    "labelme": (".json", lambda _: LABELME),
    "yolo": (".txt", lambda _: b"0 0.5 0.5 0.25 0.25\n"),
    "mask": ("_mask.png", lambda _: pattern(3)),
}
"""Files about one image: what follows its stem, and their content."""

TABLES: dict[str, Callable[[list[str]], bytes]] = {
    "labels.csv": lambda names: "".join(["file_name,label\n", *(f"{name},dog\n" for name in names)]).encode(),
    "annotations.json": lambda names: coco(*names),
    "metadata.jsonl": lambda names: "".join(f'{{"file_name": "{name}", "label": "dog"}}\n' for name in names).encode(),
    "list.txt": lambda names: "".join(f"{name} 1\n" for name in names).encode(),
    "annotations.xml": lambda _: CVAT,
    "ids.tsv": lambda names: "".join(["id\tage\n", *(f"{Path(name).stem}\t7\n" for name in names)]).encode(),
    "data.yaml": lambda _: b"train: images\nval: images\nnames: [dog]\n",
    "notes.txt": lambda _: b"nothing of interest\n",
}  # fmt: skip
FOLDERS = [
    "",
    "images",
    "cat",
    "dog",
    "train/images",
    "train/cat",
    "train",
    "val",
    "Annotations",
    "labels",
    "masks",
    "imgs",
]


@st.composite
def folders(draw: st.DrawFn) -> dict[str, bytes]:
    """Build a folder of images, and of files that may describe them, in random places."""
    stems = draw(st.lists(st.sampled_from(["a", "b1", "0001", "x y", "c.d"]), min_size=1, max_size=4, unique=True))
    places = draw(st.lists(st.sampled_from(FOLDERS), min_size=1, max_size=2, unique=True))
    images = [f"{draw(st.sampled_from(places))}/{stem}.png".lstrip("/") for stem in stems]
    found = {path: pattern(i) for i, path in enumerate(images)}
    for kind in draw(st.lists(st.sampled_from(sorted(ABOUT)), max_size=2, unique=True)):
        suffix, make = ABOUT[kind]
        for path in draw(st.lists(st.sampled_from(images), min_size=1, unique=True)):
            place = draw(st.sampled_from([str(Path(path).parent), *FOLDERS])).replace(".", "")
            found.setdefault(f"{place}/{Path(path).stem}{suffix}".lstrip("/"), make(Path(path).name))
    for name in draw(st.lists(st.sampled_from(sorted(TABLES)), max_size=2, unique=True)):
        found.setdefault(
            f"{draw(st.sampled_from(['', 'Annotations', 'train']))}/{name}".lstrip("/"), TABLES[name](images)
        )
    for name in draw(st.lists(st.sampled_from(["README.md", "cat/.DS_Store", "Thumbs.db", "sums.md5"]), max_size=2)):
        found.setdefault(name, b"d41d8cd98f00b204e9800998ecf8427e  a.png\n")
    return found


def check_nothing_is_lost(root: Path, files: dict[str, bytes]) -> None:
    """Check that each file about images is read, refused by name or noticed, or that its name ends the scan."""
    lay(root, files)
    try:
        dataset = scan(root, bad_annotations="leave_out")
    except DatasetError as error:
        names = {part for name in files for part in (Path(name).name, Path(name).parts[0])} | {"data.yaml"}
        if not any(name in str(error) for name in names):
            raise
        return
    told = " ".join((*dataset.notices, *(f"{each.key} {each.detail}" for each in dataset.refused)))
    by_stem = {record.path.stem: record for record in dataset}
    images = [Path(name) for name in files if name.endswith(".png")]
    for name in files:
        path = Path(name)
        if path.name in told or path.name.startswith(("README", ".", "Thumbs", "sums")):
            continue
        for suffix, _ in ABOUT.values():
            stem = path.name.removesuffix(suffix)
            # An image of another split is not the one of a mask: alone in its split, the mask counts as an image.
            near = [each for each in images if suffix != "_mask.png" or each.parts[:-1][:1] == path.parts[:-1][:1]]
            if path.name.endswith(suffix) and stem in {each.stem for each in near}:
                assert says_something(by_stem.get(stem), suffix), (name, dataset.format, told)
        if path.name in TABLES and path.name != "notes.txt":
            assert dataset.format in {"csv", "coco", "imagefolder", "yolo"}, (name, dataset.format, told)


def says_something(record: Record | None, suffix: str) -> bool:
    """True if an image's record has the annotations of the file next to it; a file that is not an image was refused."""
    if record is None:
        return True
    return record.mask is not None if suffix == "_mask.png" else record.annotations is not None


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    return (tmp_path_factory.mktemp("any") for _ in range(10**9))


@given(folders())
@settings(max_examples=100)
def test_no_annotation_is_lost_in_silence(roots: Iterator[Path], files: dict[str, bytes]) -> None:
    check_nothing_is_lost(next(roots), files)


@pytest.mark.long
@given(folders())
@settings(max_examples=3000)
def test_no_annotation_is_lost_in_silence_in_thousands_of_folders(
    roots: Iterator[Path], files: dict[str, bytes]
) -> None:
    check_nothing_is_lost(next(roots), files)
