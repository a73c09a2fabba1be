"""The csv format: dialects of tables, paths that are looked for, boxes, and what is refused by name."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from augment.datasets.dataset import Dataset
from augment.errors import DatasetError, Reason
from augment.formats.csv_table import Box, columns_of
from augment.formats.format import Whole
from augment.samples.annotations import NOTHING, Annotations
from augment.scanning import scan as registry
from tests.augment import annotations_for_tests
from tests.augment.folders_for_tests import lay, picture
from tests.augment.formats.formats_for_tests import SIZE, annotations_by_key, convert, files_of, output, write

HEIGHT, WIDTH = 20, 30


def folder(root: Path, tables: dict[str, str], *pictures: str, encoding: str = "utf-8") -> Path:
    lay(root, {name: picture(shade, height=HEIGHT, width=WIDTH) for shade, name in enumerate(pictures)})
    return lay(root, {name: text.encode(encoding) for name, text in tables.items()})


def scan(root: Path) -> Dataset:
    return registry.scan(root, format="csv", bad_annotations="leave_out")


def labels_of(dataset: Dataset) -> dict[str, str | None]:
    return {record.key: None if record.label is None else dataset.classes[record.label] for record in dataset}


def refused(dataset: Dataset) -> dict[str, tuple[Reason, str]]:
    return {refusal.key: (refusal.reason, refusal.detail) for refusal in dataset.refused}


# -------------------------------------------------------------------------------------------------------- columns


@pytest.mark.parametrize(
    "table",
    [
        "file_name,label\na.png,cat\nb.png,dog\n",
        "label,Filename\ncat,a.png\ndog,b.png\n",
        " path ; class \na.png;cat\nb.png;dog\n",
        "image\tcategory\r\na.png\tcat\r\nb.png\tdog\r\n",
        '\ufeff"image_path","target"\n"a.png","cat"\n"b.png","dog"\n',
        "image_id,label\na,cat\nb,dog\n",
        "id,target,score\n\na,cat,1\n\nb,dog,2\n",
    ],
)
def test_dialects_of_a_table_of_classes_are_one(table: str, tmp_path: Path) -> None:
    dataset = registry.scan(folder(tmp_path, {"labels.csv": table}, "a.png", "b.png"))
    assert dataset.format == "csv"
    assert labels_of(dataset) == {"a": "cat", "b": "dog"}


@pytest.mark.parametrize(
    ("header", "first"),
    [
        ("filename,width,height,class,xmin,ymin,xmax,ymax", "a.png,30,20,cat,1,2,3.5,4"),
        ("file_name,label,x_min,y_min,x_max,y_max", "a.png,cat,1,2,3.5,4"),
        ("image,x1,y1,x2,y2,category", "a.png,1,2,3.5,4,cat"),
        ("bottom,right,top,left,class,path", "4,3.5,2,1,cat,a.png"),
    ],
)
def test_dialects_of_a_table_of_boxes_are_one(header: str, first: str, tmp_path: Path) -> None:
    dataset = registry.scan(folder(tmp_path, {"labels.csv": f"{header}\n{first}\n"}, "a.png"))
    assert annotations_by_key(dataset) == {"a": Annotations(boxes=((1, 2, 3.5, 4),), box_labels=("cat",))}


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("path,labels\na.png,x;y\n", {"x": 1.0, "y": 1.0}),
        ("path,tags\na.png,x | y z\n", {"x": 1.0, "y z": 1.0}),
        ("path,tags\na.png,hot dog\n", {"hot dog": 1.0}),
        ("path,labels\na.png,x=0.25;y=0.75\n", {"x": 0.25, "y": 0.75}),
        ("path,labels\na.png,\n", {}),
        ("path, x, y ,z\na.png,1,0, 1\n", {"x": 1.0, "z": 1.0}),
        ("path,x,y\na.png,1.0,0.0\n", {"x": 1.0}),
    ],
)
def test_several_classes_stand_in_a_cell_or_in_columns(table: str, expected: dict[str, float], tmp_path: Path) -> None:
    dataset = registry.scan(folder(tmp_path, {"labels.csv": table}, "a.png"))
    assert annotations_by_key(dataset) == {"a": Annotations(labels=expected)}


def test_columns_of_numbers_other_than_0_and_1_are_no_classes(tmp_path: Path) -> None:
    root = folder(tmp_path, {"labels.csv": "path,u,v\na.png,1,0\nb.png,1,7\n"}, "a.png", "b.png")
    with pytest.raises(DatasetError, match=r"labels\.csv was not read, though line 2 names a\.png"):
        registry.scan(root)
    with pytest.raises(DatasetError, match=r"labels\.csv: .* column path names images, .* \(u, v\) none is known"):
        registry.scan(root, format="csv")


def test_class_of_a_box_and_class_of_its_picture_stand_side_by_side() -> None:
    columns = columns_of(["file_name", "label", "class", "xmin", "ymin", "xmax", "ymax"], [], 0)
    assert (columns.label, columns.box_label, columns.box) == (1, 2, Box((3, 4, 5, 6), "corners"))


def test_other_columns_are_carried_along_as_text(tmp_path: Path) -> None:
    rows = "path,label,age,city\na.png,cat,7,\nb.png,dog,8,Bern\n"
    dataset = registry.scan(folder(tmp_path / "1", {"labels.csv": rows}, "a.png", "b.png"))
    assert annotations_by_key(dataset)["b"] == Annotations(extra={"age": "8", "city": "Bern"})
    boxes = "path,class,xmin,ymin,xmax,ymax,occluded\na.png,cat,0,0,1,1,yes\na.png,cat,0,0,2,2,\n"
    dataset = registry.scan(folder(tmp_path / "2", {"labels.csv": boxes}, "a.png"))
    assert annotations_by_key(dataset)["a"].box_attributes == ({"occluded": "yes"}, {})


# ------------------------------------------------------------------------------------------- columns by their values


@pytest.mark.parametrize(
    ("table", "names"),
    [
        ("id_code,diagnosis\n0a,2\n0b,0\n", ("train_images/0a.png", "train_images/0b.png")),
        ("Id,Class\n1,2\n2,0\n", ("1.png", "2.png")),
        ("Image,Id\na.png,2\nb.png,0\n", ("train/a.png", "train/b.png")),
        ("image,level\na_left,2\nb_right,0\n", ("x/a_left.png", "x/b_right.png")),
        ("code,grade\n007,2\n010,0\n", ("007.png", "010.png")),
        ("file,mark\na.png,2\nb.png,0\n", ("a.png", "b.png")),
        ("mark\tunknown\n2\ta\n0\tb\n", ("a.png", "b.png")),
        ("a.png,2\nb.png,0\n", ("a.png", "b.png")),
        ("2;i/a.png\n0;i/b.png\n", ("i/a.png", "i/b.png")),
        ("0a,2\n0b,0\n", ("i/0a.png", "i/0b.png")),
        (",path,label\n0,a.png,2\n1,b.png,0\n", ("a.png", "b.png")),
        ("Unnamed: 0,path,mark\n0,a.png,2\n1,b.png,0\n", ("a.png", "b.png")),
        ("path,label,\na.png,2,\nb.png,0\n", ("a.png", "b.png")),
        ("path,label\na.png,2,\nb.png,0,\n", ("a.png", "b.png")),
        ("sep=;\nid;label\na;2\nb;0\n", ("a.png", "b.png")),
        ("image,width,height,kind\na,30,20,2\nb,30,20,0\n", ("a.png", "b.png")),
    ],
)
def test_label_is_read_by_what_columns_hold(table: str, names: tuple[str, str], tmp_path: Path) -> None:
    dataset = registry.scan(folder(tmp_path, {"table.csv": table}, *names))
    assert dataset.format == "csv"
    assert list(labels_of(dataset).values()) == ["2", "0"]


def test_number_finds_the_image_that_has_leading_zeros_and_a_notice_says_so(tmp_path: Path) -> None:
    root = folder(tmp_path, {"labels.csv": "id,label\n7,cat\n10,dog\n"}, "i/007.png", "i/010.png")
    dataset = registry.scan(root)
    assert labels_of(dataset) == {"i/007": "cat", "i/010": "dog"}
    assert dataset.notices == ("2 numbers were completed with leading zeros: 7 is i/007.png",)
    problem = refused(scan(folder(tmp_path, {}, "i/0007.png")))["7"]
    assert problem[1].startswith("ambiguous path: '7' may be i/0007.png, i/007.png; write the whole path")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("image,mask\na,a_m\n", "its columns image and mask name different images; call the one that counts file_name"),
        ("image,target\na,a_m\n", "its columns image and target name different images"),
        ("one,two\na.png,a_m.png\n", "its columns one and two name different images"),
        ("a.png,a_m.png\n", "its columns column 1 and column 2 name different images"),
        (
            "id,class,label\na,x,y\n",
            "its columns label and class may both be the class; call the one that counts label",
        ),
        ("id,label,class_id\na,x,1\na_m,y,1\n", "its columns label and class_id may both be the class"),
        ("ImageId,EncodedPixels\na,1 3 10 5\n", "its columns EncodedPixels tell places in images"),
        ('image_id,label,bbox\na,x,"[1, 2, 3, 4]"\n', "its columns bbox tell places in images"),
        ("file,label,x1,y1,x2,y2,x3,y3\na.png,x,1,2,3,4,5,6\n", "its columns x3, y3 tell places in images"),
        ("file,label,xmin,ymin\na.png,x,1,2\n", "its columns xmin, ymin tell places in images"),
        (
            "id,labels\na,scab\na_m,scab rust\n",
            "its column labels may hold several classes, as in 'scab rust'; write ;",
        ),
        ('id,tags\na,x\na_m,"x, y"\n', "its column tags may hold several classes, as in 'x, y'"),
        ("id,attribute_ids\na,1 2 3\na_m,4 5\n", "its lines name a and a_m: of its columns 'id,attribute_ids' call"),
        ("path,label,label\na.png,x,y\n", "two of its columns are called label"),
        ("path,label,\na.png,x,why\n", "its column 3 has no name"),
        ("zz,k\na,k\na_m,k\n", "its first line may be a header or a row"),
        ("id,style,season\na,x,y\na_m,x,y\n", "its lines name a and a_m: of its columns 'id,style,season' call"),
        ("path,caption\na.png,a dog\n", "line 2 names a.png: of its columns 'path,caption' call"),
        ("path,origin\na.png,http://a.b/c\n", "line 2 names a.png: of its columns 'path,origin' call"),
        ("path,quality\na.png,0.53\n", "line 2 names a.png: of its columns 'path,quality' call"),
        ("path,a,b\na.png,1,2\n", "line 2 names a.png: of its columns 'path,a,b' call"),
        ("a.png,x,1,2,3,4\n", "line 1 names a.png: of its columns 'a.png,x,1,2,3,4' call"),
        ("ImageID,Source,LabelName,Confidence\na,verification,/m/01,0\n", "its labels of whole images may say what is"),
        ("#filename,region_shape_attributes\na.png,x\n", "it is a file of VGG Image Annotator: nothing here reads"),
    ],
)
def test_table_that_is_not_understood_is_an_error_with_its_columns(table: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=rf"table\.csv.*{message}"):
        registry.scan(folder(tmp_path, {"table.csv": table}, "a.png", "a_m.png"))


def test_number_of_a_class_stands_beside_its_name(tmp_path: Path) -> None:
    table = "path,class_id,label\na.png,7,cat\nb.png,8,dog\n"
    dataset = registry.scan(folder(tmp_path, {"table.csv": table}, "a.png", "b.png"))
    assert labels_of(dataset) == {"a": "cat", "b": "dog"}


def test_list_of_classes_by_number_is_no_table_of_images(tmp_path: Path) -> None:
    names = [f"cat/{number}.png" for number in range(3)]
    with pytest.raises(DatasetError, match=r"labels\.csv: it may name the classes by number, or images"):
        registry.scan(folder(tmp_path, {"labels.csv": "id,label\n0,cat\n1,dog\n"}, *names))


def test_values_that_do_not_recur_are_no_classes(tmp_path: Path) -> None:
    names = [f"x{number}.png" for number in range(20)]
    table = "".join(f"{name},word {i}\n" for i, name in enumerate(names))
    with pytest.raises(DatasetError, match=r"read as folder, and table\.csv was not read, though line 2 names x0\.png"):
        registry.scan(folder(tmp_path, {"table.csv": f"path,remark\n{table}"}, *names))


@given(
    st.lists(st.from_regex(r"[a-z0-9]{1,4}(\.[a-z0-9]{1,3})?", fullmatch=True), min_size=2, max_size=6, unique=True),
    st.data(),
)
@settings(max_examples=60, deadline=None)
def test_label_in_any_dialect_is_the_label_or_the_table_is_refused(
    tmp_path_factory: pytest.TempPathFactory, stems: list[str], data: st.DataObject
) -> None:
    labels = {stem: data.draw(st.sampled_from(["0", "1", "2", "cat", "dog", "a"])) for stem in stems}
    delimiter, end = data.draw(st.sampled_from(",;\t")), data.draw(st.sampled_from(["\n", "\r\n"]))
    header = data.draw(st.sampled_from([("id_code", "diagnosis"), ("Id", "Class"), ("code", "grade"), None]))
    path = "{}.png" if data.draw(st.booleans()) else "{}"
    rows = [*([] if header is None else [header]), *((path.format(stem), label) for stem, label in labels.items())]
    if data.draw(st.booleans()):
        rows = [(label, name) for name, label in rows]
    trailing = data.draw(st.sampled_from(["", delimiter]))
    quote = data.draw(st.sampled_from(["", '"']))
    text = "".join(delimiter.join(f"{quote}{cell}{quote}" for cell in row) + trailing + end for row in rows)
    encoding = data.draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
    suffix = data.draw(st.sampled_from([".csv", ".tsv"]))
    root = folder(
        tmp_path_factory.mktemp("dialect"),
        {f"table{suffix}": text},
        *(f"images/{stem}.png" for stem in stems),
        encoding=encoding,
    )
    try:
        dataset = registry.scan(root)
    except DatasetError as error:
        assert f"table{suffix}" in str(error)  # noqa: PT017 - a label of another image is the fault that is looked for
        assert header != ("id_code", "diagnosis") or set(stems) & set(labels.values())
        return
    assert labels_of(dataset) == {f"images/{stem}": label for stem, label in labels.items()}


# ---------------------------------------------------------------------------------------------------- boxes of others


@pytest.mark.parametrize(
    "table",
    [
        "i/a.png,1,2,4,6,cat\ni/b.png,,,,,\n",
        "cat,1,2,3,4,a.png,30,20\n",
        "label_name,bbox_x,bbox_y,bbox_width,bbox_height,image_name,image_width,image_height\ncat,1,2,3,4,a.png,30,20\n",
        "filename;class;xc;yc;w;h\na.png;cat;2.5;4;3;4\n",
        "image,label,x,y,width,height\na,cat,1,2,3,4\n",
        "Width,Height,Roi.X1,Roi.Y1,Roi.X2,Roi.Y2,ClassId,Path\n30,20,1,2,4,6,cat,i/a.png\n",
    ],
)
def test_boxes_are_read_as_their_columns_say(table: str, tmp_path: Path) -> None:
    rows = "" if "b.png" in table else "\n"
    dataset = scan(folder(tmp_path, {"annotations.csv": table + rows}, "i/a.png", "i/b.png"))
    assert annotations_by_key(dataset)["i/a"] == Annotations(boxes=((1, 2, 4, 6),), box_labels=("cat",))
    if "b.png" in table:
        assert annotations_by_key(dataset)["i/b"] == Annotations(boxes=(), box_labels=())


@pytest.mark.parametrize("header", ["", "class_name,id\n"])
def test_classes_have_the_order_of_their_own_table(header: str, tmp_path: Path) -> None:
    tables = {"annotations.csv": "a.png,1,2,4,6,ape\n", "classes.csv": f"{header}dog,0\ncat,1\nape,2\n"}
    dataset = registry.scan(folder(tmp_path, tables, "a.png"))
    assert (dataset.classes, dataset.notices) == (("dog", "cat", "ape"), ())
    (tmp_path / "classes.csv").write_text("dog,0\ncat,1\n")
    dataset = registry.scan(tmp_path)
    assert (dataset.classes, dataset.notices) == (("ape",), ("classes.csv was not read",))


OPEN_IMAGES = """ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded
0a,xclick,/m/01,1,0.1,0.5,0.2,0.4,0
0a,xclick,/m/02,1,0,1,0,1,1
"""


@pytest.mark.parametrize("name", ["train-annotations-bbox.csv", "oidv6-train-annotations-bbox.csv"])
def test_boxes_of_open_images_are_shares(name: str, tmp_path: Path) -> None:
    root = folder(tmp_path, {name: OPEN_IMAGES}, "train/0a.png")
    dataset = registry.scan(root)
    more = {"Source": "xclick", "Confidence": "1"}
    assert annotations_by_key(dataset)["train/0a"] == Annotations(
        boxes=((3, 4, 15, 8), (0, 0, 30, 20)),
        box_labels=("/m/01", "/m/02"),
        box_attributes=({**more, "IsOccluded": "0"}, {**more, "IsOccluded": "1"}),
    )
    [notice] = dataset.notices
    assert notice.startswith("classes are codes (LabelName): class-descriptions-boxable.csv")
    folder(tmp_path, {"class-descriptions-boxable.csv": "/m/02,Dog\n/m/01,Cat\n"})
    dataset = registry.scan(root)
    assert (dataset.format, dataset.classes, dataset.notices) == ("csv", ("Cat", "Dog"), ())


# ---------------------------------------------------------------------------------------------------------- Kaggle

KAGGLE = {
    "train.csv": "id_code,diagnosis\n001,2\n002,0\n",
    "sample_submission.csv": "id_code,diagnosis\n001,0\n003,0\n",
}
KAGGLE_IMAGES = ("train_images/001.png", "train_images/002.png", "test_images/001.png", "test_images/003.png")


def test_submission_gives_no_labels(tmp_path: Path) -> None:
    dataset = registry.scan(folder(tmp_path, KAGGLE, *KAGGLE_IMAGES))
    assert labels_of(dataset) == {"train/train_images/001": "2", "train/train_images/002": "0"}
    assert dataset.notices == ("sample_submission.csv was not read: what a submission says is no truth",)
    assert refused(dataset)["test_images/001.png"][1] == "no row of train.csv names it; add one, or move it elsewhere"
    (tmp_path / "train.csv").unlink()
    with pytest.raises(DatasetError, match=r"sample_submission\.csv"):
        registry.scan(tmp_path)
    with pytest.raises(DatasetError, match=r"sample_submission\.csv: .*what a submission says is no truth"):
        registry.scan(tmp_path, format="csv")


@pytest.mark.parametrize("test", ["id_code\n001\n003\n", "id_code,age\n001,3\n003,4\n"])
def test_split_without_labels_has_none(test: str, tmp_path: Path) -> None:
    train = "id_code,age,label\n001,8,2\n002,9,0\n" if "age" in test else KAGGLE["train.csv"]
    dataset = registry.scan(folder(tmp_path, KAGGLE | {"train.csv": train, "test.csv": test}, *KAGGLE_IMAGES))
    assert labels_of(dataset) == {
        "test/test_images/001": None,
        "test/test_images/003": None,
        "train/train_images/001": "2",
        "train/train_images/002": "0",
    }
    assert dataset.notices[0] == "test.csv names images and tells no class: they have none"


def test_name_is_not_looked_for_among_the_images_of_another_split(tmp_path: Path) -> None:
    tables = {"train.csv": "id,label\n001,cat\n009,cat\n"}
    dataset = scan(folder(tmp_path, tables, "train/001.png", "test/001.png", "test/009.png"))
    assert labels_of(dataset) == {"train/001": "cat"}
    assert refused(dataset)["009"] == (Reason.ANNOTATION, "picture missing: line 3 of train.csv names it")


def test_ids_that_name_no_image_are_refused_and_not_left_out(tmp_path: Path) -> None:
    for table in ("id_code,diagnosis\nzz,2\n", "id,label\nzz,2\n", "name,kind\na.jpg,2\nb.jpg,0\n"):
        with pytest.raises(DatasetError, match="picture missing"):
            registry.scan(folder(tmp_path, {"train.csv": table}, "cat/a.png", "dog/b.png"))


# -------------------------------------------------------------------------------------------------- tables and files


def test_split_is_told_by_a_column(tmp_path: Path) -> None:
    table = "path,label,split\nimages/a.png,cat,train\ntest/b.png,dog,test\n"
    dataset = registry.scan(folder(tmp_path, {"labels.csv": table}, "images/a.png", "test/b.png"))
    assert dataset.splits == {"test": 1, "train": 1}
    assert labels_of(dataset) == {"train/images/a": "cat", "test/b": "dog"}


@pytest.mark.parametrize(
    "tables",
    [("train.csv", "test.csv"), ("train_labels.csv", "test_labels.csv"), ("Train-v2.csv", "Test.csv")],
)
def test_split_is_told_by_the_names_of_tables(tables: tuple[str, str], tmp_path: Path) -> None:
    files = {tables[0]: "path,label\na.png,cat\n", tables[1]: "path,label\nb.png,dog\n"}
    dataset = registry.scan(folder(tmp_path, files, "images/a.png", "images/b.png"))
    assert {name.lower(): number for name, number in dataset.splits.items()} == {"test": 1, "train": 1}


def test_split_is_told_by_the_folders_of_tables(tmp_path: Path) -> None:
    table = "filename,class,xmin,ymin,xmax,ymax\na.png,cat,0,0,1,1\n"
    files = {"train/_annotations.csv": table, "valid/_annotations.csv": table}
    dataset = registry.scan(folder(tmp_path, files, "train/a.png", "valid/a.png"))
    assert dataset.splits == {"train": 1, "valid": 1}
    assert [record.key for record in dataset] == ["train/a", "valid/a"]


@pytest.mark.parametrize("place", ["", "data/", "data/annotations/", "deep/data/labels/"])
def test_table_lies_in_the_outermost_folder_or_in_one_that_structures(place: str, tmp_path: Path) -> None:
    names = [f"{place.removesuffix('annotations/').removesuffix('labels/')}images/{name}.png" for name in "ab"]
    dataset = registry.scan(folder(tmp_path, {f"{place}train.csv": "id,label\na,cat\nb,dog\n"}, *names))
    assert (dataset.format, list(labels_of(dataset).values())) == ("csv", ["cat", "dog"])


def test_split_is_told_by_the_folders_of_pictures(tmp_path: Path) -> None:
    table = "path,label\ntrain/a.png,cat\ntest/a.png,cat\n"
    assert registry.scan(folder(tmp_path, {"labels.csv": table}, "train/a.png", "test/a.png")).splits == {
        "test": 1,
        "train": 1,
    }


def test_picture_without_a_split_among_others_with_one_is_refused(tmp_path: Path) -> None:
    table = "path,label,split\na.png,cat,train\nb.png,dog,\nc.png,dog,a/b\n"
    dataset = scan(folder(tmp_path, {"labels.csv": table}, "a.png", "b.png", "c.png"))
    assert refused(dataset) == {
        "b.png": (Reason.ANNOTATION, "no split: others have train"),
        "c.png": (Reason.ANNOTATION, "not a split: 'a/b' cannot be a folder's name"),
    }


def test_name_that_leads_nowhere_is_looked_for_among_all_pictures(tmp_path: Path) -> None:
    table = "path,label\none.png,a\ndeep/two,b\n.\\deep\\three.png,c\nsame.png,d\n"
    names = ("x/one.png", "y/deep/two.png", "deep/three.png", "1/same.png", "2/same.png")
    dataset = scan(folder(tmp_path, {"labels.csv": table}, *names))
    assert labels_of(dataset) == {"x/one": "a", "y/deep/two": "b", "deep/three": "c"}
    told = refused(dataset)["same.png"]
    assert told == (
        Reason.ANNOTATION,
        "ambiguous path: 'same.png' may be 1/same.png, 2/same.png; write the whole path (line 5 of labels.csv)",
    )


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "gone.png", "..", ".", "/", "a.png/b", "labels.csv"])
def test_path_that_leads_out_or_nowhere_is_a_picture_that_is_missing(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(picture())
    dataset = scan(folder(tmp_path / "data", {"labels.csv": f"path,label\na.png,x\n{name},y\n"}, "a.png"))
    assert [record.key for record in dataset] == ["a"]
    assert refused(dataset)[name] == (Reason.ANNOTATION, "picture missing: line 3 of labels.csv names it")


def test_of_several_tables_one_counts_by_its_name(tmp_path: Path) -> None:
    files = {"labels.csv": "path,label\na.png,cat\n", "other.csv": "path,label\na.png,dog\n"}
    root = folder(tmp_path, files, "a.png")
    with pytest.raises(
        DatasetError, match=r"other\.csv was not read, though line 2 names a\.png: .*\(--ignore other\.csv\)"
    ):
        registry.scan(root)
    dataset = registry.scan(root, ignore=["other.csv"])
    assert labels_of(dataset) == {"a": "cat"}
    assert dataset.notices == ("1 file or folder is ignored as asked",)
    (root / "labels.csv").rename(root / "mine.csv")
    with pytest.raises(DatasetError, match=r"has several tables of images \(mine.csv, other.csv\); name the one"):
        registry.scan(root)


def test_table_without_paths_or_without_classes_is_none(tmp_path: Path) -> None:
    root = folder(tmp_path, {"notes.csv": "a,b\n1,2\n", "list.csv": "path,size\na.png,7\n"}, "cat/a.png")
    with pytest.raises(
        DatasetError, match=r"read as folder, and list\.csv was not read, though line 2 names cat/a\.png"
    ):
        registry.scan(root)
    dataset = registry.scan(root, format="folder")
    assert dataset.notices == (
        "list.csv was not read, though line 2 names cat/a.png",
        "notes.csv was not read",
    )
    with pytest.raises(
        DatasetError, match=r"list\.csv: .* column path names images, and of its other columns \(size\)"
    ):
        registry.scan(root, format="csv")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("path,label\na.png\n", "line 2 has 1 cells, of 2 columns"),
        ('path,label\na.png,"x\n', "line 2 cannot be read"),
        ("path,label\na.png,x\n,y\n", "line 3 names no image"),
        ("path,label\na.png," + "x" * 200_000 + "\n", "line 2 cannot be read"),
    ],
)
def test_table_that_cannot_be_read_is_an_error_with_its_line(table: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=f"labels.csv: {message}"):
        registry.scan(folder(tmp_path, {"labels.csv": table}, "a.png"))


words = st.sampled_from(["file_name", "label", "labels", "xmin", "ymin", "xmax", "ymax", "class", "split", "width"]) | (
    st.sampled_from([*',;\t\n"|=10é\0\ufeff', "a.png", "b", "../x", "height", "train", "-3.5", "nan", "1e400", ""])
)
headers = st.sampled_from(["file_name,label\n", "path,class,xmin,ymin,xmax,ymax\n", "path,labels,split\n", ""])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(headers, st.lists(st.tuples(words, st.sampled_from([",", "", "\n"])), max_size=25))
def test_any_table_is_read_or_refused(tmp_path: Path, header: str, parts: list[tuple[str, str]]) -> None:
    text = header + "".join(word + after for word, after in parts)
    root = folder(tmp_path, {"labels.csv": text}, "a.png", "b.png")
    try:
        dataset = scan(root)
    except DatasetError:
        return
    assert annotations_by_key(dataset).keys() == labels_of(dataset).keys()


# ----------------------------------------------------------------------------------------------------------- rows


@pytest.mark.parametrize(
    ("rows", "detail"),
    [
        ("a.png,30,20,cat,1,2,3,x\n", "malformed: a corner in line 2 is 'x', not a number"),
        ("a.png,30,20,cat,1,2,3,\n", "malformed: a corner in line 2 is '', not a number"),
        ("a.png,30,20,cat,1,2,3,nan\n", "not a number: box 0"),
        ("a.png,30,20,,1,2,3,4\n", "malformed: the box in line 2 has no class"),
        ("a.png,30,20,cat,1,2,3,40\n", "box outside: box 0"),
        ("a.png,60,40,cat,1,2,3,4\n", "picture of another size: line 2 says 60 x 40, it is 30 x 20"),
        ("a.png,20,30,cat,1,2,3,4\n", "picture of another size: line 2 says 20 x 30, it is 30 x 20"),
        ("a.png,x,20,cat,1,2,3,4\n", "malformed: a size in line 2 is 'x', not a number"),
    ],
)
def test_box_that_cannot_be_true_is_refused_by_name(rows: str, detail: str, tmp_path: Path) -> None:
    header, good = "filename,width,height,class,xmin,ymin,xmax,ymax\n", "b.png,30,20,cat,0,0,1,1\n"
    dataset = scan(folder(tmp_path, {"labels.csv": header + rows + good}, "a.png", "b.png"))
    [(key, (reason, found))] = refused(dataset).items()
    assert (key, reason) == ("a.png", Reason.ANNOTATION)
    assert found.startswith(detail)


@pytest.mark.parametrize(
    ("table", "detail"),
    [
        ("path,label\na.png,x\na.png,y\nb.png,z\n", "two classes: 'x' and 'y', in the rows of one picture"),
        ("path,label\na.png,x\na.png,x\nb.png,z\n", "named twice: in lines 2 and 3"),
        ("path,label\na.png,x\nimages/../a.png,x\nb.png,z\n", "named twice: in lines 2 and 3"),
        ("path,labels\na.png,x=y\nb.png,z\n", "malformed: a share is 'y', not a number"),
        ("path,labels\na.png,x=nan\nb.png,z\n", "not a number: labels"),
        ("path,label,split\na.png,x,train\na.png,x,val\nb.png,z,val\n", "two splits: 'train' and 'val'"),
    ],
)
def test_rows_that_contradict_each_other_are_refused_by_name(table: str, detail: str, tmp_path: Path) -> None:
    [(key, (reason, found))] = refused(scan(folder(tmp_path, {"labels.csv": table}, "a.png", "b.png"))).items()
    assert (key.removeprefix("val/"), reason) == ("a.png", Reason.ANNOTATION)
    assert found.startswith(detail)


def test_picture_that_two_tables_name_is_refused(tmp_path: Path) -> None:
    files = {"train.csv": "path,label\na.png,x\n", "test.csv": "path,label\na.png,x\nb.png,x\n"}
    dataset = scan(folder(tmp_path, files, "a.png", "b.png"))
    assert refused(dataset) == {"test/a.png": (Reason.ANNOTATION, "named twice: the second time in train.csv")}


# ------------------------------------------------------------------------------------------------------ round trip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.lists(annotations_for_tests.boxed(SIZE), min_size=1, max_size=3))
def test_boxes_come_back_from_what_is_written(
    tmp_path_factory: pytest.TempPathFactory, said: list[Annotations]
) -> None:
    outputs = [output(f"d/k{i}", each, split=("train", "val")[i % 2]) for i, each in enumerate(said)]
    whole = Whole(annotations_for_tests.CLASSES, (), frozenset({"boxes"}), ("train", "val"), "elsewhere")
    root = write(tmp_path_factory.mktemp("written"), "csv", outputs, whole)
    found = annotations_by_key(registry.scan(root))
    for i, each in enumerate(said):
        back = found[f"{('train', 'val')[i % 2]}/d/k{i}"]
        np.testing.assert_allclose(
            np.reshape(back.boxes or (), (-1, 4)), np.reshape(each.boxes or (), (-1, 4)), atol=1e-6
        )
        assert (back.box_labels or ()) == each.box_labels
        texts = [{name: str(value) for name, value in one.items()} for one in each.box_attributes or ()]
        assert list(back.box_attributes or ()) == texts


def test_classes_come_back_from_what_is_written(tmp_path: Path) -> None:
    rows = 'path,label,split,note\na.png,"cat, or so",train,"said ""yes"""\nd/b.png,dog,val,\nc.png,,val,=1\n'
    first = registry.scan(folder(tmp_path / "in", {"labels.csv": rows}, "a.png", "d/b.png", "c.png"))
    second = convert(first, tmp_path / "out", "csv")
    assert (second.digest, second.classes, second.splits) == (first.digest, first.classes, first.splits)
    assert labels_of(second) == {"train/a": "cat, or so", "val/c": None, "val/d/b": "dog"}
    convert(second, tmp_path / "again", "csv")
    assert files_of(tmp_path / "again") == files_of(tmp_path / "out")


