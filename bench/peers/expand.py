"""``augment expand``, with its defaults: durable, resumable, a manifest of every row; option ``copies``."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.trainer import Trainer
from bench.work import spec

TITLE = "augment expand"
NEEDS = {"augment": "-e ."}


def run(trainer: Trainer) -> None:
    work = trainer.work
    pipeline = Path(work.home) / "pipeline.json"
    pipeline.write_text(json.dumps(spec(work.pipeline)), encoding="utf-8")
    command = [sys.executable, "-m", "augment", "expand", work.folder]
    options = ["--pipeline", str(pipeline), "--copies", str(work.options["copies"]), "--workers", str(work.num_workers)]
    options += ["--image-format", "jpeg", "--quality", "90"]
    time_command(trainer, lambda out: [*command, str(out), *options])


def time_command(trainer: Trainer, command: Callable[[Path], list[str]]) -> None:
    """Measure a whole command that writes images into a folder, its start and its imports included.

    The images stay until the home is removed. ext4 checks each inode that was freed in the last minute
    (``recently_deleted`` in its ialloc.c), so that removing ten thousand files would slow down the next run. Data not
    yet on the disk at the end is flushed unmeasured, else the next run would have to do it.
    """
    out = Path(tempfile.mkdtemp(dir=trainer.work.home)) / "out"
    trainer.say("ready")
    trainer.say("begin")
    subprocess.run(command(out), check=True, stdout=subprocess.DEVNULL)
    trainer.say("end", images=sum(1 for _ in out.rglob("*.jpg")))
    os.sync()
