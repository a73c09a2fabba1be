"""``pip install .`` into a fresh environment. ``make test-readme`` runs it, since it installs packages."""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from augment.cli import exit_codes
from tests.acceptance.test_readme import copy_working_tree, empty_environment


@pytest.fixture
def folder() -> Iterator[Path]:
    """Temporary folder that is removed at once."""
    with tempfile.TemporaryDirectory(prefix="installation-") as name:
        yield Path(name)


@pytest.mark.readme
def test_the_base_install_is_the_client_with_numpy_and_pyarrow(folder: Path) -> None:
    clone, home = folder / "clone", folder / "home"
    copy_working_tree(clone)
    home.mkdir()
    environment = empty_environment(home)
    python = folder / "environment" / "bin" / "python"

    def run(*command: str | Path, code: int = 0) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        return done

    pip: list[str | Path] = [environment["PYTHON"], "-m", "pip", "--python", python, "--disable-pip-version-check"]
    run(environment["PYTHON"], "-m", "venv", "--without-pip", python.parent.parent)
    run(*pip, "install", "--quiet", clone)
    installed = json.loads(run(*pip, "list", "--format", "json").stdout)
    assert {each["name"] for each in installed} == {"augment-service", "numpy", "pyarrow"}
    run(python, "-c", "from augment.client import Client; Client('http://127.0.0.1:8000')")
    said = run(python.parent / "augment", "--help", code=exit_codes.REQUEST).stderr
    assert said == "augment: typer is not installed; install the engine: pip install '.[engine]'\n"
