"""Files of a real service's dataset that are replaced, or restored from a copy."""

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from augment.datasets.seen_files import FileStatus
from tests.acceptance.servers_for_tests import Server
from tests.acceptance.test_streams import batches_of, write_photos

pytestmark = pytest.mark.harden

PIPELINE = {"transforms": [{"Resize": {"height": 16, "width": 16, "p": 1}}]}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two images of each class, old enough to be known by their status."""
    root = write_photos(tmp_path / "photos", num_each=2)
    for path in root.rglob("*.png"):  # all of one size and time, so that nothing but the bytes tells them apart
        path.write_bytes(path.read_bytes().ljust(6000, b"\0"))
        os.utime(path, (1_000_000_000, 1_000_000_000))
    settle(root)
    return root


def settle(root: Path) -> None:
    """Wait until the files are old enough that a later change gives them another time."""
    while not all(FileStatus.of(path.stat()).is_settled for path in root.rglob("*.png")):
        time.sleep(0.05)


def test_file_of_equal_size_and_time_is_refused_and_another_dataset(tmp_path: Path, photos: Path) -> None:
    with Server(tmp_path / "home", data_roots=tmp_path) as server:
        server.register(photos)
        stream = server.declare(PIPELINE, batch_size=4, shuffle=False)
        url = f"/v1/streams/{stream}/batches"
        (before,) = batches_of(server.get(f"{url}/0/0"))
        shutil.copy2(photos / "cat" / "000.png", photos / "dog" / "001.png")
        (after,) = batches_of(server.get(f"{url}/1/0"))
        assert (before.replaces, after.replaces) == ([None] * 4, [None, None, None, "dog/001"])
        assert all(np.array_equal(before.images[i], after.images[i]) for i in range(3))
        digest = json.loads(server.get("/v1/datasets/photos"))["digest"]
        status, problem = server.post("/v1/datasets", {"name": "photos", "path": str(photos)})
        assert (status, digest in problem["detail"]) == (409, True), problem
        server.register(photos, "again")
        assert json.loads(server.get("/v1/datasets/again"))["digest"] != digest


def test_restored_files_are_hashed_once(tmp_path: Path, photos: Path) -> None:
    hashed = "augment_files_hashed_total"
    with Server(tmp_path / "home", data_roots=tmp_path) as server:
        server.register(photos)
        stream = server.declare(PIPELINE, batch_size=4)
        url = f"/v1/streams/{stream}/batches"
        server.get(f"{url}/0/0")
        assert server.metric(hashed) == 0
        shutil.copytree(photos, tmp_path / "restored")
        shutil.rmtree(photos)
        (tmp_path / "restored").rename(photos)
        settle(photos)
        for epoch in (1, 2):
            (batch,) = batches_of(server.get(f"{url}/{epoch}/0"))
            assert batch.replaces == [None] * 4
            assert server.metric(hashed) == 4
        server.kill()
        server.restart()
        server.get(f"{url}/3/0")
        assert server.metric(hashed) == 4, "the table is in the home"
