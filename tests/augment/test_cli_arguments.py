"""Arguments of the command that nobody can have meant are refused before any work, with the limit and the remedy."""

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
        (["preview", "", "-p", "light"], "PICTURE"),
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
    assert "the path is empty; write . for the folder that you are in" in told
    assert told.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", ["1.5", "1.0", "0.0", "-1", "-0.1", "nan", "inf", "1e3", ""])
@pytest.mark.parametrize("more", [[], ["--dry-run"]], ids=["run", "dry-run"])
def test_budget_that_is_neither_count_nor_fraction_is_refused_before_the_scan(
    number: str, more: list[str], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run("expand", photos, out, "-p", "light", "--workers", 0, "--max-failures", number, *more) == 2
    assert capsys.readouterr().err == (
        f"error: --max-failures is {number!r}; give a count like 10, or a fraction of all above 0 and below 1, like "
        "0.01\n"
    )
    assert not out.exists()


@pytest.mark.parametrize("number", [-1, 1025, 100_000])
@pytest.mark.parametrize("command", [["expand", "photos", "out", "-p", "light"], ["verify", "out"]])
def test_number_of_workers_has_bounds(number: int, command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*command, "--workers", number) == exit_codes.REQUEST
    told = capsys.readouterr().err
    assert f"--workers is {number}; " in told
    assert "at most 1024" in told
