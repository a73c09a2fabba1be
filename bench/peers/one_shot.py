"""The work of ``POST /v1/augment`` in one process without a service: decode, transform, encode."""

import itertools
from pathlib import Path

from augment.images.encode import DEFAULT_QUALITY, encode_image
from bench.peers import bare, loader, post
from bench.trainer import Trainer

TITLE = "the same work in process"
NEEDS = {"augment": "-e ."}


def run(trainer: Trainer) -> None:
    work = trainer.work
    images = [Path(name).read_bytes() for name in loader.files_in(work.folder)[: work.num_batches]]
    augmented = bare.compiled(work.pipeline)
    draws = itertools.count()  # in sequence: the service's crops differ from image to image too

    def do(data: bytes) -> bytes:
        return encode_image(augmented(data, next(draws)), "jpeg", DEFAULT_QUALITY)

    post.median_of(trainer, images, do)
