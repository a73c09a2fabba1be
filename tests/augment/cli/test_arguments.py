"""Arguments of the command that nobody can have meant are refused before any work, with the limit and the remedy."""

import json
from pathlib import Path

import pytest

from augment.cli import app, exit_codes


def run(*arguments: object) -> int:
    return app.run([str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["expand", "", "out", "-p", "light"], "DATA"),
        (["expand", "photos", "", "-p", "light"], "OUT"),
        (["verify", ""], "OUT"),
        (["verify", "out", "--data", ""], "--data"),
        (["preview", "", "-p", "light"], "IMAGE"),
        (["preview", "a.jpg", "-p", "light", "-o", ""], "--output"),
        (["doctor", ""], "FOLDER"),
    ],
)
def test_empty_path_is_not_the_folder_that_one_is_in(
    arguments: list[str], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == exit_codes.REQUEST
    told = capsys.readouterr().err
    assert name in told
    assert "the path is empty; write . for the current folder" in told
    assert told.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "told"),
    [("1.0", "1.0"), ("0.0", "0.0"), ("-1", "-1.0"), ("nan", "nan"), ("1e3", "1000.0"), ("", "''"), ("x", "'x'")],
)
@pytest.mark.parametrize("more", [[], ["--dry-run"]], ids=["run", "dry-run"])
def test_budget_that_is_neither_count_nor_fraction_is_refused_before_the_scan(
    number: str, told: str, more: list[str], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run("expand", photos, out, "-p", "light", "--workers", 0, "--max-failures", number, *more) == 2
    assert capsys.readouterr().err == (
        f"error: max_failures is {told}; give a count like 10, or a fraction above 0 and below 1 like 0.01\n"
    )
    assert not out.exists()


@pytest.mark.parametrize("number", [-1, 1025, 100_000])
@pytest.mark.parametrize("command", [["expand", "photos", "out", "-p", "light"], ["verify", "out"]])
def test_number_of_workers_has_bounds(number: int, command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*command, "--workers", number) == exit_codes.REQUEST
    told = capsys.readouterr().err
    assert f"--workers is {number}; " in told
    assert "at most 1024" in told


def test_missing_dataset_is_told_with_the_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "no such"
    assert run("expand", missing, tmp_path / "out", "-p", "light", "--workers", 0) == exit_codes.REQUEST
    assert capsys.readouterr().err == f"error: {missing} does not exist; give the folder of the dataset\n"


def test_dry_run_of_an_update_tells_what_would_be_changed_and_removed(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["expand", photos, out, "-p", "light", "--copies", 2, "--workers", 0]
    assert run(*arguments) == exit_codes.OK
    image = photos / "cat" / "chelsea.png"
    (photos / "space" / "rocket.jpg").write_bytes(image.read_bytes())
    (photos / "cat" / "new.png").write_bytes(image.read_bytes())
    image.unlink()
    capsys.readouterr()
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert run(*arguments, "--update", "--dry-run") == exit_codes.OK
    told = capsys.readouterr().out
    assert f"{out}: 4 images would be written (" in told
    assert "free), 4 kept, 4 removed\n" in told  # the copies of a PNG are no JPEG
    assert (
        "\nsince OUT was written: 1 record added (cat/new), 1 record changed (space/rocket), 1 record gone "
        "(cat/chelsea)\n"
    ) in told
    assert run(*arguments, "--update", "--dry-run", "--json") == exit_codes.OK
    plan = json.loads(capsys.readouterr().out)
    assert (plan["kept"], plan["replaced"], plan["removed"]) == (4, 0, 4)
    assert plan["changes"] == {"added": 1, "changed": 1, "gone": 1}
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
