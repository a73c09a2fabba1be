"""``augment preview DATASET``: records spread evenly, the copies that an expansion writes, their targets drawn."""

import json
from pathlib import Path

import numpy as np
import pytest

from augment.cli import app, exit_codes, preview
from augment.errors import DatasetError, PipelineError
from augment.images.decode import decode_image
from augment.pipelines.document import parse
from augment.render.pipeline import Pipeline
from augment.render.renderer import Renderer
from augment.samples import colours
from augment.scanning.scan import scan
from augment.transforms.resolve import resolve
from tests.augment.folders_for_tests import lay, pattern

VOC = """<annotation><filename>{name}.png</filename><size><width>80</width><height>60</height><depth>3</depth></size>
<object><name>car</name><bndbox><xmin>11</xmin><ymin>21</ymin><xmax>50</xmax><ymax>45</ymax></bndbox></object>
</annotation>"""


@pytest.fixture
def streets(tmp_path: Path) -> Path:
    """Ten images with one box each, as PASCAL VOC lays them out."""
    files: dict[str, bytes | None] = {}
    for i in range(10):
        files[f"JPEGImages/{i}.png"] = pattern(i, height=60, width=80)
        files[f"Annotations/{i}.xml"] = VOC.format(name=i).encode()
    return lay(tmp_path / "streets", files)


def run(*arguments: object) -> int:
    return app.run([str(argument) for argument in arguments])


def pipeline(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "pipeline.yaml"
    file.write_text(text)
    return file


def test_preview_of_a_dataset_shows_copies_of_records_spread_evenly(
    streets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "[HorizontalFlip: {p: 0.5}, Crop: {x_min: 0, y_min: 0, x_max: 48, y_max: 60}]"
    grid = tmp_path / "grid.png"
    arguments = ("preview", streets, "-p", pipeline(tmp_path, text), "-n", 5, "-o", grid, "--seed", 3, "--json")
    assert run(*arguments) == exit_codes.OK
    cells = json.loads(capsys.readouterr().out)["cells"]
    assert [cell["key"] for cell in cells] == ["0", "2", "4", "6", "8"]
    dataset = scan(streets)
    renderer = Renderer(dataset, resolve(parse(text)), seed=3)
    for cell in cells:
        place = dataset.find(cell["key"])
        assert place is not None
        rendered = renderer.render(dataset.record(place), draw=cell["draw"])
        assert cell["render_key"] == rendered.render_key
    shown = decode_image(grid.read_bytes())
    assert (shown == colours.bright(0)).all(axis=-1).sum() > 500


def test_preview_of_few_records_shows_several_copies_of_each(streets: Path) -> None:
    cells = preview.render_dataset(preview.Request(streets, Pipeline.parse("[HorizontalFlip]"), 25, data_format="voc"))
    assert len(cells) == 25
    documents = [cell.document for cell in cells if cell.document is not None]
    assert len({(one["key"], one["draw"]) for one in documents}) == 25
    assert {one["key"] for one in documents} == {str(i) for i in range(10)}


def test_label_says_what_was_done_and_dropped(streets: Path) -> None:
    (cell,) = preview.render_dataset(
        preview.Request(
            streets, Pipeline.parse("[Crop: {x_min: 60, y_min: 0, x_max: 80, y_max: 60}, InvertImg: {p: 1}]"), 1
        )
    )
    assert cell.label == "0 0: Crop, InvertImg (dropped boxes: 1)"
    assert cell.document is not None
    assert cell.document["dropped"] == {"boxes": 1}


def test_preview_of_a_dataset_that_the_pipeline_does_not_fit_is_refused(streets: Path) -> None:
    with pytest.raises(PipelineError, match="`Morphological` moves pixels but cannot move boxes"):
        preview.render_dataset(preview.Request(streets, Pipeline.parse("[Morphological]"), 2))


def test_records_that_cannot_be_rendered_are_left_out(
    streets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = pattern(0, height=60, width=80)
    for i in range(0, 10, 2):
        lay(streets, {f"JPEGImages/{i}.png": broken[:60]})
    file = pipeline(tmp_path, "[NoOp]")
    assert run("preview", streets, "-p", file, "-n", 10, "-o", tmp_path / "grid.png") == exit_codes.OK
    captured = capsys.readouterr()
    assert "5 cells with seed 0" in captured.out
    assert captured.err.count("undecodable") == 5
    for i in range(10):
        lay(streets, {f"JPEGImages/{i}.png": broken[:60]})
    with pytest.raises(DatasetError, match="all records of the preview are refused"):
        preview.render_dataset(preview.Request(streets, Pipeline.parse("[NoOp]"), 3))


def test_options_of_the_other_kind_are_refused(streets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("preview", streets, "-p", "light", "--key", "0") == exit_codes.REQUEST
    assert "--key is for an image" in capsys.readouterr().err
    assert run("preview", streets / "JPEGImages/0.png", "-p", "light", "--split", "train") == exit_codes.REQUEST
    assert "--split, --from-format, --ignore and --mix need a dataset's folder" in capsys.readouterr().err


def test_sheet_of_targets_is_the_same_each_time(streets: Path, tmp_path: Path) -> None:
    file, grid = pipeline(tmp_path, "[Rotate: {p: 1}]"), tmp_path / "grid.png"
    grids = []
    for _ in range(2):
        assert run("preview", streets, "-p", file, "-n", 4, "--seed", 1, "-o", grid) == exit_codes.OK
        grids.append(decode_image(grid.read_bytes()))
    assert np.array_equal(grids[0], grids[1])


def test_preview_shows_what_normalisation_left_of_an_image(streets: Path, tmp_path: Path) -> None:
    sections = [None, "{method: gamma}", "{method: min_max, input: [100, 101], clip: true}"]
    grids = []
    for section in sections:
        text = "transforms: [{HorizontalFlip: {p: 1}}]" + (f"\nnormalize: {section}" if section else "")
        for data in (streets, streets / "JPEGImages/3.png"):
            grid = tmp_path / "grid.png"
            assert run("preview", data, "-p", pipeline(tmp_path, text), "-n", 2, "-o", grid) == exit_codes.OK
            grids.append(decode_image(grid.read_bytes()))
    assert all((one == other).all() for one, other in zip(grids[:2], grids[2:4], strict=True))
    assert all((one != other).any() for one, other in zip(grids[:2], grids[4:], strict=True))
