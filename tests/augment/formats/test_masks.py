"""Masks format: layouts, pairs, the names of classes, and refusals."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from augment.datasets.dataset import Dataset
from augment.errors import DatasetError, Reason
from augment.expansion.expand import expand_dataset
from augment.formats import masks
from augment.formats.format import Output
from augment.formats.masks import MaskFolders
from augment.images.masks import decode_mask, encode_mask
from augment.render.pipeline import Pipeline
from augment.render.renderer import Renderer
from augment.samples.annotations import NOTHING
from augment.scanning import scan as registry
from tests.augment.folders_for_tests import grown, lay, lay_images, pattern
from tests.augment.formats.formats_for_tests import annotations_by_key, convert, files_of

HEIGHT, WIDTH = 6, 8


def mask(value: int = 0, *, height: int = HEIGHT, width: int = WIDTH) -> bytes:
    return encode_mask(np.full((height, width), value, np.uint16))


def folder(root: Path, *names: str, **files: bytes) -> Path:
    """Write images, and masks in folders named after them, each with its own value."""
    content: dict[str, bytes] = {}
    for number, name in enumerate(names):
        is_mask = any(word in name for word in ("mask", "label", "annot", "Segm", "gt"))
        content[name] = mask(number) if is_mask else pattern(number, height=HEIGHT, width=WIDTH)
    return lay(root, {**content, **files})


def scan(root: Path) -> Dataset:
    return registry.scan(root, format="masks", bad_annotations="leave_out")


def refused(dataset: Dataset) -> dict[str, tuple[Reason, str]]:
    return {refusal.key: (refusal.reason, refusal.detail) for refusal in dataset.refused}


def mask_of(dataset: Dataset, key: str) -> Any:
    found = dataset.find(key)
    assert found is not None
    return decode_mask(dataset.read_mask(dataset.record(found)))


# -------------------------------------------------------------------------------------------------------- layouts


@pytest.mark.parametrize(
    ("image", "its_mask", "split", "key"),
    [
        ("images/a.jpg", "masks/a.png", None, "a"),
        ("Images/deep/a.jpg", "Labels/deep/a.png", None, "deep/a"),
        ("JPEGImages/a.jpg", "SegmentationClassPNG/a.png", None, "a"),
        ("img/a.jpg", "gt/a.png", None, "a"),
        ("train/images/a.jpg", "train/masks/a.png", "train", "a"),
        ("images/train/a.jpg", "masks/train/a.png", "train", "a"),
        ("images/training/street/a.jpg", "annotations/training/street/a.png", "training", "street/a"),
        ("train/a.jpg", "train_labels/a.png", "train", "a"),
        ("train/a.png", "trainannot/a.png", "train", "a"),
        ("val/a.png", "val_masks/a.png", "val", "a"),
        ("images/a.jpg", "masks/a_mask.png", None, "a"),
        ("images/a.jpg", "masks/a.jpg.png", None, "a"),
        ("train/a.png", "train_labels/a_L.png", "train", "a"),
        ("images/a.png", "labels/a_P.png", None, "a"),
        ("images/a_mask.png", "masks/a_mask.png", None, "a_mask"),
        ("train/x_01.jpg", "train_masks/x_01_mask.png", "train", "x_01"),
        ("train_images/a.jpg", "train_masks/a.png", "train", "a"),
        ("a.jpg", "a_mask.png", None, "a"),
        ("train/a.rf.1f.jpg", "train/a.rf.1f_mask.png", "train", "a.rf.1f"),
        ("images/a.jpg", "images/a-seg.png", None, "a"),
        ("train/1_sat.jpg", "train/1_mask.png", "train", "1_sat"),
        ("images/1-image.jpg", "masks/1-gt.png", None, "1-image"),
        ("a.jpg", "a.png", None, "a"),
        ("benign/benign (1).jpg", "benign/benign (1)_Mask.png", None, "benign/benign (1)"),
    ],
)
def test_layout_is_recognised(image: str, its_mask: str, split: str | None, key: str, tmp_path: Path) -> None:
    root = lay(tmp_path, {image: pattern(height=HEIGHT, width=WIDTH), its_mask: mask(7)})
    dataset = registry.scan(root)
    assert dataset.format == "masks"
    assert dataset.splits == ({} if split is None else {split: 1})
    chosen = dataset.choose(split)
    assert [record.key for record in chosen] == [key]
    assert (mask_of(chosen, key) == 7).all()
    assert set(dataset.targets) == {"mask"}
    assert dataset.refused == ()


@pytest.mark.parametrize(
    "names",
    [
        ("cat/a.png", "dog/b.png"),
        ("images/a.png", "cat/b.png"),
        ("images/a.png", "labels/a.txt"),
        ("train/a.png", "test/a.png"),
        ("masks/a.png",),
    ],
)
def test_other_layouts_are_no_pairs(names: tuple[str, ...], tmp_path: Path) -> None:
    lay(tmp_path, {name: b"0 1 1 1 1" if name.endswith(".txt") else pattern() for name in names})
    assert not MaskFolders().recognise(grown(tmp_path))


def test_folder_without_pairs_is_an_error_that_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no pair of folders with images and masks; call the folders images"):
        registry.scan(folder(tmp_path, "cat/a.png"), format="masks")


def test_splits_of_several_layouts_have_their_own_pairs(tmp_path: Path) -> None:
    names = [
        f"{split}/{place}/{name}.png" for split in ("train", "val") for place in ("images", "masks") for name in "ab"
    ]
    dataset = registry.scan(folder(tmp_path, *names))
    assert dataset.splits == {"train": 2, "val": 2}
    assert [int(mask_of(dataset, key)[0, 0]) for key in ("train/a", "train/b", "val/a", "val/b")] == [2, 3, 6, 7]


# ---------------------------------------------------------------------------------------------------------- pairs


def test_images_and_masks_without_a_counterpart_are_refused_by_name(tmp_path: Path) -> None:
    root = folder(tmp_path, "images/a.png", "images/b.png", "masks/a.png", "masks/c.png", "montage.png")
    lay(root, {"README.md": b"words"})
    dataset = scan(root)
    assert [record.key for record in dataset] == ["a"]
    assert refused(dataset) == {
        "b.png": (Reason.ANNOTATION, "image without mask: no mask has its name"),
        "masks/c.png": (Reason.ANNOTATION, "mask without image: no image has its name"),
        "montage.png": (Reason.MISPLACED, "it is in neither the images' nor the masks' folder; move it"),
    }
    with pytest.raises(DatasetError, match=r"1 of image without mask .*, 1 of mask without image "):
        registry.scan(root)


def test_image_with_two_masks_is_refused(tmp_path: Path) -> None:
    root = folder(tmp_path, "images/a.png", "images/b.png", "masks/a.png", "masks/b_mask.png", "masks/b_label.png")
    lay(root, {"masks/a.tif": mask()})
    assert refused(scan(lay(root, {"images/c.png": pattern(height=6, width=8), "masks/c.png": mask()}))) == {
        "a.png": (Reason.ANNOTATION, "several masks: masks/a.png, masks/a.tif; merge them"),
        "b.png": (Reason.ANNOTATION, "several masks: masks/b_label.png, masks/b_mask.png; merge them"),
    }


def test_images_that_differ_in_their_extension_share_a_mask_or_have_their_own(tmp_path: Path) -> None:
    root = folder(tmp_path, "images/a.jpg", "images/a.png", "masks/a.jpg.png", "masks/a.png.png")
    dataset = registry.scan(root)
    assert [record.key for record in dataset] == ["a.jpg", "a.png"]
    assert [int(mask_of(dataset, key)[0, 0]) for key in ("a.jpg", "a.png")] == [2, 3]


def test_image_at_the_same_place_of_two_folders_is_refused(tmp_path: Path) -> None:
    root = folder(tmp_path, "images/train/a.png", "train/images/a.png", "train/masks/a.png")
    assert refused(scan(root)) == {
        "train/images/a.png": (Reason.ANNOTATION, "named twice: images/train/a.png has the same name")
    }


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (mask(height=5), "mask of another size: masks/b.png has 8 x 5, the image 8 x 6"),
        (pattern(height=HEIGHT, width=WIDTH), "mask unreadable: masks/b.png: a mask has one channel of class indices"),
        (pattern(height=HEIGHT, width=WIDTH, image_format="jpeg"), "mask unreadable: masks/b.png: a mask in jpeg"),
        (b"words", "mask unreadable: masks/b.png: "),
        (b"", "mask unreadable: masks/b.png: the file is empty"),
        (mask(3), "unknown class: masks/b.png has the value 3, of 3 classes"),
        (mask(256), "unknown class: masks/b.png has the value 256, of 3 classes"),
    ],
)
def test_mask_that_cannot_be_true_is_refused_by_name(data: bytes, detail: str, tmp_path: Path) -> None:
    root = folder(tmp_path, "images/a.png", "images/b.png")
    lay(root, {"masks/a.png": mask(2), "masks/b.png": data, "classes.txt": b"sky\nroad\ncar\n"})
    [(key, (reason, found))] = refused(scan(root)).items()
    assert (key, reason) == ("b.png", Reason.ANNOTATION)
    assert found.startswith(detail)


def test_255_belongs_to_no_class(tmp_path: Path) -> None:
    root = lay(folder(tmp_path, "images/a.png"), {"masks/a.png": mask(255), "classes.txt": b"sky\nroad\n"})
    assert registry.scan(root).num_records == 1


# --------------------------------------------------------------------------------------------------------- classes


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.txt", "sky\nroad\ncar\n"),
        ("class_names.txt", "__ignore__\nsky\nroad\ncar\n"),
        ("labelmap.txt", "# label:color_rgb:parts:actions\nsky:128,128,128::\nroad:128,64,128::a,b\ncar:64,0,128::\n"),
        ("labelmap.txt", "sky:::\nroad:::\ncar:::\n"),
        ("label_colors.txt", "sky 128 128 128\nroad 128 64 128\ncar: 64, 0, 128\n"),
        ("class_dict.csv", "class_name, red, green, blue\nsky, 128, 128, 128\nroad, 128, 64, 128\ncar, 64, 0, 128\n"),
        ("_classes.csv", "Pixel Value, Class\n0, sky\n1, road\n2, car"),
        ("classes.txt", "\ufeffsky\r\nroad\r\ncar"),
        ("codes.txt", "0: sky\n1: road\n2: car\n"),
        ("labels.txt", "0 sky\n1 road\n2 car\n\n"),
        ("label_colors.txt", "128 128 128\tsky\n128 64 128\troad\n64 0 128\tcar\n"),
        ("class_dict.csv", "name,r,g,b\nsky,128,128,128\nroad,128,64,128\ncar,64,0,128\n"),
        ("masks/classes.txt", "sky\nroad\ncar\n"),
    ],
)
def test_names_of_classes_are_in_the_order_of_their_indices(name: str, text: str, tmp_path: Path) -> None:
    root = lay(folder(tmp_path, "images/a.png"), {"masks/a.png": mask(2), name: text.encode()})
    dataset = registry.scan(root)
    assert dataset.classes == ("sky", "road", "car")
    assert dataset.refused == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"sky\nsky\n", "classes.txt names 'sky' twice; give each index its own name"),
        (b"sky\n\nroad\n", "classes.txt: line 2 is empty; each line names a class"),
        (b"\n", "line 1 is empty|names no class"),
        (b"\xff\n", "classes.txt is not UTF-8 at byte 0; save it as UTF-8"),
        (b"0 0 0 sky\n0 0 0 road\n", "classes.txt names the value or colour 0, 0, 0 twice"),
        (b"0 0 0 sky\n0 0 256 road\n", "classes.txt: it lists the value 256, of at most 255"),
        (b"".join(b"%d 1 0 c%d\n" % (i, i) for i in range(256)), "lists 256 values or colours, of 255 allowed"),
    ],
)
def test_names_that_are_no_names_are_an_error(text: bytes, message: str, tmp_path: Path) -> None:
    root = lay(folder(tmp_path, "images/a.png", "masks/a.png"), {"classes.txt": text})
    with pytest.raises(DatasetError, match=message):
        registry.scan(root)


@pytest.mark.parametrize(
    "classes", [("sky", "road"), ("0: a", "1: b"), ("1 2 3 a", "4 5 6 b"), ("0", "1"), ("Ünïcode", "a b")]
)
def test_names_come_back_from_what_is_written(classes: tuple[str, ...]) -> None:
    assert masks._of_lines(masks.written(classes).decode()) == (classes, ())


@pytest.mark.parametrize("name", ["", " a", "a\nb", "a\u2028b"])
def test_name_that_cannot_stand_in_a_line_is_refused(name: str) -> None:
    with pytest.raises(DatasetError, match=r"cannot be a line of classes\.txt"):
        masks.written(("sky", name))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"Value,Colour\n0,red\n", r"its header has no column of names \(name, class, "),
        (b"Pixel Value,Class\n0,sky\n1\n", "row 3 has 1 cells for 2 columns"),
        (b"Pixel Value,Class\nzero,sky\n", "'zero' is not a mask's value"),
        (b"Pixel Value,Class\n0,sky\n0,road\n", "names the value or colour 0 twice"),
        (b"id,name,r,g,b\n7,sky,1,2,3\n", "has colours and values that do not count from 0"),
    ],
)
def test_table_that_is_none_is_an_error(text: bytes, message: str, tmp_path: Path) -> None:
    root = lay(folder(tmp_path, "images/a.png", "masks/a.png"), {"_classes.csv": text})
    with pytest.raises(DatasetError, match=message):
        registry.scan(root, format="masks")


# ---------------------------------------------------------------------------------------------------------- legends


def _encoded(values: Any, *, mode: str = "") -> bytes:
    image = Image.fromarray(np.broadcast_to(np.array(values, np.uint8), (HEIGHT, WIDTH, *np.shape(values)[2:])))
    if mode == "P":
        image.putpalette([i // 3 for i in range(3 * 256)])
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


STRIPES = np.arange(WIDTH, dtype=np.uint8)[np.newaxis] % 3
COLOURS = np.array([(0, 0, 0), (128, 0, 0), (250, 250, 0)], np.uint8)
STILL = Pipeline.parse("transforms:\n  - HorizontalFlip: {p: 0}\n")
LABEL_MAP = b"# label:color_rgb:parts:actions\nnone:0,0,0::\ncat:128,0,0::\ndog:250,250,0::\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labelmap.txt", LABEL_MAP),
        ("masks/label_colors.txt", b"0 0 0 none\n128 0 0 cat\n250 250 0 dog\n"),
        ("class_dict.csv", b"name,r,g,b\nnone,0,0,0\ncat,128,0,0\ndog,250,250,0\n"),
    ],
)
def test_colours_are_read_by_their_list(name: str, text: bytes, tmp_path: Path) -> None:
    data = lay(folder(tmp_path / "data", "images/a.png"), {"masks/a.png": _encoded(COLOURS[STRIPES]), name: text})
    dataset = registry.scan(data)
    assert dataset.classes == ("none", "cat", "dog")
    for each in (dataset, pickle.loads(pickle.dumps(dataset))):  # noqa: S301 - our own
        assert (each.decode_mask(each.record(0)) == STRIPES).all()
        rendered = Renderer(each, STILL.spec, seed=0).render(each.record(0), draw=0).sample
        assert rendered.mask is not None
        assert (rendered.mask == STRIPES).all()
    expand_dataset(data, tmp_path / "out", STILL, copies=1, include_originals=True)
    for written in ("a", "a__0"):
        assert (decode_mask((tmp_path / f"out/masks/{written}.png").read_bytes()) == STRIPES).all()


def test_another_list_of_colours_is_another_record_though_no_file_of_the_record_changed(tmp_path: Path) -> None:
    files = {"masks/a.png": _encoded(COLOURS[STRIPES]), "labelmap.txt": LABEL_MAP}
    root = lay(folder(tmp_path, "images/a.png"), files)
    first, same = registry.scan(root), registry.scan(root)
    lay(root, {"labelmap.txt": LABEL_MAP.replace(b"none", b"last").replace(b"last:0,0,0::\n", b"") + b"last:0,0,0::\n"})
    second = registry.scan(root)
    assert first.record(0).digest == same.record(0).digest != second.record(0).digest
    assert (second.decode_mask(second.record(0)) == (STRIPES + 2) % 3).all()
    assert (first.decode_mask(first.record(0)) == STRIPES).all()


def test_colour_that_is_not_listed_refuses_the_image_also_when_the_mask_was_seen_before(tmp_path: Path) -> None:
    lists = (LABEL_MAP, LABEL_MAP.replace(b"250,250,0", b"250,250,9"), LABEL_MAP)
    root = folder(tmp_path, "images/a.png", "images/b.png")
    lay(root, {"masks/a.png": _encoded(COLOURS[STRIPES]), "masks/b.png": _encoded(COLOURS[STRIPES % 2])})
    refusals = [refused(scan(lay(root, {"labelmap.txt": each}))) for each in lists]
    (_, detail) = refusals[1]["a.png"]
    assert detail.startswith("mask unreadable: masks/a.png: the colour 250, 250, 0 is not listed for any class")
    assert refusals[0] == refusals[2] == {}
    (root / "labelmap.txt").unlink()
    with pytest.raises(DatasetError, match=r"this file has colours and no list of them .* or list them \(labelmap.txt"):
        registry.scan(root)


def test_values_with_gaps_are_read_by_the_list_of_each_split(tmp_path: Path) -> None:
    values = np.array([0, 40, 200], np.uint8)[STRIPES]
    table = b"Pixel Value, Class\n0, none\n40, cat\n200, dog"
    names = [f"{split}/a.{end}" for split in ("train", "valid") for end in ("rf.1.jpg", "rf.1_mask.png")]
    files = {name: _encoded(values) if "mask" in name else pattern(height=HEIGHT, width=WIDTH) for name in names}
    root = lay(tmp_path, files | {f"{split}/_classes.csv": table for split in ("train", "valid")})
    dataset = registry.scan(root)
    assert (dataset.format, dataset.classes, dataset.notices) == ("masks", ("none", "cat", "dog"), ())
    assert all((dataset.decode_mask(record) == STRIPES).all() for record in dataset)
    lay(root, {"valid/_classes.csv": table.replace(b"40", b"41")})
    with pytest.raises(DatasetError, match=r"valid/_classes.csv differs from train/_classes.csv"):
        registry.scan(root)


@pytest.mark.parametrize("mode", ["L", "P", "RGB"])
def test_masks_of_0_and_255_alone_are_refused_until_the_values_are_named(mode: str, tmp_path: Path) -> None:
    binary = STRIPES.clip(max=1) * 255
    data = _encoded(np.stack([binary] * 3, axis=2) if mode == "RGB" else binary, mode=mode)
    root = lay(folder(tmp_path, "images/a.png", "images/b.png"), {"masks/a.png": mask(0), "masks/b.png": data})
    for _ in range(2):  # the second time from the known rows of the files
        with pytest.raises(
            DatasetError, match=r"all masks hold only 0 and 255, as masks/b.png does.*replace 255 by 1; or"
        ):
            registry.scan(root)
    lay(root, {"_classes.csv": b"Pixel Value,Class\n0,background\n255,object\n"})
    dataset = registry.scan(root)
    assert dataset.classes == ("background", "object")
    assert (dataset.decode_mask(dataset.record(1)) == STRIPES.clip(max=1)).all()
    (root / "_classes.csv").unlink()
    lay(root, {"masks/a.png": mask(1)})
    assert (mask_of(registry.scan(root), "b") == binary).all()


def test_equal_channels_are_the_indices(tmp_path: Path) -> None:
    data = _encoded(np.stack([STRIPES] * 3, axis=2))
    root = lay(folder(tmp_path / "data", "images/a.png"), {"masks/a.png": data})
    expand_dataset(root, tmp_path / "out", copies=0, include_originals=True)
    with Image.open(tmp_path / "out/masks/a.png") as written:
        assert written.mode == "L"
        assert (np.array(written) == STRIPES).all()


# --------------------------------------------------------------------------------------------------- in one folder


def test_class_folders_of_pairs_are_no_classes_and_several_masks_are_refused(tmp_path: Path) -> None:
    names = [f"{kind}/{kind} ({i}){end}.png" for kind in ("benign", "normal") for i in (1, 2) for end in ("", "_mask")]
    root = folder(tmp_path, *names, "benign/benign (1)_mask_1.png")
    dataset = scan(root)
    assert (dataset.format, set(dataset.targets)) == ("masks", {"mask"})
    assert dataset.notices == ("2 folders of images with masks are not classes, but part of the keys: benign, normal",)
    assert refused(dataset) == {
        "benign/benign (1).png": (
            Reason.ANNOTATION,
            "several masks: benign/benign (1)_mask.png, benign/benign (1)_mask_1.png; merge them",
        )
    }


def test_image_with_an_ending_has_no_mask_of_the_image_without(tmp_path: Path) -> None:
    root = folder(tmp_path, "images/1.png", "images/1_sat.png", "images/1-img.png", "masks/1_mask.png")
    dataset = scan(root)
    assert [record.key for record in dataset] == ["1"]
    assert set(refused(dataset)) == {"1_sat.png", "1-img.png"}


def test_few_masks_among_classes_are_an_error_of_their_name(tmp_path: Path) -> None:
    root = lay_images(tmp_path, *(f"{name}/{i}.png" for name in ("cat", "dog") for i in range(3)), "cat/1_mask.png")
    with pytest.raises(DatasetError, match=r"cat/1_mask.png was not read, though it looks like the mask of cat/1.png"):
        registry.scan(root)


def test_test_split_may_be_without_masks_and_no_other(tmp_path: Path) -> None:
    root = folder(tmp_path, "train/a.jpg", "train_masks/a_mask.png", "test/b.jpg")
    dataset = registry.scan(root)
    assert dataset.splits == {"test": 1, "train": 1}
    assert dataset.notices == ("no image of the split test has a mask",)
    lay(root, {"val/c.jpg": pattern(9, height=HEIGHT, width=WIDTH)})
    assert refused(scan(root)) == {"val/c.jpg": (Reason.ANNOTATION, "image without mask: no mask has its name")}


# ------------------------------------------------------------------------------------------------------ round trip


def test_dataset_comes_back_from_what_is_written(tmp_path: Path) -> None:
    names = ("images/train/a.png", "masks/train/a.png", "images/train/d/b.png", "masks/train/d/b_mask.png")
    root = folder(tmp_path / "in", *names, "images/val/a.png", "masks/val/a.png")
    lay(root, {"label_colors.txt": b"".join(b"%d 0 0 class %d\n" % (i, i) for i in range(9))})
    first = registry.scan(root)
    second = convert(first, tmp_path / "out", "masks")
    assert (second.digest, second.classes, second.splits) == (first.digest, first.classes, first.splits)
    assert annotations_by_key(second) == dict.fromkeys(["train/a", "train/d/b", "val/a"], NOTHING)
    convert(second, tmp_path / "again", "masks")
    assert files_of(tmp_path / "again") == files_of(tmp_path / "out")


def test_paths_of_different_outputs_differ() -> None:
    outputs = [
        Output(key, split, copy, "png", 1, 1)
        for key in ("a", "masks/a", "images/a")
        for split in (None, "train")
        for copy in (None, 0)
    ]
    paths = [path for each in outputs for path in (MaskFolders().image_path(each), MaskFolders().mask_path(each))]
    assert len(set(paths)) == len(paths)
