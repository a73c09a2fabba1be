"""The command in this process: its words, its exit codes, its JSON."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from augment import errors
from augment.cli import app, exit_codes, output, transforms
from augment.transforms.catalogue import catalogue


def run(*arguments: object) -> int:
    return app.run([str(argument) for argument in arguments])


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_help_lists_every_command_and_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == exit_codes.OK
    text = capsys.readouterr().out
    for command in ("expand", "verify", "preview", "check", "transforms", "presets", "doctor"):
        assert f"\n  {command}" in text
    for code, meaning in exit_codes.MEANINGS.items():
        assert f"{code}  {meaning}" in text


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == exit_codes.OK
    assert "Commands:" in capsys.readouterr().out


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    import augment

    assert run("--version") == exit_codes.OK
    assert capsys.readouterr().out == f"augment {augment.__version__}\n"


def test_help_imports_no_library_of_pixels() -> None:
    code = (
        "import sys; from augment.cli import app; assert app.run(['expand', '--help']) == 0; "
        "print(sorted({'cv2', 'albumentations', 'numpy', 'pyarrow', 'PIL', 'scipy', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["expnad"], "No such command 'expnad'; did you mean 'expand'; see `augment --help`"),
        (["expand"], "Missing argument 'DATA'; see `augment expand --help`"),
        (["check", "light", "--zoo"], "No such option: --zoo; see `augment check --help`"),
        (["check", "ligth"], "`ligth` is neither a preset nor a file; did you mean `light`?"),
        (["transforms", "HorizontalFilp"], "there is no transform 'HorizontalFilp'; did you mean `HorizontalFlip`?"),
        (["presets", "hevy"], "there is no preset 'hevy'; did you mean `heavy`?"),
        (["preview", "a.jpg", "-p", "light", "-n", "0"], "--num is 0; it must be in 1 to 400"),
        (["preview", "a.jpg", "-p", "light", "-o", "a.tif"], "its name must end with one of .jpg, .png, .webp, .jpeg"),
        (["preview", "no.jpg", "-p", "light"], "cannot read the image no.jpg: No such file or directory"),
        (["expand", "d", "o", "-p", "light", "--max-failures", "x"], "max_failures is 'x'; give a count like 10"),
    ],
)
def test_bad_request_is_one_line_with_the_remedy(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == exit_codes.REQUEST
    shown = capsys.readouterr()
    assert shown.out == ""
    assert message in shown.err
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1


def test_check_shows_every_problem_with_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("transforms:\n  - HorizontalFilp: {}\n  - Rotate: {limit: 4000}\n", encoding="utf-8")
    assert run("check", path) == exit_codes.REQUEST
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(": transforms")[0] for line in lines] == ["error: line 2", "error: line 3"]

    assert run("check", path, "--json") == exit_codes.REQUEST
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["kind"], error["exit_code"]) == ("PipelineError", 2)
    assert [(problem["loc"], problem["line"]) for problem in error["problems"]] == [
        (["transforms", 0], 2),
        (["transforms", 1, "Rotate", "limit"], 3),
    ]


def test_check_writes_yaml_that_is_the_same_pipeline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", "heavy", "--yaml") == exit_codes.OK
    path = tmp_path / "p.yaml"
    path.write_text(capsys.readouterr().out, encoding="utf-8")
    digests = []
    for pipeline in ("heavy", path):
        assert run("check", pipeline, "--json") == exit_codes.OK
        digests.append(json.loads(capsys.readouterr().out)["digest"])
    assert digests[0] == digests[1]


def test_check_tells_what_was_changed_in_an_imported_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import albumentations

    path = tmp_path / "saved.json"
    albumentations.save(albumentations.Compose([albumentations.HorizontalFlip(), albumentations.Normalize()]), path)
    assert run("check", path) == exit_codes.OK
    shown = capsys.readouterr()
    assert "notice: " in shown.err
    assert "digest" in shown.out


def test_presets_can_be_read_and_used(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run("presets", "--json") == exit_codes.OK
    for preset in json.loads(capsys.readouterr().out):
        assert preset["description"]
        assert run("presets", preset["name"]) == exit_codes.OK
        path = tmp_path / f"{preset['name']}.yaml"
        path.write_text(capsys.readouterr().out, encoding="utf-8")
        assert run("check", path, "--json") == exit_codes.OK
        assert json.loads(capsys.readouterr().out)["digest"] == preset["digest"]


@pytest.mark.parametrize("name", catalogue())
def test_transforms_shows_every_parameter(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for schema in catalogue()[name].schema["properties"].values():
        assert transforms.values(schema)
    assert run("transforms", name) == exit_codes.OK
    shown = capsys.readouterr().out
    assert shown.startswith(name)
    assert all(f"\n{parameter}" in shown for parameter in catalogue()[name].schema["properties"])


def test_transforms_knows_the_name_that_a_paper_gave(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("transforms", "3-Augment") == exit_codes.OK
    assert capsys.readouterr().out.startswith("ThreeAugment")


def test_transforms_as_json_is_the_catalogue(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("transforms", "--json") == exit_codes.OK
    listed = json.loads(capsys.readouterr().out)
    assert [info["name"] for info in listed] == list(catalogue())
    assert run("transforms") == exit_codes.OK
    table = capsys.readouterr().out
    assert all(info["name"] in table for info in listed)


def test_preview_draws_the_very_copies_that_expand_writes(
    photos: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import numpy as np

    import augment

    image = photos / "space" / "rocket.jpg"
    grid = tmp_path / "grid.png"
    arguments = ["-p", "inception", "--seed", 7, "--key", "space/rocket", "-n", 2, "-o", grid]
    assert run("preview", image, *arguments, "--json") == exit_codes.OK
    told = json.loads(capsys.readouterr().out)
    assert [cell["draw"] for cell in told["cells"]] == [0, 1]
    assert told["cells"][0]["applied"][0]["name"] == "RandomResizedCrop"
    expanding = ["-p", "inception", "--seed", 7, "--copies", 2, "--image-format", "png", "--workers", 0]
    assert run("expand", photos, out, *expanding) == exit_codes.OK

    copies = [augment.decode_image((out / f"space/rocket__{copy}.png").read_bytes()) for copy in range(2)]
    shown = augment.decode_image(grid.read_bytes())
    for copy in copies:
        rows = np.lib.stride_tricks.sliding_window_view(shown[:, :, 0], 224, axis=1)
        assert (rows == copy[0, :, 0]).all(axis=-1).any(), "the first row of the copy is nowhere in the grid"


def test_preview_refuses_to_write_over_the_image(photos: Path) -> None:
    image = photos / "space" / "rocket.jpg"
    before = image.read_bytes()
    assert run("preview", image, "-p", "light", "-o", image) == exit_codes.OUTPUT
    assert image.read_bytes() == before


def test_preview_says_where_it_cannot_write(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "no" / "grid.png"
    assert run("preview", photos / "cat/chelsea.png", "-p", "light", "-n", 1, "-o", target) == exit_codes.STORAGE
    assert f"cannot write {target}" in capsys.readouterr().err


def test_expand_json_is_one_document(photos: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "cat" / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    arguments = ["expand", photos, out, "-p", "light", "--copies", 2, "--workers", 0, "--json"]
    assert run(*arguments, "--dry-run") == exit_codes.OK
    plan = json.loads(capsys.readouterr().out)
    assert (plan["records"], plan["outputs"], plan["kept"], plan["refused"]) == (4, 8, 0, 1)
    assert plan["bytes_about"] > 0
    assert not out.exists()

    assert run(*arguments) == exit_codes.OK
    first = json.loads(capsys.readouterr().out)
    assert (first["rendered"], first["kept"], first["refused"]) == (8, 0, 1)
    assert (first["refusals"][0]["key"], first["refusals"][0]["reason"]) == ("cat/broken.jpg", "undecodable")
    assert run(*arguments) == exit_codes.OK
    second = json.loads(capsys.readouterr().out)
    assert (second["rendered"], second["kept"], second["id"]) == (0, 8, first["id"])


def test_expand_tells_what_it_did(photos: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "cat" / "notes.dat").write_text("no image", encoding="utf-8")
    arguments = ["expand", photos, out, "-p", "light", "--copies", 1, "--workers", 0]
    assert run(*arguments) == exit_codes.OK
    shown = capsys.readouterr()
    assert shown.out.startswith("4 images written in ")
    assert "1 record refused" in shown.out
    assert "refused: cat/notes.dat: format: " in shown.err
    assert run(*arguments) == exit_codes.OK
    assert "nothing to do: all 4 images are there; 1 record refused" in capsys.readouterr().out


def test_expand_refuses_another_expansions_folder(photos: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["expand", photos, out, "-p", "light", "--copies", 1, "--workers", 0]
    assert run(*arguments) == exit_codes.OK
    capsys.readouterr()
    assert run(*arguments, "--seed", 8) == exit_codes.OUTPUT
    assert "seed is 0 there and 8 here" in capsys.readouterr().err


def test_expand_beyond_max_failures_fails(photos: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "cat" / "notes.dat").write_text("no image", encoding="utf-8")
    arguments = ["expand", photos, out, "-p", "light", "--copies", 1, "--workers", 0]
    assert run(*arguments, "--max-failures", "0") == exit_codes.REQUEST
    assert "cat/notes.dat" in capsys.readouterr().err
    assert run(*arguments, "--max-failures", "0.5") == exit_codes.OK


def test_verify_finds_what_changed(photos: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("expand", photos, out, "-p", "light", "--copies", 1, "--workers", 0) == exit_codes.OK
    assert run("verify", out, "--data", photos, "--workers", 0, "--json") == exit_codes.OK
    capsys.readouterr()
    (out / "cat" / "chelsea__0.png").write_bytes(b"x")
    assert run("verify", out, "--data", photos, "--workers", 0) == exit_codes.FINDINGS
    assert "cat/chelsea__0.png: changed" in capsys.readouterr().out
    assert run("verify", out, "--data", photos, "--workers", 0, "--json") == exit_codes.FINDINGS
    report = json.loads(capsys.readouterr().out)
    assert (report["ok"], report["differences"]) == (False, 1)
    assert report["mismatches"][0]["finding"] == "changed"


def test_defect_of_ours_is_one_line_and_a_traceback_only_with_debug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise ZeroDivisionError("one\ntwo")

    monkeypatch.setattr("augment.transforms.catalogue.catalogue", fail)
    assert run("transforms") == exit_codes.DEFECT
    shown = capsys.readouterr().err
    assert shown.startswith("error: ZeroDivisionError: one two; this is a bug in augment")
    assert "Traceback" not in shown
    assert run("transforms", "--debug") == exit_codes.DEFECT
    assert "Traceback" in capsys.readouterr().err


def test_exit_code_of_an_error_is_its_classes() -> None:
    assert exit_codes.exit_code(errors.OutputError("x")) == exit_codes.OUTPUT
    assert exit_codes.exit_code(errors.RecordChangedError("key")) == exit_codes.REQUEST


def test_rate_knows_the_last_half_minute_only() -> None:
    rate = output.Rate()
    assert rate.add(0.0, 0) is None
    assert rate.add(10.0, 100) == pytest.approx(10)
    for second in range(11, 60):
        last = rate.add(float(second), 100 + (second - 10))
    assert last == pytest.approx(1)


def test_progress_away_from_a_terminal_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr("augment.cli.output.time.monotonic", lambda: float(next(clock)))
    with output.StageProgress("expanding", as_json=False) as progress:
        for done in range(25):
            progress.show(1000 + done, 2000, failed=3, kept=1000)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0] == "expanding: 1,009 of 2,000, 3 refused, 1/s, 16:31 left"
    with output.StageProgress("expanding", as_json=True) as progress:
        progress.show(5, None)
        progress.show(7, 10)
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert events[-1] == {"stage": "expanding", "done": 7, "total": 10, "failed": 0, "rate": 2.0, "eta_s": 2}


@pytest.mark.parametrize(("number", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1300, "1.3 kB"), (2e12, "2.0 TB")])
def test_size_is_for_people(number: float, text: str) -> None:
    assert output.size(number) == text


def test_main_keeps_standard_error_for_its_own_words() -> None:
    code = (
        "import os, subprocess, sys; from augment.cli import app, output\n"
        "def run(_):\n"
        "    os.write(2, b'libtiff: noise')\n"
        "    subprocess.run(['sh', '-c', 'echo noise of a worker >&2'])\n"
        "    output.note('ours')\n"
        "    return 0\n"
        "app.run = run\n"
        "app.main(sys.argv[1:])"
    )
    shown = [
        subprocess.run([sys.executable, "-c", code, *more], capture_output=True, text=True, check=True).stderr
        for more in ([], ["--debug"])
    ]
    assert shown[0] == "ours\n"
    assert shown[1] == "libtiff: noisenoise of a worker\nours\n"


def test_command_scans_without_pandas(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    code = (
        "import atexit, sys; from augment.cli import app\n"
        "atexit.register(lambda: print('pyarrow' in sys.modules, 'pandas' in sys.modules))\n"
        "app.main()"
    )
    command = [sys.executable, "-c", code, "check", str(tmp_path)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert shown.splitlines()[-1] == "True False"


def test_main_runs_where_standard_error_is_closed() -> None:
    words = f"{sys.executable} -m augment --version 2>&-"
    assert subprocess.run(["sh", "-c", words], capture_output=True, check=True).stdout.startswith(b"augment ")


def test_main_ends_with_the_code_of_the_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(_: list[str]) -> int:
        signal.raise_signal(signal.SIGTERM)
        return 0

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    monkeypatch.setattr(app, "run", killed)
    monkeypatch.setattr(output, "silence_libraries", lambda: None)  # standard error is pytest's
    try:
        with pytest.raises(SystemExit) as ended:
            app.main([])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert ended.value.code == 128 + signal.SIGTERM
