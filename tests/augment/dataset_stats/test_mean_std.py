"""Mean and deviation of a split: measured once, kept, and never wrong because of a note."""

import json
from pathlib import Path

import numpy as np
import pytest

from augment import engine
from augment.dataset_stats import pixels
from augment.dataset_stats.mean_std import MeanStd, kept, measured
from augment.errors import DatasetError
from augment.images.encode import encode_image
from augment.scanning.scan import scan
from augment.workers.pool import LocalWorkers
from tests.augment.folders_for_tests import lay


def pattern(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 200, (9, 11, 3), np.uint8)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    files: dict[str, bytes | None] = {f"train/cat/{i:02}.png": encode_image(pattern(i), "png") for i in range(40)}
    files |= {"val/cat/a.png": encode_image(pattern(99) // 2, "png")}
    return lay(tmp_path / "data", files)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUGMENT_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "statistics"


def test_split_is_measured_exactly(data: Path) -> None:
    dataset = scan(data)
    found = measured(dataset.choose("train"))
    pixels = np.concatenate([pattern(i).reshape(-1, 3) for i in range(40)]) / 255
    np.testing.assert_allclose(found.mean, pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.std, pixels.std(axis=0), rtol=1e-12)
    assert (found.num_records, found.num_pixels) == (40, 40 * 99)
    other = measured(dataset.choose("val"))
    assert other.num_records == 1
    assert other.mean != found.mean


def test_split_is_measured_once(data: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = scan(data).choose("train")
    assert kept(dataset) is None
    with LocalWorkers(2) as workers:
        first = measured(dataset, workers)
    assert kept(dataset) == first
    monkeypatch.setattr(pixels, "pixels_of", None)  # nothing is decoded again
    assert measured(scan(data).choose("train")) == first
    assert [each.suffix for each in state.iterdir()] == [".json"]


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", "3", '{"mean": [0, 0, 0]}', "[" * 10_000,
        '{"mean": [0.1, 0.2], "std": [0.1, 0.1, 0.1], "num_records": 1, "num_pixels": 1}',
        '{"mean": [0.1, 0.2, 7.0], "std": [0.1, 0.1, 0.1], "num_records": 1, "num_pixels": 1}',
        '{"mean": [0.1, 0.2, NaN], "std": [0.1, 0.1, 0.1], "num_records": 1, "num_pixels": 1}',
        '{"mean": [0.1, 0.2, 0.3], "std": [0.1, 0.1, 0.1], "num_records": "1", "num_pixels": 1}',
    ],
)  # fmt: skip
def test_damaged_note_is_measured_again(data: Path, state: Path, text: str) -> None:
    dataset = scan(data).choose("val")
    first = measured(dataset)
    (note,) = state.iterdir()
    note.write_text(text)
    assert kept(dataset) is None
    assert measured(dataset) == first
    assert json.loads(note.read_text())["num_records"] == 1


def test_note_is_of_one_dataset_one_split_and_one_decoder(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = scan(data)
    measured(dataset.choose("val"))
    assert kept(dataset.choose("train")) is None
    assert kept(dataset) is None
    lay(data, {"val/cat/b.png": encode_image(pattern(5), "png")})
    assert kept(scan(data).choose("val")) is None
    monkeypatch.setattr(engine, "decode_id", lambda: "another")
    assert kept(dataset.choose("val")) is None


def test_numbers_do_not_need_a_folder_that_can_be_written(data: Path, state: Path) -> None:
    state.parent.mkdir()
    state.write_text("a file where the folder should be")
    assert isinstance(measured(scan(data).choose("val")), MeanStd)


def test_files_that_changed_are_not_measured(data: Path, state: Path) -> None:
    dataset = scan(data).choose("val")
    (data / "val/cat/a.png").write_bytes(encode_image(pattern(3), "png"))
    with pytest.raises(DatasetError, match=r"1 cannot be read now, for example cat|cat/a \(changed\)"):
        measured(dataset)
    assert not state.exists()
