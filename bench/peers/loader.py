"""Common part of the peers on PyTorch's DataLoader: the loader itself, with the arguments of its documentation."""

from pathlib import Path
from typing import Any

from bench.trainer import Trainer, endless


def files_in(folder: str) -> list[str]:
    """Return the photographs of a folder with class folders, in order."""
    return [str(path) for path in sorted(Path(folder).rglob("*.jpg"))]


def run(trainer: Trainer, photographs: Any) -> None:
    """Measure a map-style dataset behind a loader with two workers; shuffled, whole batches, workers kept."""
    from torch.utils.data import DataLoader

    work = trainer.work
    batches = DataLoader(
        photographs,
        batch_size=work.batch_size,
        shuffle=True,
        num_workers=work.num_workers,
        drop_last=True,
        persistent_workers=True,
        worker_init_fn=one_thread,
    )
    trainer.train(tensor.numpy() for tensor in endless(batches))


def one_thread(_: int) -> None:
    """Restrict OpenCV to one thread: a worker is one process for one core, and more threads would only compete."""
    import sys

    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(0)
