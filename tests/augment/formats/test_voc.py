"""PASCAL VOC format: layouts, the origin of pixel coordinates, lists of names, masks, and hostile XML."""

import io
import tempfile
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from augment.datasets.dataset import Dataset
from augment.errors import DatasetError, Reason, RecordError
from augment.expansion.expand import expand_dataset
from augment.formats.format import OutputDataset
from augment.formats.voc import xml
from augment.formats.voc.format import Voc
from augment.images import masks
from augment.samples.annotations import Annotations
from augment.scanning.scan import scan
from tests.augment.folders_for_tests import lay, pattern
from tests.augment.formats.formats_for_tests import annotations_by_key, convert, output, whole_of, write

HEIGHT, WIDTH = 6, 8
WHOLE = OutputDataset(("dog",), (), frozenset({"boxes"}), (), "elsewhere")


def _object(numbers: tuple[object, ...] = (2, 3, 4, 5), name: str = "dog", more: str = "") -> str:
    tags = ("xmin", "ymin", "xmax", "ymax")
    box = "".join(f"<{tag}>{number}</{tag}>" for tag, number in zip(tags, numbers, strict=True))
    return f"<object><name>{name}</name>{more}<bndbox>{box}</bndbox></object>"


def _xml(*objects: str, size: tuple[int, int] | None = (WIDTH, HEIGHT)) -> bytes:
    said = "" if size is None else f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    return f"<annotation>{said}{''.join(objects)}</annotation>".encode()


def _lay(root: Path, files: dict[str, bytes | None], *images: str) -> Path:
    return lay(root, {**files, **{name: pattern(i, height=HEIGHT, width=WIDTH) for i, name in enumerate(images)}})


def _scan(root: Path) -> Dataset:
    return scan(root, format="voc", bad_annotations="leave_out")


def _one(root: Path, xml: bytes) -> Annotations:
    """Return the annotations of the only image."""
    dataset = _scan(_lay(root, {"Annotations/a.xml": xml}, "JPEGImages/a.png"))
    return annotations_by_key(dataset)["a"]


def _problem(root: Path, xml: bytes) -> str:
    """Return the reason why an image with this XML is refused."""
    dataset = _scan(_lay(root, {"Annotations/a.xml": xml, "Annotations/b.xml": _xml()}, "images/a.png", "images/b.png"))
    [refused] = dataset.refused
    assert (refused.key, refused.reason) == ("a.png" if "/" not in refused.key else refused.key, Reason.ANNOTATION)
    return refused.detail


@pytest.mark.parametrize(
    ("files", "at", "split"),
    [
        ({"Annotations/a.xml": b"", "ImageSets/Main/train.txt": b"a\n"}, "JPEGImages/a.png", "train"),
        ({"Annotations/a.xml": b"", "ImageSets/Segmentation/val.txt": b"a  1\r\n"}, "JPEGImages/a.png", "val"),
        ({"Annotations/a.xml": b"", "ImageSets/Main/trainval.txt": b"a\n"}, "JPEGImages/a.png", "train"),
        ({"VOCdevkit/VOC2012/Annotations/a.xml": b""}, "VOCdevkit/VOC2012/JPEGImages/a.png", None),
        ({"annotations/a.xml": b""}, "images/a.png", None),
        ({"annotations/a.xml": b""}, "a.png", None),
        ({"a.xml": b""}, "a.png", None),
        ({"valid/a.xml": b""}, "valid/a.png", "valid"),
        ({"xmls/a.xml": b""}, "images/a.png", None),
        ({"Annots/a.xml": b""}, "imgs/a.png", None),
        ({"xml/a.xml": b""}, "JPEGImages/a.png", None),
        ({"labels/a.xml": b""}, "a.png", None),
        ({"annotations/xmls/a.xml": b""}, "images/a.png", None),
        ({"train/xmls/a.xml": b""}, "train/images/a.png", "train"),
        ({"annotations/train/a.xml": b""}, "images/train/a.png", "train"),
        ({"train_annotations/a.xml": b""}, "train_images/a.png", "train"),
        ({"annotations/a.xml": b""}, "train/a.png", "train"),
        ({"annotations/train/a.xml": b""}, "train/a.png", "train"),
        ({"data/labels/a.xml": b""}, "data/images/a.png", None),
        ({"images/a.xml": b""}, "images/a.png", None),
        ({"Annotations/a.xml": b"", "ImageSets/val.txt": b"a\n"}, "JPEGImages/a.png", "val"),
        (
            {
                "Annotations/1.xml": b"<annotation><path>C:\\x\\a.jpg</path><object><name>dog</name><bndbox>"
                b"<xmin>2</xmin><ymin>3</ymin><xmax>4</xmax><ymax>5</ymax></bndbox></object></annotation>"
            },
            "JPEGImages/a.png",
            None,
        ),
    ],
)
def test_layout_is_recognised(files: dict[str, bytes], at: str, split: str | None, tmp_path: Path) -> None:
    said = {name: data or _xml(_object()) for name, data in files.items()}
    dataset = scan(_lay(tmp_path, dict(said), at))
    assert dataset.format == "voc"
    assert list(dataset.splits) == ([] if split is None else [split])
    assert [record.key for record in dataset.choose(split)] == ["a"]
    assert (dataset.num_refused, dataset.classes) == (0, ("dog",))


