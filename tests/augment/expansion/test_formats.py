"""Expansions of datasets with boxes and masks, in every format that can hold them."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from augment.datasets import targets
from augment.datasets.dataset import Dataset
from augment.errors import DatasetError, OutputError
from augment.expansion.expand import Expansion, expand_dataset
from augment.expansion.verify import Finding, verify_expansion
from augment.images import masks
from augment.render.renderer import Renderer
from augment.samples.annotations import NOTHING, Annotations
from augment.scanning.scan import scan
from tests.augment.expansion.annotated_for_tests import PIPELINE, lay_voc
from tests.augment.expansion.expansions_for_tests import content, flip_a_bit, identities, lay_noise, rows

pytestmark = pytest.mark.usefixtures("nothing_left")

SPLITS = {"train": ["a1", "a2", "b3", "c4"], "val": ["v1", "v2"]}
BOTH = ["voc", "imagefolder", "webdataset", "parquet"]
BOXES = ["coco", "yolo", "csv"]
PACKED = ["webdataset", "parquet"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return lay_voc(tmp_path / "voc", SPLITS)


def dropped(name: str) -> tuple[str, ...]:
    return () if name in BOTH else ("mask",)


def said(dataset: Dataset, split: str, key: str) -> Annotations:
    view = dataset.choose(split)
    place = view.find(key)
    assert place is not None
    text = view.record(place).annotations
    return NOTHING if text is None else Annotations.from_json(text)


@pytest.mark.parametrize("name", [*BOTH, *BOXES])
def test_outputs_say_where_the_boxes_went(name: str, data: Path, out: Path) -> None:
    """Read back by the scan of the format that was written, and compared with a rendering outside of any expansion."""
    summary = expand_dataset(data, out, PIPELINE, copies=2, seed=5, output_format=name, drop_targets=dropped(name))
    assert (summary.num_rendered, summary.num_copied, summary.num_refused) == (8, 2, 0)
    back = scan(out)
    assert (back.format, back.splits) == (name, {"train": 8, "val": 2})
    assert back.targets >= ({"boxes", "mask"} if name in BOTH else {"boxes"})
    renderer = Renderer(scan(data).choose("train"), PIPELINE.spec, seed=5)
    num_boxes = 0
    for record in renderer.dataset:
        for copy in range(2):
            sample = renderer.render(record, draw=copy).sample
            source = Annotations.from_json(record.annotations or "{}")
            wanted = targets.annotations_of(sample, source, renderer.dataset.vocabulary)
            found = said(back, "train", f"{record.key}__{copy}")
            assert len(found.boxes or ()) == len(wanted.boxes or ())
            assert np.allclose(found.boxes or [], wanted.boxes or [], atol=0.5 if name == "voc" else 1e-3)
            assert (found.box_labels or ()) == (wanted.box_labels or ())
            num_boxes += len(found.boxes or ())
    assert num_boxes > 3
    source_val, back_val = said(renderer.dataset, "val", "v1"), said(back, "val", "v1")
    assert np.allclose(back_val.boxes or [], source_val.boxes or [], atol=1e-3)
    assert expand_dataset(
        data, out, PIPELINE, copies=2, seed=5, output_format=name, drop_targets=dropped(name)
    ).nothing_to_do
    report = verify_expansion(out)
    assert (report.ok, report.rendered_again) == (True, True)


@pytest.mark.parametrize("name", BOTH)
def test_masks_are_those_of_the_samples(name: str, data: Path, out: Path) -> None:
    expand_dataset(data, out, PIPELINE, copies=1, seed=5, output_format=name)
    source, back = scan(data), scan(out)
    renderer = Renderer(source.choose("train"), PIPELINE.spec, seed=5)
    view = back.choose("train")
    for record in renderer.dataset:
        place = view.find(f"{record.key}__0")
        assert place is not None
        found = masks.decode_mask(view.read_mask(view.record(place)))
        assert (found == renderer.render(record, draw=0).sample.mask).all()
    val, back_val = source.choose("val"), back.choose("val")
    assert [back_val.read_mask(each) for each in back_val] == [val.read_mask(each) for each in val]


def test_rows_name_all_files_of_an_output(data: Path, out: Path) -> None:
    expand_dataset(data, out, PIPELINE, copies=3)
    for row in rows(out):
        name = f"{row['split']}/{row['key']}" + ("" if row["copy"] is None else f"__{row['copy']}")
        assert row["path"] == f"JPEGImages/{name}.jpg"
        assert row["mask_path"] == f"SegmentationClass/{name}.png"
        assert [each["path"] for each in row["files"]] == [row["mask_path"], f"Annotations/{name}.xml"]
        assert all((out / each["path"]).stat().st_size == each["size_bytes"] for each in row["files"])
        assert Annotations.from_json(row["annotations"]).boxes is not None
    lost = [json.loads(row["dropped"])["boxes"] for row in rows(out) if row["dropped"]]
    assert lost, "no crop lost a box; choose another seed"
    assert (out / "ImageSets/Main/val.txt").read_text() == "val/v1\nval/v2\n"


def test_targets_that_a_format_cannot_hold_are_dropped_in_so_many_words(data: Path, out: Path) -> None:
    with pytest.raises(DatasetError, match=r"has mask, which the format coco cannot hold.*--drop-targets mask"):
        Expansion(data, out, PIPELINE, output_format="coco")
    with pytest.raises(DatasetError, match=r"has mask and boxes, which the format folder.*--drop-targets mask,boxes"):
        Expansion(data, out, PIPELINE, output_format="folder")
    with pytest.raises(DatasetError, match="did you mean `coco`"):
        Expansion(data, out, PIPELINE, output_format="cocoa")
    expand_dataset(data, out, PIPELINE, output_format="folder", drop_targets=["mask", "boxes"])
    assert {row["annotations"] for row in rows(out)} == {"{}"}
    assert scan(out).splits == {"train": 4, "val": 2}
    assert not list(out.rglob("*.png"))


@pytest.mark.parametrize("name", [*BOTH, *BOXES])
def test_converter_writes_the_images_themselves(name: str, data: Path, out: Path) -> None:
    summary = expand_dataset(
        data, out, copies=0, include_originals=True, output_format=name, drop_targets=dropped(name)
    )
    assert (summary.num_rendered, summary.num_originals, summary.num_copied) == (0, 4, 2)
    source, back = scan(data), scan(out)
    for split in SPLITS:
        view, found = source.choose(split), back.choose(split)
        assert found.keys(range(found.num_records)) == view.keys(range(view.num_records))
        assert [found.read(each) for each in found] == [view.read(each) for each in view]
    assert verify_expansion(out).ok


def test_box_survives_the_way_through_four_formats(data: Path, tmp_path: Path) -> None:
    """VOC -> COCO -> YOLO -> VOC: every box within half a pixel."""
    source = data
    for name in ("coco", "yolo", "voc"):
        out = tmp_path / f"as {name}"
        expand_dataset(source, out, copies=0, include_originals=True, output_format=name, drop_targets=["mask"])
        source = out
    before, after = scan(data), scan(source)
    for split in SPLITS:
        for record in before.choose(split):
            was, became = said(before, split, record.key), said(after, split, record.key)
            assert was.box_labels == became.box_labels
            assert np.abs(np.subtract(was.boxes or [], became.boxes or [])).max(initial=0) <= 0.5


@pytest.mark.parametrize(
    ("harm", "finding", "path"),
    [
        (Path.unlink, Finding.MISSING, "SegmentationClass/train/a1__0.png"),
        (flip_a_bit, Finding.CHANGED, "Annotations/train/a1__0.xml"),
        (flip_a_bit, Finding.CHANGED, "JPEGImages/val/v1.jpg"),
        (flip_a_bit, Finding.CHANGED, "ImageSets/Main/train.txt"),
        (Path.unlink, Finding.MISSING, "ImageSets/Main/val.txt"),
    ],
)
def test_harm_to_any_file_is_found_and_mended(data: Path, out: Path, harm: Any, finding: Finding, path: str) -> None:
    expand_dataset(data, out, PIPELINE, copies=1)
    whole = content(out)
    harm(out / path)
    assert [(each.finding, each.path) for each in verify_expansion(out).mismatches] == [(finding, path)]
    summary = expand_dataset(data, out, PIPELINE, copies=1)
    assert not summary.nothing_to_do
    assert content(out) == whole
    assert verify_expansion(out).ok


def test_update_writes_class_numbers_anew_and_keeps_images(data: Path, out: Path, tmp_path: Path) -> None:
    """A new first class changes the numbers of all others, in annotation files of unchanged images."""
    options: dict[str, Any] = {"copies": 1, "output_format": "yolo", "drop_targets": ["mask"]}
    expand_dataset(data, out, PIPELINE, **options)
    before = identities(out)
    lay_voc(data, {**SPLITS, "train": [*SPLITS["train"], "d5"]})
    xml = data / "Annotations/d5.xml"
    added = (
        "<object><name>ant</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>30</xmax><ymax>22</ymax></bndbox></object>"
    )
    xml.write_text(xml.read_text().replace("</annotation>", f"{added}</annotation>"))
    summary = expand_dataset(data, out, PIPELINE, update=True, **options)
    assert (summary.num_rendered, summary.num_kept) == (1, 6)
    after = identities(out)
    assert {name: after[name] for name in before} == before
    expand_dataset(data, tmp_path / "fresh", PIPELINE, **options)
    assert content(out) == content(tmp_path / "fresh")
    assert verify_expansion(out).ok


@pytest.mark.parametrize("name", PACKED)
def test_packed_shards_are_kept_as_a_whole(
    name: str, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from augment.expansion import spec

    monkeypatch.setattr(spec, "_OUTPUTS_A_SHARD", 2)
    data = lay_voc(tmp_path / "voc", SPLITS)
    options: dict[str, Any] = {"copies": 1, "output_format": name}
    expand_dataset(data, out, PIPELINE, **options)
    shards = {row["path"] for row in rows(out)}
    assert len(shards) == 3, "two records a shard"
    before = {path: (out / path).stat().st_ino for path in shards}
    assert expand_dataset(data, out, PIPELINE, **options).nothing_to_do
    flip_a_bit(out / min(shards))
    assert expand_dataset(data, out, PIPELINE, **options).num_rendered == 2
    lay_voc(data, {**SPLITS, "train": [*SPLITS["train"], "d5"]})
    summary = expand_dataset(data, out, PIPELINE, update=True, **options)
    assert (summary.num_rendered, summary.num_kept) == (1, 6)
    after = {path: (out / path).stat().st_ino for path in shards}
    assert [path for path in shards if before[path] != after[path]] == [min(shards)]
    lay_voc(data, {**SPLITS, "train": ["a0", *SPLITS["train"], "d5"]})
    summary = expand_dataset(data, out, PIPELINE, update=True, **options)
    assert (summary.num_rendered, summary.num_kept) == (6, 2), "all shards behind the new record hold other records"
    expand_dataset(data, tmp_path / "fresh", PIPELINE, **options)
    assert content(out) == content(tmp_path / "fresh")
    assert verify_expansion(out).ok


@pytest.mark.parametrize("name", PACKED)
def test_file_of_others_in_the_place_of_a_shard_stays(name: str, data: Path, out: Path, tmp_path: Path) -> None:
    expand_dataset(data, tmp_path / "first", PIPELINE, output_format=name, split="train")
    path = rows(tmp_path / "first")[0]["path"]
    expansion = Expansion(data, out, PIPELINE, output_format=name, split="train")
    (out / path).parent.mkdir(parents=True)
    shutil.copy2(tmp_path / "first/expansion.json", out)
    (out / path).write_bytes(b"mine")
    with pytest.raises(OutputError, match=f"holds a file {path} that this expansion did not write"):
        expansion.run()
    assert (out / path).read_bytes() == b"mine"


def test_masks_of_other_formats_become_png(tmp_path: Path, out: Path) -> None:
    from PIL import Image

    data = lay_voc(tmp_path / "voc", {"train": ["a1"]})
    png = next(data.glob("SegmentationClass/*.png"))
    values = masks.decode_mask(png.read_bytes())
    images = tmp_path / "pairs"
    for name in ("images", "masks"):
        (images / name).mkdir(parents=True)
    shutil.copy2(data / "JPEGImages/a1.jpg", images / "images/a1.jpg")
    Image.fromarray(values).save(images / "masks/a1.tif")
    expand_dataset(images, out, copies=0, include_originals=True)
    assert (masks.decode_mask((out / "masks/a1.png").read_bytes()) == values).all()


def test_classes_become_folders_where_the_folder_format_is_written(tmp_path: Path, out: Path) -> None:
    data = lay_noise(tmp_path / "data", ["cat/1.jpg", "dog/1.jpg"])
    expand_dataset(data, tmp_path / "csv", copies=0, include_originals=True, output_format="csv")
    expand_dataset(tmp_path / "csv", out, copies=0, include_originals=True, output_format="folder")
    back = scan(out)
    assert {each.key: back.classes[each.label or 0] for each in back} == {"cat/1": "cat", "dog/1": "dog"}


def test_names_that_a_format_flattens_are_refused_where_two_meet(tmp_path: Path, out: Path) -> None:
    """Without classes the folder format writes a key's folders into the name, because they would be read as classes."""
    images = lay_noise(tmp_path / "pairs/images", ["a/1.jpg", "a__1.jpg", "a.jpg"])
    (images.parent / "masks").mkdir()
    for name in ("a/1.png", "a__1.png", "a.png"):
        (images.parent / "masks" / name).parent.mkdir(exist_ok=True)
        (images.parent / "masks" / name).write_bytes(masks.encode_mask(np.zeros((24, 32), np.uint8)))
    with pytest.raises(DatasetError, match=r"records a/1 and a__1 would both be written to a__1__0\.jpg as folder"):
        Expansion(images.parent, out, PIPELINE, output_format="folder", drop_targets=["mask"])
    (images / "a__1.jpg").unlink()
    (images.parent / "masks/a__1.png").unlink()
    with pytest.raises(DatasetError, match=r"would both be written to a__1\.jpg as folder"):
        Expansion(
            images.parent,
            out,
            PIPELINE,
            copies=2,
            include_originals=True,
            output_format="folder",
            drop_targets=["mask"],
        )