def test_several_classes_come_back_from_what_is_written(tmp_path: Path) -> None:
    rows = "path,labels\na.png,x;y\nb.png,x=0.25;y=0.75\nc.png,\n"
    first = registry.scan(folder(tmp_path / "in", {"labels.csv": rows}, "a.png", "b.png", "c.png"))
    assert convert(first, tmp_path / "out", "csv").digest == first.digest
    assert (tmp_path / "out" / "labels.csv").read_text() == "file_name,labels\na.png,x;y\nb.png,x=0.25;y=0.75\nc.png,\n"


def test_class_folders_become_a_table_and_the_table_class_folders(tmp_path: Path) -> None:
    root = folder(tmp_path / "in", {}, "train/cat/a.png", "train/dog/b.png", "test/cat/a.png")
    first = registry.scan(root)
    table = convert(first, tmp_path / "table", "csv")
    assert (table.digest, table.classes) == (first.digest, first.classes)
    again = convert(table, tmp_path / "again", "folder")
    assert again.digest == first.digest
    assert files_of(tmp_path / "again") == files_of(root)


def test_name_of_a_class_that_cannot_stand_among_several_is_refused(tmp_path: Path) -> None:
    said = Annotations(labels={"a;b": 1.0})
    whole = Whole(("a;b",), (), frozenset({"labels"}), (), "elsewhere")
    with pytest.raises(DatasetError, match="class 'a;b' cannot stand among several in one cell"):
        write(tmp_path, "csv", [output("a", said), output("b", NOTHING)], whole)


def test_boxes_in_shares_are_refused_before_all_of_them_are_dropped(tmp_path: Path) -> None:
    rows = "1.png,a,0.1,0.1,0.5,0.5\n2.png,a,0.2,0.2,0.6,1\n"
    lay(tmp_path, {name: picture() for name in ("1.png", "2.png")})
    (tmp_path / "labels.csv").write_text(f"filename,class,xmin,ymin,xmax,ymax\n{rows}")
    with pytest.raises(DatasetError, match="shares of their pictures"):
        registry.scan(tmp_path)
