"""Fixtures of all tests: an environment without network access, and real photographs."""

import itertools
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.budget import Budget

# A time limit would depend on the machine: the first example of a test pays for its imports. A fifth of the usual
# examples keeps `make test` under five minutes on two cores; `make harden` has fifteen times as many.
hypothesis.settings.register_profile("here", deadline=None, max_examples=20)
hypothesis.settings.register_profile("many", deadline=None, max_examples=300)
hypothesis.settings.load_profile("here")

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # importing it would otherwise ask a registry
for _name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
    os.environ[_name] = "1"

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that starts pytest in the background ignores SIGINT, and children inherit that: scripts that are to be
    # interrupted would never receive it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

_PHOTOS = {
    "cat": ["chelsea.png"],
    "coffee": ["coffee.png"],
    "person": ["astronaut.png"],
    "space": ["rocket.jpg"],
}


def pytest_configure(config: pytest.Config) -> None:
    """Count the seconds of this run, if it has a budget."""
    config.pluginmanager.register(Budget(config))


@pytest.fixture(scope="session")
def _homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return numbered folders; mktemp would list all existing ones each time, which costs seconds of a run."""
    root = tmp_path_factory.mktemp("homes")
    return (root / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def _home(_homes: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the engine's user state into a folder of the test."""
    home = next(_homes)
    home.mkdir()
    monkeypatch.setenv("AUGMENT_HOME", str(home))


@pytest.fixture
def files_are_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make files that were just written count as old enough to be recognised by their status, in this process."""
    from augment.datasets import seen_files

    monkeypatch.setattr(seen_files, "RACY_NS", -(10**18))


@pytest.fixture(scope="session")
def skimage_data() -> Path:
    """Return the folder of the photographs in scikit-image's wheel; nothing in it is downloaded."""
    import skimage

    return Path(skimage.__file__).parent / "data"


@pytest.fixture
def photos(tmp_path: Path, skimage_data: Path) -> Path:
    """Four photographs in class folders, which the test owns."""
    root = tmp_path / "photos"
    for name, files in _PHOTOS.items():
        (root / name).mkdir(parents=True)
        for file in files:
            shutil.copyfile(skimage_data / file, root / name / file)
    return root