def test_box_is_its_first_and_last_pixel_counted_from_1(tmp_path: Path) -> None:
    assert _one(tmp_path, _xml(_object((1, 1, WIDTH, HEIGHT)), _object((3, 3, 3, 3)))).boxes == (
        (0, 0, WIDTH, HEIGHT),
        (2, 2, 3, 3),
    )


@pytest.mark.parametrize("least", ["0", " 0.0 ", "0.4", ".5", "-0.2"])
def test_dataset_with_a_box_below_1_counts_from_0(least: str, tmp_path: Path) -> None:
    files = {"Annotations/a.xml": _xml(_object((2, 3, 4, 5))), "Annotations/b.xml": _xml(_object((least, 1, 8, 6)))}
    dataset = _scan(_lay(tmp_path, dict(files), "JPEGImages/a.png", "JPEGImages/b.png"))
    assert dataset.details == {"origin": 0}
    assert annotations_by_key(dataset)["a"].boxes == ((2, 3, 4, 5),)
    assert annotations_by_key(dataset)["b"].boxes == ((max(float(least), 0), 1, 8, 6),)


@given(st.floats(0, 60), st.floats(1, 4))
def test_edges_move_half_a_pixel_at_most(low: float, length: float) -> None:
    high = min(low + length, 64.0)
    first, _, last, _ = xml.pixels((low, 0, high, 1), 1, 64)
    assert abs(first - 1 - low) <= 0.5
    assert abs(last - high) <= 0.5


@pytest.mark.parametrize(("low", "high", "pixel"), [(3.6, 3.9, 4), (3.4, 3.45, 4), (63.9, 64, 64), (0, 0.1, 1)])
def test_box_thinner_than_a_pixel_becomes_the_pixel_that_it_lies_in(low: float, high: float, pixel: int) -> None:
    assert xml.pixels((low, 0, high, 1), 1, 64)[::2] == (pixel, pixel)


def test_members_of_objects_are_carried_along_and_written_back(tmp_path: Path) -> None:
    more = (
        "<pose>Left</pose><truncated>1</truncated><difficult>0</difficult><occluded>1</occluded><score>0.25</score>"
        "<actions><jumping>0</jumping><other>1</other></actions>"
        "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
        "<point><x>1</x><y>2</y></point>"
    )
    dataset = _scan(_lay(tmp_path / "a", {"Annotations/a.xml": _xml(_object(more=more))}, "JPEGImages/a.png"))
    said = annotations_by_key(dataset)["a"]
    assert said.box_attributes == (
        {
            "pose": "Left",
            "truncated": 1,
            "difficult": 0,
            "occluded": 1,
            "score": 0.25,
            "actions": {"jumping": 0, "other": 1},
        },
    )
    assert annotations_by_key(convert(dataset, tmp_path / "b", "voc")) == {"a": said}


