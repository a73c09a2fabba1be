"""Tables as users have them: columns by their values, no header, boxes of other tools, Kaggle's folders."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.errors import DatasetError, Reason
from augment.samples.annotations import Annotations
from augment.scanning import scan as registry
from tests.augment.formats.formats_for_tests import annotations_by_key
from tests.augment.formats.test_csv_table import folder, labels_of, refused, scan

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
        ("image,mask\na,a_m\n", "its columns image and mask name different images; rename the right one to file_name"),
        ("image,target\na,a_m\n", "its columns image and target name different images"),
        ("one,two\na.png,a_m.png\n", "its columns one and two name different images"),
        ("a.png,a_m.png\n", "its columns column 1 and column 2 name different images"),
        (
            "id,class,label\na,x,y\n",
            "its columns label and class may both be the class; rename the right one to label",
        ),
        ("id,label,class_id\na,x,1\na_m,y,1\n", "its columns label and class_id may both be the class"),
        ("ImageId,EncodedPixels\na,1 3 10 5\n", "its columns EncodedPixels hold positions in images"),
        ('image_id,label,bbox\na,x,"[1, 2, 3, 4]"\n', "its columns bbox hold positions in images"),
        ("file,label,x1,y1,x2,y2,x3,y3\na.png,x,1,2,3,4,5,6\n", "its columns x3, y3 hold positions in images"),
        ("file,label,xmin,ymin\na.png,x,1,2\n", "its columns xmin, ymin hold positions in images"),
        (
            "id,labels\na,scab\na_m,scab rust\n",
            "its column labels may hold several classes, as in 'scab rust'; write ;",
        ),
        ('id,tags\na,x\na_m,"x, y"\n', "its column tags may hold several classes, as in 'x, y'"),
        ("id,attribute_ids\na,1 2 3\na_m,4 5\n", "its lines name a and a_m: of its columns 'id,attribute_ids' rename"),
        ("path,label,label\na.png,x,y\n", "two of its columns are called label"),
        ("path,label,\na.png,x,why\n", "its column 3 has no name"),
        ("zz,k\na,k\na_m,k\n", "its first line may be a header or a row"),
        ("id,style,season\na,x,y\na_m,x,y\n", "its lines name a and a_m: of its columns 'id,style,season' rename"),
        ("path,caption\na.png,a dog\n", "line 2 names a.png: of its columns 'path,caption' rename"),
        ("path,origin\na.png,http://a.b/c\n", "line 2 names a.png: of its columns 'path,origin' rename"),
        ("path,quality\na.png,0.53\n", "line 2 names a.png: of its columns 'path,quality' rename"),
        ("path,a,b\na.png,1,2\n", "line 2 names a.png: of its columns 'path,a,b' rename"),
        ("a.png,x,1,2,3,4\n", "line 1 names a.png: of its columns 'a.png,x,1,2,3,4' rename"),
        (
            "ImageID,Source,LabelName,Confidence\na,verification,/m/01,0\n",
            "it is a file of Open Images: files of",
        ),
        ("#filename,region_shape_attributes\na.png,x\n", "it is a file of VGG Image Annotator: files of"),
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
    with pytest.raises(DatasetError, match=r"labels\.csv: its numbers may be classes or images"):
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
    assert dataset.notices == ("sample_submission.csv was not read: a submission has predictions, not labels",)
    assert refused(dataset)["test_images/001.png"][1] == "no row of train.csv names it; add one, or move it elsewhere"
    (tmp_path / "train.csv").unlink()
    with pytest.raises(DatasetError, match=r"sample_submission\.csv"):
        registry.scan(tmp_path)
    with pytest.raises(DatasetError, match=r"sample_submission\.csv: .*a submission has predictions, not labels"):
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
    assert dataset.notices[0] == "test.csv names images but no classes: they have none"


def test_name_is_not_looked_for_among_the_images_of_another_split(tmp_path: Path) -> None:
    tables = {"train.csv": "id,label\n001,cat\n009,cat\n"}
    dataset = scan(folder(tmp_path, tables, "train/001.png", "test/001.png", "test/009.png"))
    assert labels_of(dataset) == {"train/001": "cat"}
    assert refused(dataset)["009"] == (Reason.ANNOTATION, "image missing: line 3 of train.csv names it")


def test_ids_that_name_no_image_are_refused_and_not_left_out(tmp_path: Path) -> None:
    for table in ("id_code,diagnosis\nzz,2\n", "id,label\nzz,2\n", "name,kind\na.jpg,2\nb.jpg,0\n"):
        with pytest.raises(DatasetError, match="image missing"):
            registry.scan(folder(tmp_path, {"train.csv": table}, "cat/a.png", "dog/b.png"))


def test_table_that_names_few_images_gives_classes_only_by_a_known_name(tmp_path: Path) -> None:
    names = [f"{name}/{number}.png" for name in ("cat", "dog") for number in range(3)]
    root = folder(tmp_path, {"list.tsv": "name\tkind\ncat/1.png\ta\n"}, *names)
    with pytest.raises(DatasetError, match=r"read as folder, and list\.tsv was not read, though line 2 names cat/1"):
        registry.scan(root)
