"""``pip install`` of a clone, or from a service, into a fresh environment.

``make test-readme`` runs it, since it installs packages.
"""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from augment.cli import exit_codes
from tests.acceptance.servers_for_tests import Server, wait_until
from tests.acceptance.test_readme import copy_working_tree, empty_environment
from tests.augment.folders_for_tests import lay_images


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


@pytest.mark.readme
def test_a_service_installs_its_own_client(folder: Path) -> None:
    """Install as a trainer does, by the line that the service logs, without a key; then read an epoch."""
    home, data = folder / "home", folder / "photos"
    home.mkdir()
    lay_images(data, *(f"class/{index}.png" for index in range(4)))
    environment = empty_environment(home)
    python = folder / "environment" / "bin" / "python"

    def run(*command: str | Path) -> str:
        done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    pip: list[str | Path] = [environment["PYTHON"], "-m", "pip", "--python", python, "--disable-pip-version-check"]
    run(environment["PYTHON"], "-m", "venv", "--without-pip", python.parent.parent)
    with Server(folder / "served", data_roots=folder, api_keys="secret") as server:
        told = json.loads(server.get("/version"))["version"]
        wait_until(lambda: any("trainers: pip install " in line for line in server.log))
        line = next(json.loads(line)["message"] for line in server.log if "trainers: pip install " in line)
        assert line == f"trainers: pip install {server.url}/client/augment_service-{told}-py3-none-any.whl"
        run(*pip, "install", "--quiet", line.removeprefix("trainers: pip install "))
        installed = {each["name"]: each["version"] for each in json.loads(run(*pip, "list", "--format", "json"))}
        assert set(installed) == {"augment-service", "numpy", "pyarrow"}
        assert installed["augment-service"] == told
        run(*pip, "check")
        assert run(python, "-c", "import augment; print(augment.__version__)").strip() == told
        code = """
import sys
from augment.client import Client
with Client(sys.argv[1], key="secret") as client:
    client.register("photos", sys.argv[2])
    stream = client.stream(dataset="photos", pipeline="inception", batch_size=2)
    print(*(batch.images.shape for batch in stream.epoch(0)))
"""
        printed = run(python, "-W", "error", "-c", code, server.url, data)
        assert printed.strip() == "(2, 224, 224, 3) (2, 224, 224, 3)"
        for option in (["--no-index", "--find-links"], ["--index-url"]):
            words = ["install", "--quiet", "--force-reinstall", "--no-deps", *option, f"{server.url}/client/"]
            run(*pip, *words, f"augment_service=={told}")
            assert run(python, "-c", "import augment; print(augment.__version__)").strip() == told