def test_original_whose_annotations_would_share_a_file_is_refused(tmp_path: Path, out: Path) -> None:
    """Images may differ only by their extensions, but their annotation files are named without them."""
    data = lay_voc(tmp_path / "voc", {"train": ["a", "a__0"]})
    with pytest.raises(DatasetError, match=r"the original of record a__0 and a copy of record a would both be"):
        Expansion(data, out, PIPELINE, include_originals=True, image_format="png")
    expand_dataset(data, out, PIPELINE, image_format="png")
    assert {path.name for path in out.glob("Annotations/train/*")} == {"a__0.xml", "a__0__0.xml"}


@pytest.mark.parametrize(("name", "is_told"), [("coco", False), ("yolo", True), ("voc", True), ("webdataset", False)])
def test_crowds_that_a_format_cannot_tell_are_a_notice(name: str, is_told: bool, tmp_path: Path, out: Path) -> None:
    lay_noise(tmp_path / "coco", ["a.png", "b.png"])
    objects = [
        {"id": i, "image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9], "iscrowd": int(i > 0)} for i in range(3)
    ]
    images = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}]
    text = json.dumps({"images": images, "annotations": objects, "categories": [{"id": 1, "name": "dog"}]})
    (tmp_path / "coco/annotations.json").write_text(text)
    expansion = Expansion(tmp_path / "coco", out, PIPELINE, output_format=name)
    expected = (f"{name} cannot mark 2 crowds (iscrowd) of the dataset: written as any object",)
    assert expansion.notices == (expected if is_told else ())
