"""The script that people write to expand a folder: multiprocessing.Pool, cv2, Albumentations; option ``copies``."""

import multiprocessing
import os
import tempfile
from pathlib import Path
from typing import Any

from bench.peers import dataloader_cv2, loader
from bench.trainer import Trainer

TITLE = "multiprocessing.Pool, cv2, Albumentations"
NEEDS = {"cv2": "opencv-python-headless", "albumentations": "albumentations"}

_here: dict[str, Any] = {}


def run(trainer: Trainer) -> None:
    work = trainer.work
    files = loader.files_in(work.folder)
    copies = work.options["copies"]
    with tempfile.TemporaryDirectory(dir=work.home) as out:
        trainer.say("ready")
        trainer.say("begin")
        arguments = (work.pipeline, copies, out)
        with multiprocessing.Pool(work.num_workers, _begin, arguments) as pool:
            first = True
            for _ in pool.imap_unordered(_expand, files, chunksize=8):
                if first:
                    trainer.say("first")
                    first = False
        trainer.say("end", pictures=sum(1 for _ in Path(out).iterdir()))


def _begin(pipeline: str, copies: int, out: str) -> None:
    import cv2

    cv2.setNumThreads(0)
    _here.update(transform=dataloader_cv2.transforms(pipeline), copies=copies, out=out)


def _expand(name: str) -> None:
    import cv2

    image = cv2.imread(name, cv2.IMREAD_COLOR_RGB)
    stem = os.path.splitext(os.path.basename(name))[0]  # noqa: PTH119, PTH122 - as such scripts have it
    for copy in range(_here["copies"]):
        augmented = _here["transform"](image=image)["image"]
        path = os.path.join(_here["out"], f"{stem}__{copy}.jpg")  # noqa: PTH118 - as above
        cv2.imwrite(path, cv2.cvtColor(augmented, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90])
