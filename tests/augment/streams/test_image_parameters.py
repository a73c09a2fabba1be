"""Bytes of batches with parameters about images: they do not depend on the parameters' names."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from augment.images.encode import encode_image
from augment.render.pipeline import Pipeline
from augment.streams.stream import Stream

CROP = {"RandomCrop": {"height": 8, "width": 8}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("noise")
    generator = np.random.default_rng(1)
    for index in range(8):
        image = generator.integers(0, 256, (20, 24, 3), np.uint8)
        (root / f"{index}.png").write_bytes(encode_image(image, "png"))
    return root


@pytest.mark.parametrize(
    ("document", "dtype", "digest"),
    [
        (
            {"transforms": [{"Mosaic": {"size": [32, 32], "num_images": 9}}]},
            "uint8",
            "aa7039a3e5d3feb23e1f253f578d98d9",
        ),
        (
            {"transforms": [CROP], "normalize": {"method": "standard", "statistics": "image"}},
            "float32",
            "21fe7229606a2055d0b0c69669274b09",
        ),
        (
            {"transforms": [CROP], "normalize": {"method": "min_max", "input": "image_channels"}},
            "float32",
            "6b063c8aa0ad536b8735c1616fa4a0e2",
        ),
    ],
)
def test_bytes_are_those_of_the_parameters_former_names(
    folder: Path, document: dict[str, Any], dtype: str, digest: str
) -> None:
    pipeline = Pipeline.parse(json.dumps(document))
    batch = Stream(folder, pipeline, batch_size=4, seed=5, dtype=dtype).batch(1, 0)
    assert hashlib.sha256(np.asarray(batch.images).tobytes()).hexdigest()[:32] == digest
