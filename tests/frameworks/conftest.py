"""A real service with a folder of tiny images, for every framework's tests."""

from collections.abc import Iterator

import numpy as np
import pytest

from augment.client import Client
from augment.images.encode import encode_image
from tests.acceptance.servers_for_tests import Server

NUM_IMAGES = {"train": 22, "val": 7}


@pytest.fixture(scope="package")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of a service with the dataset ``noise``: 22 images of two classes for training, 7 for validation."""
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(3)
    for split, number in NUM_IMAGES.items():
        for index in range(number):
            path = folder / split / f"class{index % 2}" / f"{index:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_image(generator.integers(0, 256, (6, 8, 3), np.uint8), "png"))
    with Server(tmp_path_factory.mktemp("service") / "home", data_roots=folder) as server, Client(server.url) as client:
        client.register("noise", folder)
        yield client


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Leave these files alone in a run without frameworks: to collect them imports PyTorch, or skips without it."""
    return True if "not frameworks" in config.option.markexpr else None
