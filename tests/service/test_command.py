import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from augment.errors import CallError
from service import command

ROOT = Path(__file__).parents[2]


@pytest.fixture
def app() -> typer.Typer:
    found = typer.Typer(rich_markup_mode=None)
    command.register(found)
    return found


def _python(code: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_ALBUMENTATIONS_UPDATE": "1"}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def test_the_command_describes_its_options(app: typer.Typer) -> None:
    shown = CliRunner().invoke(app, ["--help"]).output
    for option in ("--host", "--port", "--home", "--data-root", "--workers", "AUGMENT_DATA_ROOTS"):
        assert option in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "AUGMENT_API_KEYS"),  # noqa: S104 - it is refused
        (["--port", "70000"], "AUGMENT_PORT is 70000"),
        (["--workers", "0"], "AUGMENT_WORKERS is 0"),
        (["--host", "192.0.2.7"], "AUGMENT_API_KEYS"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(app: typer.Typer, arguments: list[str], message: str) -> None:
    error = CliRunner().invoke(app, arguments).exception
    assert isinstance(error, CallError)
    assert message in str(error)
    assert "\n" not in str(error)


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        arguments = ["--port", str(taken.getsockname()[1]), "--home", str(tmp_path / "home")]
        done = _python(
            "import sys, typer; from service import command; app = typer.Typer(); command.register(app); "
            f"app({arguments!r}, standalone_mode=False)"
        )
    assert done.returncode == 1
    assert "cannot listen on 127.0.0.1" in done.stderr


def test_the_command_costs_the_others_nothing() -> None:
    done = _python(
        "import sys, typer; from service import command; command.register(typer.Typer()); "
        "print([name for name in ('fastapi', 'starlette', 'pydantic', 'numpy', 'cv2') if name in sys.modules])"
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_the_engines_command_finds_it() -> None:
    from importlib.metadata import entry_points

    (found,) = entry_points(group="augment.commands", name="serve")
    assert found.load() is command.register
