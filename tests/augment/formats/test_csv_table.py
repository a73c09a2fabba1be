"""CSV format: dialects of tables, searches for paths, boxes, and refusals."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from augment.datasets.dataset import Dataset
from augment.errors import DatasetError, Reason
from augment.formats.format import OutputDataset
from augment.formats.shared.columns import Box, columns_of
from augment.samples.annotations import NOTHING, Annotations
from augment.scanning import scan as registry
from tests.augment import annotations_for_tests
from tests.augment.folders_for_tests import lay, pattern
from tests.augment.formats.formats_for_tests import SIZE, annotations_by_key, convert, files_of, output, write

HEIGHT, WIDTH = 20, 30


def folder(root: Path, tables: dict[str, str], *images: str, encoding: str = "utf-8") -> Path:
    lay(root, {name: pattern(shade, height=HEIGHT, width=WIDTH) for shade, name in enumerate(images)})
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
    with pytest.raises(DatasetError, match=r"labels\.csv: .* column path names images, but none .* \(u, v\) is known"):
        registry.scan(root, format="csv")


def test_class_of_a_box_and_class_of_its_image_stand_side_by_side() -> None:
    columns = columns_of(["file_name", "label", "class", "xmin", "ymin", "xmax", "ymax"], [], 0)
    assert (columns.label, columns.box_label, columns.box) == (1, 2, Box((3, 4, 5, 6), "corners"))


def test_other_columns_are_carried_along_as_text(tmp_path: Path) -> None:
    rows = "path,label,age,city\na.png,cat,7,\nb.png,dog,8,Bern\n"
    dataset = registry.scan(folder(tmp_path / "1", {"labels.csv": rows}, "a.png", "b.png"))
    assert annotations_by_key(dataset)["b"] == Annotations(extra={"age": "8", "city": "Bern"})
    boxes = "path,class,xmin,ymin,xmax,ymax,occluded\na.png,cat,0,0,1,1,yes\na.png,cat,0,0,2,2,\n"
    dataset = registry.scan(folder(tmp_path / "2", {"labels.csv": boxes}, "a.png"))
    assert annotations_by_key(dataset)["a"].box_attributes == ({"occluded": "yes"}, {})


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


def test_split_is_told_by_the_folders_of_images(tmp_path: Path) -> None:
    table = "path,label\ntrain/a.png,cat\ntest/a.png,cat\n"
    assert registry.scan(folder(tmp_path, {"labels.csv": table}, "train/a.png", "test/a.png")).splits == {
        "test": 1,
        "train": 1,
    }


def test_image_without_a_split_among_others_with_one_is_refused(tmp_path: Path) -> None:
    table = "path,label,split\na.png,cat,train\nb.png,dog,\nc.png,dog,a/b\n"
    dataset = scan(folder(tmp_path, {"labels.csv": table}, "a.png", "b.png", "c.png"))
    assert refused(dataset) == {
        "b.png": (Reason.ANNOTATION, "no split: other rows have train"),
        "c.png": (Reason.ANNOTATION, "not a split: 'a/b' cannot be a folder's name"),
    }


def test_name_that_leads_nowhere_is_looked_for_among_all_images(tmp_path: Path) -> None:
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
def test_path_that_leads_out_or_nowhere_is_an_image_that_is_missing(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(pattern())
    dataset = scan(folder(tmp_path / "data", {"labels.csv": f"path,label\na.png,x\n{name},y\n"}, "a.png"))
    assert [record.key for record in dataset] == ["a"]
    assert refused(dataset)[name] == (Reason.ANNOTATION, "image missing: line 3 of labels.csv names it")


def test_of_several_tables_one_counts_by_its_name(tmp_path: Path) -> None:
    files = {"labels.csv": "path,label\na.png,cat\n", "other.csv": "path,label\na.png,dog\n"}
    root = folder(tmp_path, files, "a.png")
    with pytest.raises(
        DatasetError, match=r"other\.csv was not read, though line 2 names a\.png: .*\(--ignore other\.csv\)"
    ):
        registry.scan(root)
    dataset = registry.scan(root, ignore=["other.csv"])
    assert labels_of(dataset) == {"a": "cat"}
    assert dataset.notices == ("1 file or folder is ignored as requested",)
    (root / "labels.csv").rename(root / "mine.csv")
    with pytest.raises(
        DatasetError, match=r"has several tables of images \(mine.csv, other.csv\); rename the right one"
    ):
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
        DatasetError, match=r"list\.csv: .* column path names images, but none of its other columns \(size\)"
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
        ("a.png,60,40,cat,1,2,3,4\n", "image of another size: line 2 has 60 x 40, the image 30 x 20"),
        ("a.png,20,30,cat,1,2,3,4\n", "image of another size: line 2 has 20 x 30, the image 30 x 20"),
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
        ("path,label\na.png,x\na.png,y\nb.png,z\n", "two classes: 'x' and 'y', in the rows of one image"),
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


def test_image_that_two_tables_name_is_refused(tmp_path: Path) -> None:
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
    whole = OutputDataset(annotations_for_tests.CLASSES, (), frozenset({"boxes"}), ("train", "val"), "elsewhere")
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


@pytest.mark.parametrize("name", ["caption", "remark", "x", "bbox", "label", "Image ID", "", "unnamed: 0", "class_id"])
def test_what_is_carried_along_is_no_class_and_no_box_when_it_comes_back(name: str, tmp_path: Path) -> None:
    outputs = [output(key, Annotations(extra={name: "1"})) for key in "ab"]
    root = write(tmp_path, "csv", outputs, OutputDataset((), (), frozenset(), (), "elsewhere"))
    dataset = registry.scan(root)
    assert labels_of(dataset) == {"a": None, "b": None}
    [said] = {str(each.extra) for each in annotations_by_key(dataset).values()}
    assert said in {str({name: "1"}), str({f"{name}_": "1"})}


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
    whole = OutputDataset(("a;b",), (), frozenset({"labels"}), (), "elsewhere")
    with pytest.raises(DatasetError, match="class 'a;b' cannot be one of several in a cell"):
        write(tmp_path, "csv", [output("a", said), output("b", NOTHING)], whole)


def test_boxes_in_shares_are_refused_before_all_of_them_are_dropped(tmp_path: Path) -> None:
    rows = "1.png,a,0.1,0.1,0.5,0.5\n2.png,a,0.2,0.2,0.6,1\n"
    lay(tmp_path, {name: pattern() for name in ("1.png", "2.png")})
    (tmp_path / "labels.csv").write_text(f"filename,class,xmin,ymin,xmax,ymax\n{rows}")
    with pytest.raises(DatasetError, match="fractions of their images"):
        registry.scan(tmp_path)
