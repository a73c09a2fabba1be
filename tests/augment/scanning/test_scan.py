"""Scan from outside: recognition of formats, and the treatment of invalid annotations."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from augment.datasets.dataset import Dataset
from augment.errors import CallError, DatasetError, Reason
from augment.formats.format import Described, FileGroup, Listing, ShardFormat
from augment.scanning import assemble
from augment.scanning.examine import Examiner, Refused, ScanLimits
from augment.scanning.scan import _ASKED, FORMATS, recognised, scan
from tests.augment.folders_for_tests import grown, lay, lay_images, pattern

BOXES = b"file_name,class,xmin,ymin,xmax,ymax\n"


def boxes(root: Path, *rows: str) -> Path:
    """Write a table of boxes; the images a to e are 8 x 8."""
    lay_images(root, *(f"{name}.png" for name in "abcde"))
    return lay(root, {"labels.csv": BOXES + "".join(f"{row}\n" for row in rows).encode()})


# -------------------------------------------------------------------------------------------------------- formats


def mask_folders(root: Path) -> Path:
    return lay_images(root, "images/a.png", "masks/a.png")


def test_format_is_found_out(tmp_path: Path) -> None:
    cases = {
        "folder": lay_images(tmp_path / "1", "cat/a.png"),
        "csv": boxes(tmp_path / "2", "a.png,cat,0,0,1,1"),
        "imagefolder": lay(tmp_path / "3", {"metadata.jsonl": b'{"file_name": "a.png"}', "a.png": pattern()}),
        "masks": mask_folders(tmp_path / "4"),
    }
    for name, root in cases.items():
        found = recognised(grown(root))
        assert found is FORMATS[name]


def test_every_format_is_asked_and_has_a_name_of_its_own() -> None:
    asked = [each.name for equals in _ASKED for each in equals]
    assert sorted(asked) == sorted(FORMATS)
    assert len(asked) == len(set(asked))
    assert asked[-1] == "folder"


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_format_is_described(name: str) -> None:
    page = (Path(__file__).parents[3] / "docs" / "formats.md").read_text(encoding="utf-8")
    assert f"\n## `{name}`\n" in page
    assert f"| [`{name}`](#{name}) |" in page


def test_a_table_says_more_than_the_names_of_folders(tmp_path: Path) -> None:
    root = mask_folders(tmp_path)
    lay(root, {"labels.csv": b"path,label\nimages/a.png,cat\n"})
    assert recognised(grown(root)).name == "csv"


def test_two_formats_that_are_equally_sure_need_a_name(tmp_path: Path) -> None:
    root = boxes(tmp_path, "a.png,cat,0,0,1,1")
    lay(root, {"metadata.jsonl": b'{"file_name": "a.png"}\n'})
    with pytest.raises(
        DatasetError,
        match=r"looks like imagefolder \(metadata\.jsonl\) and csv: name the format \(--format; for an expansion",
    ):
        scan(root)
    assert scan(root, format="csv").targets == {"boxes"}
    assert scan(root, format="imagefolder").targets == frozenset()


def test_unknown_format_is_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"unknown format 'imagefodler'; did you mean `imagefolder`\?; the formats are coco, csv"
    ):
        scan(tmp_path, format="imagefodler")
    with pytest.raises(DatasetError, match="unknown format 'xxxxx'; the formats are coco, "):
        scan(tmp_path, format="xxxxx")


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="does not exist"):
        scan(tmp_path / "nowhere")
    lay(tmp_path, {"file": b"x"})
    with pytest.raises(DatasetError, match="is a file, not a folder"):
        scan(tmp_path / "file")


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_format_refuses_an_empty_folder_and_recognises_none(name: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=re.escape(str(tmp_path))):
        scan(tmp_path, format=name)
    assert FORMATS[name].recognise(grown(tmp_path)) == (name == "folder")


@pytest.mark.parametrize("name", sorted(name for name, each in FORMATS.items() if not isinstance(each, ShardFormat)))
def test_every_format_keeps_to_the_limit_on_files(name: str, tmp_path: Path) -> None:
    root = mask_folders(boxes(tmp_path, "a.png,cat,0,0,1,1"))
    with pytest.raises(DatasetError, match="holds more than 3 files"):
        scan(root, format=name, max_files=3)


# ---------------------------------------------------------------------------------------------------- annotations


def test_annotations_that_cannot_be_true_refuse_the_dataset_with_a_report(tmp_path: Path) -> None:
    outside = [f"{name}.png,cat,0,0,{100 + i},5" for i, name in enumerate("abcd")]
    root = boxes(tmp_path, *outside, "e.png,cat,4,4,4,5", "z.png,cat,0,0,1,1")
    with pytest.raises(DatasetError) as caught:
        scan(root)
    told = str(caught.value)
    assert "has 6 images with invalid annotations: 4 of box outside (a.png: box 0 is [0.0, 0.0, 100" in told
    assert "b.png: box 0" in told
    assert "d.png" not in told, "three examples of each kind"
    assert "; …), 1 of box without area (e.png: box 0" in told
    assert "1 of image missing (z.png: line 7 of labels.csv names it)" in told
    assert told.endswith("leave these images out (--bad-annotations leave-out; bad_annotations: leave_out)")
    assert "\n" not in told


def test_refused_dataset_leaves_no_manifest(tmp_path: Path) -> None:
    root = boxes(tmp_path / "data", "a.png,cat,0,0,100,5", "b.png,cat,0,0,1,5")
    with pytest.raises(DatasetError, match="has 1 image with invalid annotations"):
        scan(root, sink=tmp_path / "manifest.arrow")
    assert not (tmp_path / "manifest.arrow").exists()


def test_bad_annotations_are_left_out_with_rows_of_the_manifest(tmp_path: Path) -> None:
    root = boxes(tmp_path / "data", "a.png,cat,0,0,100,5", "b.png,cat,0,0,1,5", "z.png,cat,0,0,1,1")
    dataset = scan(root, bad_annotations="leave_out", sink=tmp_path / "manifest.arrow")
    assert dataset.keys(range(dataset.num_records)) == ["b"]
    bad = {refusal.key: refusal.detail for refusal in dataset.refused if refusal.reason is Reason.ANNOTATION}
    assert bad == {
        "a.png": "box outside: box 0 is [0.0, 0.0, 100.0, 5.0] on an image of 8 x 8 (width x height)",
        "z.png": "image missing: line 4 of labels.csv names it",
    }
    assert Dataset.open(tmp_path / "manifest.arrow").refused == dataset.refused


def test_digest_does_not_depend_on_what_was_left_out(tmp_path: Path) -> None:
    good = scan(boxes(tmp_path / "good", "b.png,cat,0,0,1,5"))
    root = boxes(tmp_path / "bad", "a.png,cat,0,0,100,5", "b.png,cat,0,0,1,5")
    assert scan(root, bad_annotations="leave_out").digest == good.digest


def test_report_is_the_same_whatever_the_number_of_threads(tmp_path: Path) -> None:
    lay_images(tmp_path, *(f"{number:03}.png" for number in range(200)))
    lay(tmp_path, {"labels.csv": BOXES + b"".join(b"%03d.png,cat,0,0,100,5\n" % number for number in range(200))})
    told = set()
    for num_threads in (1, 2, 7):
        with pytest.raises(DatasetError) as caught:
            scan(tmp_path, num_threads=num_threads)
        told.add(str(caught.value))
    assert len(told) == 1
    assert "200 of box outside (000.png: " in told.pop()


def test_word_that_is_neither_is_a_mistake_of_the_call(tmp_path: Path) -> None:
    with pytest.raises(CallError, match="bad_annotations is 'leave-out'; give refuse or leave_out"):
        scan(lay_images(tmp_path, "a.png"), bad_annotations="leave-out")


def test_files_that_say_nothing_of_images_are_noticed(tmp_path: Path) -> None:
    lay(boxes(tmp_path, "a.png,cat,0,0,1,1"), {"notes.txt": b"words", "README.md": b"# words"})
    dataset = scan(tmp_path)
    assert {refusal.reason for refusal in dataset.refused} == {Reason.MISPLACED}
    assert dataset.notices == ("notes.txt was not read",)


@pytest.mark.parametrize(
    ("described", "group_class", "detail"),
    [
        (Described(), "catt", "unknown class: 'catt' is not one of the 2 declared; did you mean `cat`?"),
        (Described(class_name="cow"), "cat", "unknown class: 'cow' is not one of the 2 declared"),
    ],
)
def test_class_that_is_not_declared_is_a_problem(
    tmp_path: Path, described: Described, group_class: str, detail: str
) -> None:
    lay_images(tmp_path, "a.png")
    group = FileGroup("", ("a.png",), class_name=group_class, described={0: described})
    listing = Listing(groups=[group], num_files=1, classes=("cat", "dog"))
    [[found]] = Examiner(tmp_path, ScanLimits(), listing).examine_all(num_threads=1)
    assert found.verdict == Refused(Reason.ANNOTATION, detail)


def test_classes_and_keypoints_in_annotations_are_compared_with_those_declared(tmp_path: Path) -> None:
    from augment.samples.annotations import Annotations

    lay_images(tmp_path, "a.png", "b.png", "c.png", "d.png")
    box = (0.0, 0.0, 1.0, 1.0)
    said = [
        Annotations(boxes=(box,), box_labels=("cow",)),
        Annotations(labels={"cow": 1.0}),
        Annotations(keypoints=((1.0, 1.0),), keypoint_labels=("tail",)),
        Annotations(boxes=(box,), box_labels=("dog",), keypoints=((1.0, 1.0),), keypoint_labels=("nose",)),
    ]
    group = FileGroup(
        "", ("a.png", "b.png", "c.png", "d.png"), described={i: Described(one) for i, one in enumerate(said)}
    )
    listing = Listing(groups=[group], num_files=4, classes=("cat", "dog"), keypoint_names=("nose",))
    [found] = Examiner(tmp_path, ScanLimits(), listing).examine_all(num_threads=1)
    details = [one.verdict.detail if isinstance(one.verdict, Refused) else None for one in found]
    assert details == [
        "unknown class: 'cow' is not one of the 2 declared",
        "unknown class: 'cow' is not one of the 2 declared",
        "unknown keypoint: 'tail' is not one of the 1 declared",
        None,
    ]


def test_refusals_are_counted_by_reason_and_kind() -> None:
    counted = assemble.RefusalCounts()
    for number in range(5):
        counted.add(f"{number}.png", Reason.MISPLACED, "beside: the splits")
        counted.add(f"{number}.png", Reason.ANNOTATION, "box outside: box 0 is: there")
    counted.add("a.png", Reason.ANNOTATION, "no colon")
    kinds = [(kind.reason, kind.name, kind.number, len(kind.examples)) for kind in counted]
    assert kinds == [
        (Reason.ANNOTATION, "box outside", 5, 3),
        (Reason.ANNOTATION, "annotation", 1, 1),
        (Reason.MISPLACED, "", 5, 3),
    ]
    assert counted.bad_annotations()[0].examples[0] == assemble.Example("0.png", "box 0 is: there")


def test_named_pipes_hold_up_nobody(tmp_path: Path) -> None:
    lay_images(tmp_path, "images/a.png", "Annotations/a.png", "annotations/a.png", "labels/a.png", "train/a.png")
    names = [
        "metadata.jsonl",
        "metadata.csv",
        "labels.csv",
        "train.csv",
        "data.yaml",
        "classes.txt",
        "obj.names",
        "x.tar",
    ]
    names += ["x.parquet", "annotations.json", "_annotations.coco.json", "annotations/instances_train.json"]
    names += ["Annotations/a.xml", "labels/a.txt", "train/metadata.jsonl", "train/labels.csv", "dataset_info.json"]
    for name in names:
        os.mkfifo(tmp_path / name)
    code = f"""
from augment.errors import AugmentError
from augment.scanning.scan import FORMATS, scan

for name in [None, *FORMATS]:
    try:
        scan({str(tmp_path)!r}, format=name)
    except AugmentError:
        pass
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
