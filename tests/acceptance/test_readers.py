"""An expanded folder is read by what people read folders with; each reader is the real one."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import augment

COPIES = 2


@pytest.fixture
def expanded(photos: Path, tmp_path: Path) -> Path:
    out = tmp_path / "expanded"
    augment.expand_dataset(photos, out, "inception", copies=COPIES, seed=7)
    return out


def test_expanded_folder_opens_as_a_hugging_face_imagefolder(
    expanded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    dataset = datasets.load_dataset(
        "imagefolder", data_dir=str(expanded), split="train", cache_dir=str(tmp_path / "cache")
    )
    names = dataset.features["label"].names
    assert names == ["cat", "coffee", "person", "space"]
    assert Counter(names[label] for label in dataset["label"]) == dict.fromkeys(names, COPIES)
    for row in dataset:
        image = np.asarray(row["image"])
        assert image.dtype == np.uint8
        assert image.shape == (224, 224, 3)


def test_expanded_folder_is_a_plain_folder_of_classes(expanded: Path) -> None:
    classes = sorted(entry.name for entry in os.scandir(expanded) if entry.is_dir())
    assert classes == ["cat", "coffee", "person", "space"]
    for name in classes:
        files = sorted((expanded / name).iterdir())
        assert len(files) == COPIES
        for file in files:
            with Image.open(file) as picture:
                assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (224, 224))


def test_expanded_splits_stay_splits_for_the_reader(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    root, out = tmp_path / "split", tmp_path / "out"
    for split in ("train", "val"):
        (root / split).mkdir(parents=True)
        for name in ("cat", "space"):
            (root / split / name).symlink_to(photos / name)
    for split in ("train", "val"):
        augment.expand_dataset(root, out / split, "inception", copies=COPIES, split=split)
    loaded = datasets.load_dataset("imagefolder", data_dir=str(out), cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 2 * COPIES, "validation": 2 * COPIES}


def test_manifest_is_read_by_any_parquet_reader(expanded: Path) -> None:
    import pandas as pd

    rows = pd.read_parquet(sorted(expanded.glob("manifest-*.parquet")))
    assert set(rows["status"]) == {"rendered"}
    assert sorted(rows["path"]) == sorted(str(path.relative_to(expanded)) for path in expanded.rglob("*.jpg"))
    assert all((expanded / row.path).stat().st_size == row.size_bytes for row in rows.itertuples())


def test_expanded_folder_can_itself_be_expanded(expanded: Path, tmp_path: Path) -> None:
    summary = augment.expand_dataset(expanded, tmp_path / "again", "light", copies=1)
    assert (summary.num_rendered, summary.num_refused) == (4 * COPIES, 0)
