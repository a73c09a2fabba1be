"""augment over HTTP: ``augment serve`` and the Python client that trainers import.

Options: ``repeats`` of the stream; ``decode_cache_bytes`` of the service; ``epoch`` to measure, after reading the one
before it; ``start``, a batch to begin at.
"""

from collections.abc import Iterator
from typing import Any

from augment.client.client import Client
from augment.client.stream import ClientStream
from bench.peers import served
from bench.trainer import Trainer
from bench.work import Work, spec

TITLE = "augment, over HTTP"
NEEDS = {"augment": "-e .", "service": "-e ."}


def run(trainer: Trainer) -> None:
    work = trainer.work
    options = work.options
    settings = {name: options[name] for name in ("decode_cache_bytes",) if name in options}
    with served.service(work, **settings) as client:
        served.register(client, work.folder)
        first = options.get("epoch", 0)
        if first and "start" not in options:
            for batch in declared(client, work).epoch(first - 1):
                trainer.touch(batch.images)
        trainer.train(_batches(client, work, first))


def declared(client: Client, work: Work) -> ClientStream:
    """Return the stream of a run."""
    return client.stream(
        dataset=served.DATASET,
        pipeline=spec(work.pipeline),
        batch_size=work.batch_size,
        repeats=work.options.get("repeats", 1),
    )


def _batches(client: Client, work: Work, epoch: int) -> Iterator[Any]:
    stream = declared(client, work)  # part of the time to the first batch
    start = work.options.get("start", 0)
    while True:
        for batch in stream.epoch(epoch, start):
            yield batch.images
        epoch, start = epoch + 1, 0
