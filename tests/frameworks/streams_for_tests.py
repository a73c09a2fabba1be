"""Streams of the dataset that all frameworks' tests share, and what must come out of them."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from augment.client import Client, ClientStream
from augment.samples.sample import Batch
from tests.acceptance.servers_for_tests import ROOT

STEPS = [{"RandomCrop": {"height": 4, "width": 5}}, {"HorizontalFlip": {"p": 0.5}}]
BATCH_SIZE = 4
NUM_ROWS = 22
NUM_BATCHES = 6  # the last one has 2 rows


def declare(client: Client, **options: Any) -> ClientStream:
    """Declare a stream of 22 rows in batches of 4, shuffled, of images (4, 5, 3)."""
    wanted: dict[str, Any] = {"dataset": "noise", "pipeline": STEPS, "batch_size": BATCH_SIZE, "drop_last": False}
    return client.stream(**(wanted | {"normalize": "imagenet"} | options))


def epochs(stream: ClientStream, *numbers: int) -> list[list[Batch]]:
    """Read these epochs with the plain client."""
    return [list(stream.epoch(number)) for number in numbers]


def run_script(code: str, client: Client, folder: Path, *launcher: str) -> None:
    """Run code in another process, with the service's URL and a folder as its arguments; AssertionError if it fails."""
    script = folder / "script.py"
    script.write_text(code, encoding="utf-8")
    server = client._transport.current
    arguments = [*launcher, str(script), f"http://{server.host}:{server.port}", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
