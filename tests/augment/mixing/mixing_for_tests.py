"""Batches for the tests of mixing, and a mix applied to them."""

from typing import Any

import numpy as np

from augment.mixing.mix import parse_mix
from augment.pipelines.spec import BoxRules, KeypointRules
from augment.samples.sample import Batch, Provenance


def mixed(
    batch: Batch,
    mix: object,
    *,
    num_classes: int = 4,
    boxes: BoxRules | None = None,
    keypoints: KeypointRules | None = None,
    **address: Any,
) -> Batch:
    """Mix the batch by this document."""
    place: Any = {"stream_id": "0" * 32, "epoch": 0, "index": 0} | address
    rules: Any = {"boxes": boxes or BoxRules(), "keypoints": keypoints or KeypointRules()}
    return parse_mix(mix).apply(batch, num_classes=num_classes, **rules, **place)


def batch_of(images: Any, **targets: Any) -> Batch:
    """Make a batch of these images, with keys, positions and provenance."""
    images = np.asarray(images, np.uint8)
    rows = range(len(images))
    return Batch(
        epoch=0,
        index=0,
        images=images,
        keys=[f"record-{row}" for row in rows],
        positions=np.arange(100, 100 + len(images)),
        replaces=[None] * len(images),
        provenance=[Provenance(f"render-key-{row}") for row in rows],
        **targets,
    )


def noise(num_rows: int, height: int = 12, width: int = 16, seed: int = 0) -> np.ndarray:
    """Make images without a pattern."""
    return np.random.default_rng(seed).integers(0, 256, (num_rows, height, width, 3), dtype=np.uint8)
