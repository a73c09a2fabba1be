"""``augment expand``, with its defaults: durable, resumable, a manifest of every row; option ``copies``."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.trainer import Trainer
from bench.work import spec

TITLE = "augment expand"
NEEDS = {"augment": "-e ."}


def run(trainer: Trainer) -> None:
    work = trainer.work
    with tempfile.TemporaryDirectory(dir=work.home) as folder:
        pipeline, out = Path(folder) / "pipeline.yaml", Path(folder) / "out"
        pipeline.write_text(json.dumps(spec(work.pipeline)), encoding="utf-8")
        trainer.say("ready")
        trainer.say("begin")
        command = [sys.executable, "-m", "augment", "expand", work.folder, str(out), "--pipeline", str(pipeline)]
        command += ["--copies", str(work.options["copies"]), "--workers", str(work.num_workers)]
        subprocess.run([*command, "--image-format", "jpeg", "--quality", "90"], check=True, stdout=subprocess.DEVNULL)
        trainer.say("end", pictures=sum(1 for _ in out.rglob("*.jpg")))
