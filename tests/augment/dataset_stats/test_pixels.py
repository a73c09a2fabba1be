"""Statistics of a dataset's images."""

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from augment.cli import app
from augment.dataset_stats import counts, report
from augment.dataset_stats.pixels import dataset_statistics
from augment.errors import CallError
from augment.images import histogram
from augment.scanning.scan import scan
from augment.workers.pool import LocalWorkers
from tests.augment.folders_for_tests import lay


def pixels(seed: int, height: int = 20, width: int = 30) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def png(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "png")
    return file.getvalue()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    files: dict[str, bytes | None] = {f"train/cat/{i:03}.png": png(pixels(i)) for i in range(70)}
    files |= {f"train/dog/{i}.png": png(pixels(100 + i, 40, 10)) for i in range(3)}
    files |= {"test/cat/0.png": png(pixels(200)), "test/dog/1.png": png(pixels(201))}
    return lay(tmp_path / "data", files)


def test_mean_and_deviation_are_those_of_all_pixels(data: Path) -> None:
    found = dataset_statistics(scan(data))
    (train, train_pixels), (test, test_pixels) = found.parts
    assert (train.split, test.split) == ("train", "test")
    assert train_pixels is not None
    assert test_pixels is not None
    several = [pixels(i) for i in range(70)] + [pixels(100 + i, 40, 10) for i in range(3)]
    together = np.concatenate([each.reshape(-1, 3) for each in several]) / 255
    np.testing.assert_allclose(train_pixels.mean, together.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(train_pixels.std, together.std(axis=0), rtol=1e-12)
    assert (train_pixels.num_records, train_pixels.num_pixels) == (73, len(together))
    assert test_pixels.num_pixels == 2 * 600
    assert found.whole is not None
    assert (found.whole.counts == train_pixels.counts + test_pixels.counts).all()


def test_statistics_do_not_depend_on_the_number_of_workers(data: Path) -> None:
    dataset = scan(data)
    shown: list[tuple[int, int, int]] = []
    with LocalWorkers(2) as workers:
        many = dataset_statistics(dataset, workers, progress=lambda *each: shown.append(each))
    alone = dataset_statistics(dataset)
    assert (many.mean, many.std) == (alone.mean, alone.std)
    assert shown[-1] == (75, 75, 0)


@given(st.lists(st.integers(0, 255), min_size=1, max_size=200))
def test_mean_and_deviation_of_a_channel_are_numpys(values: list[int]) -> None:
    channel = np.array(values, np.uint8).reshape(1, -1, 1)
    counts = histogram.count(np.repeat(channel, 3, axis=2))
    mean, std = histogram.mean_and_std(counts[0], 255)
    np.testing.assert_allclose(mean, np.mean(values) / 255, rtol=1e-12)
    np.testing.assert_allclose(std, np.std(values) / 255, rtol=1e-9, atol=1e-15)


def test_counts_of_an_image_above_the_piece_that_is_counted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = histogram.count(pixels(1))
    monkeypatch.setattr(histogram, "_PIXELS_AT_ONCE", 7)
    assert (histogram.count(pixels(1)) == whole).all()
    assert whole.sum(axis=1).tolist() == [600] * 3


def test_broken_image_is_refused_and_counts_for_nothing(data: Path) -> None:
    (data / "test/cat/broken.png").write_bytes(png(pixels(0, 50, 50))[:300])
    (data / "test/cat/text.dat").write_text("no image")
    found = dataset_statistics(scan(data))
    assert [each.key for each in found.refusals] == ["test/cat/broken"]
    assert found.refused == {"format": 1, "undecodable": 1}
    assert found.parts[1][1] is not None
    assert found.parts[1][1].num_records == 2


def test_census_counts_classes_and_sizes(data: Path) -> None:
    taken = counts.take(scan(data).choose("train"))
    assert taken.classes == {"cat": 70, "dog": 3}
    assert counts.Range.of(taken.widths) == counts.Range(10, 30, 30)
    assert counts.Range.of(taken.heights) == counts.Range(20, 20, 40)
    assert counts.Range.of(taken.aspect_ratios) == counts.Range(0.25, 1.5, 1.5)


def annotated(root: Path) -> Path:
    images = [{"id": i, "file_name": f"{i}.png", "width": 30, "height": 20} for i in range(4)]
    boxes = [
        {"id": 1, "image_id": 0, "category_id": 1, "bbox": [1, 2, 12, 8], "area": 96, "iscrowd": 0},
        {"id": 2, "image_id": 0, "category_id": 2, "bbox": [0, 0, 30, 20], "area": 600, "iscrowd": 0},
        {"id": 3, "image_id": 1, "category_id": 1, "bbox": [5, 5, 6, 4], "area": 24, "iscrowd": 0},
    ]
    document = {
        "images": images,
        "annotations": boxes,
        "categories": [{"id": 1, "name": "car"}, {"id": 2, "name": "$\\$"}],
    }
    files: dict[str, bytes | None] = {f"{i}.png": png(pixels(i)) for i in range(4)}
    return lay(root, files | {"annotations.json": json.dumps(document).encode()})


def test_census_counts_boxes(tmp_path: Path) -> None:
    taken = counts.take(scan(annotated(tmp_path / "data")))
    assert taken.box_classes == {"car": 2, "$\\$": 1}
    assert taken.boxes.tolist() == [2, 1, 0, 0]
    assert taken.num_without_boxes == 2
    assert taken.box_sizes.tolist() == [[12, 8], [30, 20], [6, 4]]
    np.testing.assert_allclose(taken.box_scales, [0.4, 1, 0.2])


def test_mask_values_are_counted_by_class(tmp_path: Path) -> None:
    values = np.zeros((20, 30), np.uint8)
    values[:5] = 2
    values[19] = 255
    files: dict[str, bytes | None] = {f"images/{i}.png": png(pixels(i)) for i in range(2)}
    files |= {f"masks/{i}.png": png(values) for i in range(2)}
    files["classes.txt"] = b"sky\nroad\ncar\n"
    found = dataset_statistics(scan(lay(tmp_path / "data", files)))
    assert found.whole is not None
    assert found.whole.mask_values == {0: 2 * 420, 2: 2 * 150, 255: 2 * 30}
    assert [found.mask_class(value) for value in (0, 2, 7, 255)] == ["sky", "car", "7", "(ignored)"]
    assert found.parts[0][0].num_masks == 2


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name in {"src", "href"}]
        if tag not in {"img", "meta"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("with_pixels", [True, False])
def test_page_needs_nothing_else(tmp_path: Path, *, with_pixels: bool) -> None:
    path = tmp_path / "report.html"
    dataset = scan(annotated(tmp_path / "<b>&data"))
    report.write(dataset_statistics(dataset, pixels=with_pixels), path)
    page = _Page()
    page.feed(path.read_text(encoding="utf-8"))
    assert not page.open
    assert len(page.sources) >= 5
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    text = path.read_text(encoding="utf-8")
    assert "&lt;b&gt;&amp;data" in text
    assert ("Pixel values" in text) == with_pixels
    again = tmp_path / "again.html"
    report.write(dataset_statistics(dataset, pixels=with_pixels), again)
    assert again.read_bytes() == path.read_bytes()


def test_image_of_the_report_has_plots(data: Path, tmp_path: Path) -> None:
    report.write(dataset_statistics(scan(data)), tmp_path / "report.png")
    with Image.open(tmp_path / "report.png") as image:
        drawn = np.asarray(image.convert("RGB"))
    assert drawn.shape[1] > 1000
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 50
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "report.png"]


