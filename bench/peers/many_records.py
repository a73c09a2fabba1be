"""augment over HTTP, with a synthetic manifest of ``records`` rows; with ``start``, the time a stream takes to begin.

``start`` is a batch, ``epoch`` the first epoch. The figure ``median_ms`` is the median of ``STARTS`` starts at that
batch, one for each epoch, of a service whose workers have rendered before.
"""

import statistics
import time
from dataclasses import replace
from pathlib import Path

from bench import synthetic
from bench.peers import ours, served
from bench.trainer import Trainer
from bench.work import Work

TITLE = "augment, synthetic manifest"
NEEDS = ours.NEEDS
STARTS = 9


def run(trainer: Trainer) -> None:
    work = _prepared(trainer.work)
    if "start" not in work.options:
        ours.run(Trainer(work))
        return
    with served.service(work) as client:
        stream = ours.declared(client, work)
        epoch, start = work.options["epoch"], work.options["start"]
        trainer.say("ready")
        for batch in stream.epoch(0, 0, 4):
            trainer.touch(batch.images)
        trainer.say("first")
        trainer.say("begin")
        times = []
        for number in range(STARTS):
            began = time.perf_counter()
            for batch in stream.epoch(epoch + number, start, start + 1):
                trainer.touch(batch.images)
                times.append(time.perf_counter() - began)
        trainer.say("figures", median_ms=statistics.median(times) * 1e3)
        trainer.say("end", images=STARTS * work.batch_size)


def _prepared(work: Work) -> Work:
    """Return the work with a separate home, whose dataset has the required number of records."""
    records = work.options["records"]
    home = Path(work.home) / f"records-{records}"
    home.mkdir(exist_ok=True)
    work = replace(work, home=str(home))
    if not served.is_registered(work.home):
        with served.service(work) as client:
            served.register(client, work.folder)
        synthetic.grow(home, records)
    return work
