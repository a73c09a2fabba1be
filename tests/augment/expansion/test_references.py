"""Expansions whose transforms take images of another dataset: described by its digest, verified, updated."""

import json
import shutil
from pathlib import Path

import pytest

from augment.cli import app
from augment.errors import CallError, DatasetError, OutputError, PipelineError
from augment.expansion.expand import Expansion, expand_dataset
from augment.expansion.verify import verify_expansion
from augment.render.pipeline import Pipeline
from augment.scanning.scan import scan
from augment.workers.pool import LocalWorkers
from tests.augment.expansion.expansions_for_tests import lay_noise

TEXT = "transforms: [{FDA: {references: styles, p: 1}}, {HorizontalFlip: {p: 0.5}}]"
PIPELINE = Pipeline.parse(TEXT)


@pytest.fixture
def styles(tmp_path: Path) -> Path:
    return lay_noise(tmp_path / "styles", [f"{i}.jpg" for i in range(4)])


def content(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_expansion_is_verified_with_references_and_is_the_same_from_any_workers(
    data: Path, out: Path, styles: Path, three_workers: LocalWorkers, tmp_path: Path
) -> None:
    expand_dataset(data, out, PIPELINE, copies=2, references={"styles": styles})
    expand_dataset(data, tmp_path / "other", PIPELINE, copies=2, references={"styles": styles}, workers=three_workers)
    assert content(out) == content(tmp_path / "other")
    described = json.loads((out / "expansion.json").read_text())
    assert described["references"] == {"styles": scan(styles).digest}
    assert str(tmp_path) not in (out / "expansion.json").read_text()
    assert verify_expansion(out).rendered_again
    moved = shutil.move(styles, tmp_path / "moved")
    report = verify_expansion(out)
    assert report.ok
    lost = f"the dataset of the references 'styles' is no longer in {styles}"
    assert report.note == f"{lost}: not rendered again; give its folder"
    report = verify_expansion(out, references={"styles": moved})
    assert (report.ok, report.rendered_again) == (True, True)


def test_other_references_need_an_update_and_are_told(data: Path, out: Path, styles: Path) -> None:
    expand_dataset(data, out, PIPELINE, references={"styles": styles})
    lay_noise(styles, ["new.jpg"])
    with pytest.raises(DatasetError, match=r"the dataset of the references 'styles' in .* is not the one"):
        verify_expansion(out, references={"styles": styles})
    with pytest.raises(OutputError, match="the references 'styles' changed since"):
        expand_dataset(data, out, PIPELINE, references={"styles": styles})
    plan = Expansion(data, out, PIPELINE, references={"styles": styles}, update=True).plan()
    assert (plan.num_kept, plan.num_replaced) == (0, 16)
    assert expand_dataset(data, out, PIPELINE, references={"styles": styles}, update=True).num_rendered == 16
    lay_noise(data, ["cat/new.jpg"])
    plan = Expansion(data, out, PIPELINE, references={"styles": styles}, update=True).plan()
    assert (plan.num_kept, plan.num_replaced) == (16, 0)
    assert expand_dataset(data, out, PIPELINE, references={"styles": styles}, update=True).num_kept == 16


def test_calls_that_cannot_hold_are_refused_at_once(data: Path, out: Path, styles: Path) -> None:
    with pytest.raises(PipelineError, match="`FDA` takes images of the dataset `styles`"):
        Expansion(data, out, PIPELINE)
    with pytest.raises(OutputError, match="is inside the dataset"):
        Expansion(data, styles / "out", PIPELINE, references={"styles": styles})
    expand_dataset(data, out, "light")
    with pytest.raises(CallError, match=r"'styles', which expansion\.json does not name"):
        verify_expansion(out, references={"styles": styles})


def test_commands_take_references_by_name(
    data: Path, out: Path, styles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = tmp_path / "fda.yaml"
    pipeline.write_text(TEXT)

    def run(*arguments: object) -> tuple[int, str]:
        code = app.run([str(each) for each in arguments])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    bound = ("--references", f"styles={styles}")
    assert run("check", pipeline)[1].count("styles: needs --references") == 1
    assert f"styles: 4 images in {styles}" in run("check", pipeline, *bound)[1]
    assert run("expand", data, out, "-p", pipeline, "--copies", 1, "--workers", 0, *bound)[0] == 0
    code, told = run("verify", out, "--workers", 0, *bound)
    assert code == 0
    assert "rendered again: no differences" in told
    grid = tmp_path / "grid.png"
    for subject in (data, data / "cat/0.jpg"):
        assert run("preview", subject, "-p", pipeline, "-n", 2, "-o", grid, *bound)[0] == 0
    for wrong in (("--references", "styles"), ("--references", "=x"), (*bound, *bound), ()):
        code, told = run("expand", data, out, "-p", pipeline, *wrong)
        assert code != 0
        assert "references" in told
    assert "are for a pipeline" in run("check", data, *bound)[1]
