"""NVIDIA DALI on CPU: file reader, fused decode of the drawn area, resize, flip; its own threads."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from bench.peers import loader
from bench.trainer import Trainer
from bench.work import CROP_FLIP, RATIO, SCALE, SHORT_SIDE, SIZE, Work

TITLE = "NVIDIA DALI, CPU"
NEEDS = {
    "nvidia.dali.fn": "nvidia-dali-cuda120 nvtx optree libcst 'nvidia-nvimgcodec-cu12<0.10'",
}


def run(trainer: Trainer) -> None:
    trainer.train(_batches(trainer.work))


def _batches(work: Work) -> Iterator[np.ndarray[Any, Any]]:
    from nvidia.dali import pipeline_def

    make = pipeline_def(_graph, batch_size=work.batch_size, num_threads=work.num_workers, device_id=None)
    pipeline = make(files=loader.files_in(work.folder), pipeline=work.pipeline)
    pipeline.build()
    while True:
        (images,) = pipeline.run()
        yield images.as_array()


def _graph(files: list[str], pipeline: str) -> Any:
    from nvidia.dali import fn, types

    encoded, _ = fn.readers.file(files=files, random_shuffle=True, initial_fill=len(files), name="reader")
    if pipeline == CROP_FLIP:
        images = fn.decoders.image_random_crop(
            encoded, device="cpu", output_type=types.RGB, random_area=list(SCALE), random_aspect_ratio=list(RATIO)
        )
        images = fn.resize(images, size=[SIZE, SIZE], interp_type=types.INTERP_LINEAR)
    else:
        images = fn.decoders.image(encoded, device="cpu", output_type=types.RGB)
        images = fn.resize(images, resize_shorter=SHORT_SIDE, interp_type=types.INTERP_LINEAR)
        place = {"crop_pos_x": fn.random.uniform(range=(0, 1)), "crop_pos_y": fn.random.uniform(range=(0, 1))}
        images = fn.crop(images, crop=(SIZE, SIZE), **place)
    return fn.flip(images, horizontal=fn.random.coin_flip())
