"""Fixtures for tests of expansions: a dataset in small shards, a folder for its copies, workers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from augment.expansion import lock, spec
from augment.workers.pool import LocalWorkers
from tests.augment.expansion.expansions_for_tests import NAMES, lay_noise


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUGMENT_HOME", str(tmp_path / "home"))


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make several shards of a few images, and shorten the wait for a lock that a test holds."""
    monkeypatch.setattr(spec, "_OUTPUTS_A_SHARD", 6)
    monkeypatch.setattr(spec, "_NUM_SHARDS_MIN", 1)
    monkeypatch.setattr(lock, "LOCK_WAIT_S", 0.1)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Sixteen images in two classes."""
    return lay_noise(tmp_path / "data", NAMES)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture(scope="session")
def one_worker() -> Iterator[LocalWorkers]:
    with LocalWorkers(1) as workers:
        yield workers


@pytest.fixture(scope="session")
def three_workers() -> Iterator[LocalWorkers]:
    with LocalWorkers(3) as workers:
        yield workers


@pytest.fixture
def nothing_left(out: Path) -> Iterator[None]:
    """Check after the test that the output folder holds no file of a run."""
    yield
    assert list(out.glob(".augment-*")) == []