def test_xml_is_what_the_devkit_writes(tmp_path: Path) -> None:
    said = Annotations(boxes=((1, 2, 4, 5),), box_labels=("<dog> & co",))
    outputs = [output("cats/a", said, split="train", size=(HEIGHT, WIDTH))]
    write(tmp_path, "voc", outputs, whole_of(outputs, classes=("<dog> & co",)))
    root = ET.parse(tmp_path / "Annotations/train/cats/a.xml").getroot()  # noqa: S314 - we wrote it
    assert root.findtext("filename") == "a.png"
    assert [root.findtext(f"size/{name}") for name in ("width", "height", "depth")] == ["8", "6", "3"]
    [each] = root.iter("object")
    assert [child.tag for child in each] == ["name", "pose", "truncated", "difficult", "bndbox"]
    assert each.findtext("name") == "<dog> & co"
    assert [child.text for child in each.iterfind("bndbox/*")] == ["2", "3", "4", "5"]
    assert (tmp_path / "ImageSets/Main/train.txt").read_text() == "train/cats/a\n"


def _palette(values: np.ndarray) -> bytes:
    shown = Image.fromarray(values.astype(np.uint8))
    shown.putpalette([i * 37 % 256 for i in range(3 * 256)])
    file = io.BytesIO()
    shown.save(file, "PNG")
    return file.getvalue()


def test_masks_with_a_palette_are_read_as_indices_and_written_back(tmp_path: Path) -> None:
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    values[2:4, 1:5] = 2
    values[0] = masks.IGNORED
    files = {
        "Annotations/a.xml": _xml(_object()),
        "Annotations/b.xml": _xml(),
        "SegmentationClass/a.png": _palette(values),
        "ImageSets/Main/train.txt": b"a\nb\n",
    }
    dataset = _scan(_lay(tmp_path / "a", dict(files), "JPEGImages/a.png", "JPEGImages/b.png"))
    assert dataset.targets == {"boxes", "mask"}
    assert [record.mask is not None for record in dataset] == [True, False]
    again = convert(dataset, tmp_path / "b", "voc")
    record = again.record(0)
    assert np.array_equal(masks.decode_mask(again.read_mask(record)), values)
    assert b"<segmented>1</segmented>" in (tmp_path / "b/Annotations/train/a.xml").read_bytes()


def test_lists_decide_and_whoever_is_in_none_or_in_two_is_refused(tmp_path: Path) -> None:
    files: dict[str, bytes | None] = {
        "ImageSets/Main/train.txt": b"a\nb.png\n\nx y\n",
        "ImageSets/Main/trainval.txt": b"a\nb\nc\nx y\n",
        "ImageSets/Main/val.txt": b"c\nb\ngone\n",
        "ImageSets/Main/dog_train.txt": b"a 1\nb -1\n",
    }
    names = ("a", "b", "c", "d", "x y")
    files |= {f"Annotations/{name}.xml": _xml() for name in names}
    dataset = _scan(_lay(tmp_path, files, *(f"JPEGImages/{name}.png" for name in names)))
    assert [record.key for record in dataset] == ["train/a", "train/b", "train/x y", "val/c"]
    assert [(each.key, each.reason, each.detail) for each in dataset.refused] == [
        ("JPEGImages/d.png", Reason.MISPLACED, "no list in ImageSets/Main names it; add it to one"),
        ("val/b", Reason.MISPLACED, "it is in train too; take it out of one of them"),
        ("val/gone", Reason.UNREADABLE, "ImageSets/Main lists it, but there is no such image in JPEGImages"),
    ]