def test_report_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CallError, match=r"its name must end in \.html or \.png"):
        report.check_path(tmp_path / "report.pdf")


def run(*arguments: object) -> int:
    return app.run([str(argument) for argument in (*arguments, "--workers", 0)])


def test_command_shows_tables(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("stats", data, "-o", tmp_path / "report.html") == 0
    told = capsys.readouterr().out
    assert re.search(r"class +train +test\n +cat +70 +1\n +dog +3 +1\n", told)
    assert re.search(r"mean \(red, green, blue\) +0\.\d{4}, ", told)
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_command_tells_in_json(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("stats", data, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    found = dataset_statistics(scan(data))
    assert document["pixels"]["mean"] == list(found.mean or ())
    assert document["splits"][0]["classes"] == [{"class": "cat", "number": 70}, {"class": "dog", "number": 3}]
    assert run("stats", data, "--json", "--no-pixels") == 0
    assert json.loads(capsys.readouterr().out)["pixels"] is None


@pytest.mark.parametrize(
    ("name", "message"), [("a.pdf", "must end in .html or .png"), ("no/a.png", "does not exist; create it first")]
)
def test_command_refuses_a_report_it_cannot_write_before_it_scans(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, message: str
) -> None:
    assert run("stats", tmp_path / "nothing", "-o", tmp_path / name) == 2
    assert message in capsys.readouterr().err
