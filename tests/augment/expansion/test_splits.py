"""Splits that are augmented or copied unchanged, and images in two of them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from augment.errors import CallError, DatasetError, OutputError
from augment.expansion.expand import Expansion, expand_dataset
from augment.expansion.progress import Progress
from augment.expansion.verify import verify_expansion
from augment.images.decode import decode_image
from augment.scanning.scan import scan
from augment.streams.stream import Stream
from tests.augment.expansion.expansions_for_tests import PIPELINE, broken, content, lay_noise, rows

pytestmark = pytest.mark.usefixtures("nothing_left")

NAMES = ["train/cat/1.jpg", "train/cat/2.jpg", "train/dog/3.jpg", "val/cat/1.jpg", "test/dog/4.jpg"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return lay_noise(tmp_path / "splits", NAMES)


def patterns(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*.jpg")}


def test_training_split_is_augmented_and_the_others_pass_through(data: Path, out: Path) -> None:
    seen: list[Progress] = []
    summary = expand_dataset(data, out, PIPELINE, copies=2, progress=seen.append)
    train = {f"{name.removesuffix('.jpg')}__{copy}.jpg" for name in NAMES[:3] for copy in range(2)}
    assert patterns(out) == train | set(NAMES[3:])
    for name in NAMES[3:]:
        assert (out / name).read_bytes() == (data / name).read_bytes()
    assert (summary.num_rendered, summary.num_originals, summary.num_copied) == (6, 0, 2)
    assert (seen[-1].done, seen[-1].total) == (6, 6), "the total counts what is augmented"
    assert scan(out).splits == {"test": 1, "train": 6, "val": 1}
    assert {(row["split"], row["key"], row["status"]) for row in rows(out)} >= {
        ("val", "cat/1", "original"),
        ("train", "cat/1", "rendered"),
    }
    assert expand_dataset(data, out, PIPELINE, copies=2).nothing_to_do
    assert verify_expansion(out, data).ok


def test_originals_of_the_training_split_come_along_where_asked_for(data: Path, out: Path) -> None:
    summary = expand_dataset(data, out, PIPELINE, include_originals=True)
    assert set(NAMES) < patterns(out)
    assert (summary.num_rendered, summary.num_originals, summary.num_copied) == (3, 3, 2)


def test_split_that_is_named_is_expanded_alone_into_the_root(data: Path, tmp_path: Path) -> None:
    for split, wanted in [("train", {"cat/1__0.jpg", "cat/2__0.jpg", "dog/3__0.jpg"}), ("val", {"cat/1__0.jpg"})]:
        out = tmp_path / split
        expand_dataset(data, out, PIPELINE, split=split)
        assert patterns(out) == wanted
        assert json.loads((out / "expansion.json").read_text())["split"] == split
        assert verify_expansion(out, data).ok


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ({"copy_splits": False}, {"train/cat/1__0.jpg", "train/cat/2__0.jpg", "train/dog/3__0.jpg"}),
        (
            {"split": "val", "copy_splits": True},
            {"val/cat/1__0.jpg", "train/cat/1.jpg", "train/cat/2.jpg", "train/dog/3.jpg", "test/dog/4.jpg"},
        ),
        (
            {"augment_splits": ["val", "test"]},
            {"val/cat/1__0.jpg", "test/dog/4__0.jpg", "train/cat/1.jpg", "train/cat/2.jpg", "train/dog/3.jpg"},
        ),
        ({"augment_splits": ["val"], "copy_splits": False}, {"val/cat/1__0.jpg"}),
    ],
)
def test_who_says_so_gets_other_splits(data: Path, out: Path, arguments: dict[str, Any], wanted: set[str]) -> None:
    expand_dataset(data, out, PIPELINE, **arguments)
    assert patterns(out) == wanted
    assert verify_expansion(out, data).ok


def test_copy_is_an_epoch_of_a_stream_over_the_training_split(data: Path, tmp_path: Path) -> None:
    """Randomness depends on the key relative to the split, even if the others are copied too."""
    expand_dataset(data, tmp_path / "all", PIPELINE, copies=2, seed=7, image_format="png")
    expand_dataset(data, tmp_path / "alone", PIPELINE, split="train", copies=2, seed=7, image_format="png")
    with Stream(data, PIPELINE, batch_size=3, seed=7, split="train") as stream:
        batch = stream.batch(1, 0)
    assert len(batch.keys) == 3
    for key, image in zip(batch.keys, batch.images, strict=True):
        for path in (tmp_path / "all/train" / f"{key}__1.png", tmp_path / "alone" / f"{key}__1.png"):
            assert (decode_image(path.read_bytes()) == image).all()


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        ({"split": "valid"}, DatasetError, "no split 'valid'"),
        ({"augment_splits": ["trian"]}, DatasetError, "no split 'trian'.*did you mean 'train'"),
        ({"split": "val", "augment_splits": ["train"]}, CallError, "choose one of them"),
    ],
)
def test_splits_that_cannot_be_meant_are_refused(
    data: Path, out: Path, arguments: dict[str, Any], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        Expansion(data, out, PIPELINE, **arguments)


def test_dataset_without_splits_has_none_to_copy(tmp_path: Path, out: Path) -> None:
    plain = lay_noise(tmp_path / "plain", ["cat/1.jpg"])
    for arguments in ({"copy_splits": True}, {"augment_splits": ["train"]}):
        with pytest.raises(DatasetError, match="has no splits"):
            Expansion(plain, out, PIPELINE, **arguments)
    expand_dataset(plain, out, PIPELINE, copy_splits=False)
    assert patterns(out) == {"cat/1__0.jpg"}


def test_splits_without_a_training_split_have_to_be_named(tmp_path: Path, out: Path) -> None:
    data = lay_noise(tmp_path / "splits", ["val/1.jpg", "test/2.jpg"])
    with pytest.raises(DatasetError, match=r"the splits test, val, none of which is named train.*augment_splits"):
        Expansion(data, out, PIPELINE)
    expand_dataset(data, out, PIPELINE, augment_splits=["val"])
    assert patterns(out) == {"val/1__0.jpg", "test/2.jpg"}


def test_image_in_two_splits_is_a_leak(data: Path, out: Path) -> None:
    shutil.copy2(data / "train/cat/2.jpg", data / "val/cat/9.jpg")
    for arguments in ({}, {"split": "train"}, {"augment_splits": ["train", "val"]}):
        with pytest.raises(DatasetError, match=r"1 image is in both .*train.*; remove .*--allow-leaks") as caught:
            Expansion(data, out, PIPELINE, **arguments)
        assert "cat/2" in str(caught.value)
    assert expand_dataset(data, out, PIPELINE, allow_leaks=True).num_rendered == 3


def test_image_in_two_splits_that_pass_through_is_no_leak_of_this_job(data: Path, out: Path) -> None:
    lay_noise(data, ["test/cat/1.jpg"])
    shutil.copy2(data / "val/cat/1.jpg", data / "test/cat/1.jpg")
    with pytest.raises(DatasetError, match=r"both val and test .*--allow-leaks"):
        Expansion(data, out, PIPELINE, split="val")
    assert expand_dataset(data, out, PIPELINE).num_copied == 3


def test_refusals_stand_in_the_rows_of_their_split(data: Path, out: Path) -> None:
    (data / "val/cat/notes.dat").write_text("no image")
    (data / "train/cat/broken.jpg").write_bytes(broken("broken"))
    (data / "stray.jpg").write_bytes((data / NAMES[0]).read_bytes())
    summary = expand_dataset(data, out, PIPELINE, copies=2)
    refused = {(row["split"], row["key"], row["reason"]) for row in rows(out) if row["status"] == "refused"}
    assert refused == {
        ("val", "cat/notes.dat", "format"),
        ("train", "cat/broken", "undecodable"),
        (None, "stray.jpg", "misplaced"),
    }
    assert {each.key for each in summary.refusals} == {"val/cat/notes.dat", "train/cat/broken", "stray.jpg"}
    assert Expansion(data, out, PIPELINE, copies=2).plan().num_refused == 2
    assert verify_expansion(out, data).ok


def test_update_of_splits_is_a_fresh_run(data: Path, out: Path, tmp_path: Path) -> None:
    expand_dataset(data, out, PIPELINE, copies=2)
    lay_noise(data, ["train/cat/0.jpg", "val/dog/7.jpg", "dev/cat/8.jpg"])
    shutil.rmtree(data / "test")
    with pytest.raises(OutputError, match=r"the dataset changed \(3 records added \(dev/cat/8, .*1 record gone \(test"):
        Expansion(data, out, PIPELINE, copies=2).plan()
    plan = Expansion(data, out, PIPELINE, copies=2, update=True).plan()
    assert (plan.num_outputs, plan.num_copied, plan.num_kept, plan.num_removed) == (8, 3, 7, 1)
    summary = expand_dataset(data, out, PIPELINE, copies=2, update=True)
    assert (summary.num_rendered, summary.num_copied, summary.num_kept, summary.num_removed) == (2, 2, 7, 1)
    expand_dataset(data, tmp_path / "fresh", PIPELINE, copies=2)
    assert content(out) == content(tmp_path / "fresh")
