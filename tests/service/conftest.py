"""The application in this process, with real workers, a separate home and folders that it may register."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from augment.workers.pool import LocalWorkers
from service.app import create_app
from service.settings import Settings
from tests.service.folders_for_tests import Run

PATIENCE_S = 120.0
"""Bounds the wait for a scan, far above what a busy machine needs: these tests expect its result, not 202."""


@pytest.fixture(scope="module", autouse=True)
def workers_start_with_their_first_task(request: pytest.FixtureRequest) -> Iterator[None]:
    """Skip the warm-up: it imports the renderer for seconds, which tests that do not render need not wait for.

    test_warmup and the acceptance tests check that a service starts its workers itself.
    """
    with pytest.MonkeyPatch.context() as patch:
        if not request.module.__name__.endswith("test_warmup"):
            patch.setattr(LocalWorkers, "start", lambda _: None)
        yield


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder below which this module's service registers datasets by path."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, data_root: Path) -> Iterator[TestClient]:
    """A service that all tests of a module share."""
    settings = Settings(
        home=tmp_path_factory.mktemp("home"), workers=1, data_roots=(data_root,), scan_wait_s=PATIENCE_S
    )
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Start a service with the test's settings; it ends with the test."""
    with ExitStack() as running:

        def start(**settings: Any) -> TestClient:
            given = {"home": tmp_path / "home", "workers": 1, "scan_wait_s": PATIENCE_S, **settings}
            return running.enter_context(TestClient(create_app(Settings(**given)), raise_server_exceptions=False))

        yield start


@pytest.fixture(autouse=True)
def logs_are_as_they_were() -> Iterator[None]:
    """Restore the loggers of this process after each test."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)