def test_images_that_the_layout_has_no_place_for_are_refused_by_name(tmp_path: Path) -> None:
    grey = pattern(1, height=HEIGHT, width=WIDTH)
    files: dict[str, bytes | None] = {
        "Annotations/a.xml": _xml(_object()),
        "SegmentationObject/a.png": grey,
        "SegmentationClass/gone.png": grey,
        "plots/boxes.png": grey,
        "JPEGImages/a.webp": grey,
    }
    dataset = _scan(_lay(tmp_path, files, "JPEGImages/a.png"))
    assert [(each.key, each.reason, each.detail) for each in dataset.refused] == [
        (
            "JPEGImages/a.webp",
            Reason.MISPLACED,
            "JPEGImages/a.png has the same name, which annotations refer to; rename one of them",
        ),
        ("SegmentationClass/gone.png", Reason.MISPLACED, "its image is missing"),
        ("plots/boxes.png", Reason.MISPLACED, "it is not in JPEGImages; move it there"),
    ]


def test_image_without_xml_is_refused_unless_its_split_has_none(tmp_path: Path) -> None:
    files: dict[str, bytes | None] = {
        "ImageSets/Main/train.txt": b"a\nb\n",
        "ImageSets/Main/test.txt": b"c\n",
        "Annotations/a.xml": _xml(_object()),
    }
    dataset = _scan(_lay(tmp_path, files, *(f"JPEGImages/{name}.png" for name in "abc")))
    assert annotations_by_key(dataset)["test/c"] == Annotations()
    [refused] = dataset.refused
    assert (refused.key, refused.reason) == ("train/b.png", Reason.ANNOTATION)
    assert refused.detail.startswith("no annotations: there is no XML file of this name")


_BOMB = b"""<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;">]>
<annotation><object><name>&c;</name></object></annotation>"""
_OUTSIDE = b'<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation><folder>&a;</folder></annotation>'


@pytest.mark.parametrize(
    ("xml", "why"),
    [
        (_BOMB, "not XML: it declares a document type or entities"),
        (_OUTSIDE, "not XML: it declares a document type or entities"),
        (b"<!DOCTYPE annotation><annotation/>", "not XML: it declares a document type"),
        (b"", "not XML: no element found"),
        (b"<annotation>", "not XML: no element found"),
        (b"\xff\xfe\x00", "not XML"),
        (b'<?xml version="1.0" encoding="klingon"?><annotation/>', "not XML"),
        (b"<html/>", "not XML of VOC: the outermost element is <html>"),
        (_xml(_object(), size=(WIDTH, 9)), "image of another size: the XML has 8 x 9, the upright image is 8 x 6"),
        (_xml("<object><name>dog</name></object>"), "object without box: object 0 has no <bndbox>; write its box, or"),
        (
            _xml("<object><name>dog</name><polygon><pt><x>1</x><y>1</y></pt></polygon></object>"),
            "object without box: object 0 has no <bndbox> but <polygon>, an outline, as LabelMe has it; wr",
        ),
        (
            _xml(_object(), "<object><name>dog</name><robndbox><cx>1</cx></robndbox></object>"),
            "object without box: object 1 has no <bndbox> but <robndbox>, an oriented box; write its box, or export as",
        ),
        (_xml(_object(name=" ")), "not XML of VOC: object 0 has no <name>"),
        (_xml(_object(("nan", 1, 2, 3))), "not a number: <xmin> of object 0 is 'nan'"),
        (_xml(_object(("1e999", 1, 2, 3))), "not a number"),
        (_xml(_object((1, 1, "9" * 400, 3))), "not a number"),
        (_xml(_object((1, 1, "1_0", 3))), "not a number"),
        (_xml(_object(("", 1, 2, 3))), "not XML of VOC: object 0 has no <xmin>"),
        (_xml(_object((5, 1, 2, 3))), "box without area"),
        (_xml(_object((1, 1, 80, 3))), "box outside"),
    ],
)
def test_xml_that_cannot_be_true_or_means_harm_refuses_its_image(xml: bytes, why: str, tmp_path: Path) -> None:
    assert _problem(tmp_path, xml).startswith(why)


def test_xml_that_nests_deep_is_read_or_refused(tmp_path: Path) -> None:
    deep = b"<annotation>" + b"<a>" * 200_000 + b"</a>" * 200_000 + b"</annotation>"
    assert _one(tmp_path, deep).boxes == ()


