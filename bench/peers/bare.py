"""The same decode and the same transforms in one loop of one process: our library without its service.

``Stream.batch`` of the library does more than this. The loop has only the unavoidable parts: reading, decoding,
transforming, and the copy into the batch.
"""

import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from augment.images.decode import decode_image
from augment.render.pipeline import Pipeline
from augment.transforms import jpeg_reduction
from augment.transforms.albumentations_import import cv2
from bench.peers import loader
from bench.trainer import Trainer
from bench.work import SIZE, Work, spec

TITLE = "augment, bare loop in one process"
NEEDS = {"augment": "-e ."}


def run(trainer: Trainer) -> None:
    alone()
    trainer.train(batches(trainer.work))


def alone() -> None:
    """Restrict OpenCV to the calling thread."""
    cv2.setNumThreads(0)


def batches(work: Work) -> Iterator[np.ndarray[Any, Any]]:
    """Yield endless batches; each is a new array."""
    files = [Path(name) for name in loader.files_in(work.folder)]
    pipeline = compiled(work.pipeline)
    chance = np.random.default_rng(0)
    draw = 0
    while True:
        order = chance.permutation(len(files))
        for start in range(0, len(files) - work.batch_size + 1, work.batch_size):
            images = np.empty((work.batch_size, SIZE, SIZE, 3), np.uint8)
            for row, index in enumerate(order[start : start + work.batch_size]):
                images[row] = pipeline(files[index].read_bytes(), draw)
            yield images
        draw += 1


def compiled(name: str) -> Callable[[bytes, int], np.ndarray[Any, Any]]:
    """Return a function from encoded bytes and a draw to an augmented image."""
    pipeline = Pipeline.parse(json.dumps(spec(name)))
    eighths = functools.partial(jpeg_reduction.eighths, pipeline.spec)

    def augmented(data: bytes, draw: int) -> np.ndarray[Any, Any]:
        return pipeline(decode_image(data, eighths=eighths), draw=draw)

    return augmented
