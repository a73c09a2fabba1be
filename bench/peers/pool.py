"""The script that people write to expand a folder: multiprocessing.Pool, cv2, Albumentations; option ``copies``.

``python -m bench.peers.pool WORK OUT`` is the script; a run measures all of it, including its start and its imports.
"""

import multiprocessing
import os
import sys
from pathlib import Path
from typing import Any

from bench.peers import dataloader_cv2, expand, loader
from bench.trainer import Trainer
from bench.work import Work

TITLE = "multiprocessing.Pool, cv2, Albumentations"
NEEDS = {"cv2": "opencv-python-headless", "albumentations": "albumentations"}

_here: dict[str, Any] = {}


def run(trainer: Trainer) -> None:
    expand.time_command(trainer, lambda out: [sys.executable, "-m", __name__, trainer.work.to_json(), str(out)])


def main() -> None:
    import albumentations  # noqa: F401 - at the top of such scripts, so that workers are forked with it
    import cv2  # noqa: F401

    work, out = Work.from_json(sys.argv[1]), sys.argv[2]
    Path(out).mkdir()
    arguments = (work.pipeline, work.options["copies"], out)
    with multiprocessing.Pool(work.num_workers, _begin, arguments) as pool:
        for _ in pool.imap_unordered(_expand, loader.files_in(work.folder), chunksize=8):
            pass


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


if __name__ == "__main__":
    main()