def test_xml_above_the_bound_is_refused(tmp_path: Path) -> None:
    large = _xml("<!--" + "x" * xml.MAX_BYTES + "-->")
    assert _problem(tmp_path, large).startswith("unreadable annotations: Annotations/a.xml has")


@pytest.mark.parametrize("size", [None, (0, 0)])
def test_size_that_nobody_knows_is_no_fault(size: tuple[int, int] | None, tmp_path: Path) -> None:
    assert _one(tmp_path, _xml(_object(), size=size)).box_labels == ("dog",)


@pytest.mark.parametrize("key", ["a\nb", "a ", "a\x7fb"])
def test_name_that_cannot_be_a_line_in_a_list_refuses_the_image(key: str) -> None:
    with pytest.raises(RecordError, match="cannot be a line in a list"):
        Voc().sidecars(output(key, Annotations(boxes=())), WHOLE)


def test_class_that_xml_cannot_say_refuses_the_image() -> None:
    said = Annotations(boxes=((0, 0, 1, 1),), box_labels=("a\x01",))
    with pytest.raises(RecordError, match=r"U\+0001 in a name or a class"):
        Voc().sidecars(output("a", said), WHOLE)


def test_text_that_would_be_slow_to_look_through_is_not(tmp_path: Path) -> None:
    digits = "1" * 1_000_000
    files: dict[str, bytes | None] = {
        "Annotations/a.xml": _xml(_object((f"{digits}x", 1, 2, 3))),
        "Annotations/b.xml": _xml(_object(more=f"<score>{digits}x</score>")),
        "ImageSets/Main/train.txt": b"a\nb\nb" + b" " * 1_000_000 + b"c\n",
    }
    dataset = _scan(_lay(tmp_path, files, "JPEGImages/a.png", "JPEGImages/b.png"))
    assert [record.key for record in dataset] == ["train/b"]


def test_list_that_leads_out_finds_nothing(tmp_path: Path) -> None:
    lay(tmp_path, {"secret.png": pattern()})
    files: dict[str, bytes | None] = {
        "Annotations/a.xml": _xml(),
        "ImageSets/Main/train.txt": b"a\n../../secret\n/etc/passwd\n",
    }
    dataset = _scan(_lay(tmp_path / "data", files, "JPEGImages/a.png"))
    assert [record.key for record in dataset] == ["train/a"]
    assert [each.reason for each in dataset.refused] == [Reason.UNREADABLE] * 2


def test_splits_have_their_own_folders_of_images_and_xml(tmp_path: Path) -> None:
    names = [f"{split}/{name}" for split in ("train", "valid") for name in ("a", "b")]
    files = {f"{name.replace('/', '/xmls/')}.xml": _xml(_object(name=name.replace("/", " "))) for name in names}
    dataset = _scan(_lay(tmp_path, dict(files), *(f"{name.replace('/', '/images/')}.jpg" for name in names)))
    assert {key: said.box_labels for key, said in annotations_by_key(dataset).items()} == {
        name: (name.replace("/", " "),) for name in names
    }


def test_xml_that_could_be_of_two_images_is_an_error_of_its_name(tmp_path: Path) -> None:
    root = _lay(tmp_path, {"annotations/a.xml": _xml(_object())}, "train/a.png", "val/a.png")
    with pytest.raises(
        DatasetError, match=r"was read as voc, and annotations/a.xml was not read, though it is a file of"
    ):
        scan(root)


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True), st.data())
def test_names_in_xml_count_only_if_no_image_has_the_name_of_the_file(stems: list[str], data: st.DataObject) -> None:
    """Tools leave old names in XML, also those of other images."""
    said = {stem: data.draw(st.sampled_from(["abc.jpg", "a", "b.png", "/x/c.jpg", "", None])) for stem in stems}
    with tempfile.TemporaryDirectory() as folder:
        files = {
            f"xmls/{stem}.xml": _xml(
                "" if name is None else f"<filename>{name}</filename>", _object(name=f"object of {stem}")
            )
            for stem, name in said.items()
        }
        dataset = _scan(_lay(Path(folder), dict(files), *(f"images/{stem}.png" for stem in stems)))
        assert {key: each.box_labels for key, each in annotations_by_key(dataset).items()} == {
            stem: (f"object of {stem}",) for stem in stems
        }


