"""Calls that an expansion refuses before it writes anything."""

from pathlib import Path
from typing import Any

import pytest

from augment.errors import CallError, DatasetError, OutputError, PipelineError, Reason
from augment.expansion.expand import Expansion, expand_dataset
from augment.render.pipeline import Pipeline
from augment.workers.pool import LocalWorkers
from tests.augment.expansion.expansions_for_tests import NAMES, PIPELINE, content, lay_noise

pytestmark = pytest.mark.usefixtures("nothing_left")


def test_folders_inside_one_another_are_refused(data: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(data)
    for source, out in [
        (data, data),
        (data, data / "cat" / "out"),
        (data, link / "out"),
        (link, data / "out"),
        (data, tmp_path),
        (data / "cat", data / "dog" / ".."),
    ]:
        with pytest.raises(OutputError, match="choose"):
            expand_dataset(source, out, PIPELINE)
    assert content(tmp_path).keys() == {"data", "data/cat", "data/dog", *(f"data/{name}" for name in NAMES), "link"}


def test_folder_with_files_of_others_is_refused(data: Path, out: Path) -> None:
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match=r"holds 'thesis\.tex' and no expansion\.json"):
        expand_dataset(data, out, PIPELINE)
    assert [path.name for path in out.iterdir()] == ["thesis.tex"]


def test_file_of_others_in_an_expansion_stays(data: Path, out: Path) -> None:
    expand_dataset(data, out, PIPELINE)
    (out / "cat/notes.txt").write_text("mine")
    (data / "cat/1.jpg").unlink()
    expand_dataset(data, out, PIPELINE, update=True)
    assert (out / "cat/notes.txt").read_text() == "mine"


def test_file_in_the_place_of_the_folder_is_refused(data: Path, out: Path) -> None:
    out.write_text("a file")
    with pytest.raises(OutputError, match="is not a folder"):
        expand_dataset(data, out, PIPELINE)
    with pytest.raises(OutputError, match="is not a folder"):
        expand_dataset(data, out / "below", PIPELINE)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"copies": 0}, CallError, "copies is 0"),
        ({"copies": 10_001}, CallError, "copies is 10001"),
        ({"seed": -1}, CallError, "seed is -1"),
        ({"seed": 2**64}, CallError, "seed is 18446744073709551616"),
        ({"quality": 0}, CallError, "quality is 0"),
        ({"image_format": "jpg"}, CallError, "did you mean 'jpeg'"),
        ({"split": "test"}, DatasetError, "no split 'test'"),
        ({"max_failures": -1}, CallError, "max_failures is -1"),
        ({"max_failures": 1.5}, CallError, r"max_failures is 1\.5"),
    ],
)
def test_arguments_out_of_range_are_refused(
    data: Path, out: Path, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        expand_dataset(data, out, PIPELINE, **arguments)
    assert not out.exists()


def test_pipeline_that_cannot_hold_is_refused(data: Path, out: Path) -> None:
    with pytest.raises(PipelineError, match="24"):
        expand_dataset(data, out, Pipeline.parse("transforms: [{RandomCrop: {height: 30, width: 30}}]"))
    assert not out.exists()


CROP = Pipeline.parse("transforms: [{RandomCrop: {height: 16, width: 16}}]")


def test_image_that_no_draw_fits_is_left_out_by_name_and_counted(data: Path, out: Path) -> None:
    lay_noise(data, ["cat/tiny.jpg"], height=1, width=1)
    summary = expand_dataset(data, out, CROP, copies=2, max_failures=1)
    assert (summary.num_rendered, summary.num_refused) == (2 * len(NAMES), 1)
    ((key, reason, detail),) = [(each.key, each.reason, each.detail) for each in summary.refusals]
    assert (key, reason) == ("cat/tiny", Reason.NOT_RENDERABLE)
    assert detail.startswith("RandomCrop on 1 x 1 pixels: it crops 16 x 16 pixels")
    with pytest.raises(DatasetError, match="cat/tiny"):
        expand_dataset(data, out.with_name("strict"), CROP, max_failures=0)


def test_declaration_names_the_smallest_image_and_how_many_do_not_fit(data: Path, out: Path) -> None:
    lay_noise(data, ["cat/tiny.jpg"], height=1, width=1)
    lay_noise(data, ["dog/flat.jpg", "dog/flat2.jpg"], height=15, width=90)
    (notice,) = Expansion(data, out, CROP).notices
    assert notice.startswith(f"3 of {len(NAMES) + 3} images are too small for the pipeline")
    assert "the smallest is `cat/tiny`: RandomCrop on 1 x 1 pixels" in notice
    assert Expansion(data, out, PIPELINE).notices == ()


def test_equal_datasets_in_two_places_are_each_read_where_they_lie(
    data: Path, tmp_path: Path, one_worker: LocalWorkers
) -> None:
    """A worker once kept the first one's manifest, found the second one equal and read the first one's files."""
    expand_dataset(data, tmp_path / "first", PIPELINE, workers=one_worker)
    moved = data.rename(tmp_path / "moved")
    lay_noise(data, NAMES, edition="of another time")
    assert expand_dataset(moved, tmp_path / "second", PIPELINE, workers=one_worker).num_refused == 0
    assert content(tmp_path / "first") == content(tmp_path / "second")


def test_copy_with_too_long_a_name_is_refused_by_name(tmp_path: Path, out: Path) -> None:
    data = lay_noise(tmp_path / "data", ["a.jpg", f"{'x' * 251}.jpg"])
    summary = expand_dataset(data, out, PIPELINE)
    assert summary.num_rendered == 1
    assert [each.reason for each in summary.refusals] == [Reason.NOT_RENDERABLE]