def test_what_is_left_out_of_objects_is_counted(tmp_path: Path) -> None:
    part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
    outline = "<polygon><x1>1</x1><y1>2</y1></polygon>"
    files = {
        "Annotations/a.xml": _xml(_object(more=part + part), _object(more=outline)),
        "Annotations/b.xml": _xml(_object(more=outline)),
        "SegmentationObject/a.png": pattern(),
    }
    dataset = scan(_lay(tmp_path, dict(files), "JPEGImages/a.png", "JPEGImages/b.png"))
    assert dataset.notices == (
        "1 mask is not read: those of SegmentationObject",
        "left out of objects: 2 of <part>",
        "left out of objects: 2 of <polygon>",
    )
    assert [len(each.boxes or ()) for each in annotations_by_key(dataset).values()] == [2, 1]


def test_year_2012_as_it_is_published_is_read_without_error(tmp_path: Path) -> None:
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    values[2:4, 1:5], values[0] = 2, masks.IGNORED
    files: dict[str, bytes | None] = {
        **{f"Annotations/{name}.xml": _xml(_object()) for name in "abc"},
        "SegmentationClass/a.png": _palette(values),
        "SegmentationObject/a.png": _palette(values),
        "ImageSets/Main/train.txt": b"a\nc\n",
        "ImageSets/Main/val.txt": b"b\n",
        "ImageSets/Main/trainval.txt": b"a\nb\nc\n",
        "ImageSets/Main/dog_train.txt": b"a  1\nc -1\n",
        "ImageSets/Segmentation/train.txt": b"a\n",
        "ImageSets/Segmentation/val.txt": b"",
        "ImageSets/Layout/train.txt": b"a 1\n",
        "ImageSets/Action/jumping_train.txt": b"a 1 1\n",
    }
    base = {f"VOCdevkit/VOC2012/{name}": data for name, data in files.items()}
    dataset = scan(_lay(tmp_path, base, *(f"VOCdevkit/VOC2012/JPEGImages/{name}.jpg" for name in "abc")))
    assert (dataset.format, dataset.splits, dataset.num_refused) == ("voc", {"train": 2, "val": 1}, 0)
    assert dataset.notices == ("1 mask is not read: those of VOCdevkit/VOC2012/SegmentationObject",)
    assert (dataset.decode_mask(dataset.record(0)) == values).all()


def test_masks_in_the_colours_of_a_label_map_keep_the_names_of_their_classes(tmp_path: Path) -> None:
    indices = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH) % 3
    colours = np.array([(0, 0, 0), (128, 0, 0), (0, 128, 0)], np.uint8)
    file = io.BytesIO()
    Image.fromarray(colours[indices]).save(file, "PNG")
    files = {
        "labelmap.txt": b"# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:128,0,0::\ndog:0,128,0::\n",
        "Annotations/a.xml": _xml(_object()),
        "SegmentationClass/a.png": file.getvalue(),
        "ImageSets/Segmentation/default.txt": b"a\n",
    }
    dataset = scan(_lay(tmp_path / "data", dict(files), "JPEGImages/a.png"))
    assert dataset.classes == ("background", "cat", "dog")
    expand_dataset(tmp_path / "data", tmp_path / "out", copies=0, include_originals=True)
    for each in (dataset, scan(tmp_path / "out")):
        assert (each.format, each.classes) == ("voc", ("background", "cat", "dog"))
        assert (each.decode_mask(each.record(0)) == indices).all()


def test_several_sets_below_one_folder_are_an_error(tmp_path: Path) -> None:
    files = {f"VOC{year}/Annotations/a.xml": _xml() for year in (2007, 2012)}
    with pytest.raises(DatasetError, match="several VOC datasets"):
        _scan(_lay(tmp_path, dict(files), "VOC2007/JPEGImages/a.png"))


def test_folder_without_xml_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds no XML file"):
        _scan(_lay(tmp_path, {}, "a.png"))
