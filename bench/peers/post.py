"""``POST /v1/augment`` of one photograph after another, over one kept connection; the median time of a request."""

import http.client
import json
import statistics
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path

from bench.peers import loader, served
from bench.trainer import Trainer
from bench.work import spec

TITLE = "POST /v1/augment"
NEEDS = {"augment": "-e .", "service": "-e ."}
NUM_WARM = 30


def run(trainer: Trainer) -> None:
    work = trainer.work
    images = [Path(name).read_bytes() for name in loader.files_in(work.folder)[: work.num_batches]]
    query = urllib.parse.urlencode({"pipeline": json.dumps(spec(work.pipeline)), "seed": 7, "image_format": "jpeg"})
    with served.service(work) as client:
        server = client._transport.current  # noqa: SLF001 - its address is known to the bench
        connection = http.client.HTTPConnection(server.host, server.port or 80)

        def ask(data: bytes) -> None:
            connection.request("POST", f"/v1/augment?{query}", data, {"Content-Type": "image/jpeg"})
            answer = connection.getresponse()
            if answer.status != 200 or not answer.read():
                raise RuntimeError(f"POST /v1/augment answers {answer.status}")

        median_of(trainer, images, ask)
        connection.close()


def median_of(trainer: Trainer, images: list[bytes], do: Callable[[bytes], object]) -> None:
    """Measure each image's time; the median in milliseconds is the figure ``median_ms``."""
    trainer.say("ready")
    for data in images[:NUM_WARM]:
        do(data)
    trainer.say("first")
    trainer.say("begin")
    times = []
    for data in images:
        start = time.perf_counter()
        do(data)
        times.append(time.perf_counter() - start)
    trainer.say("figures", median_ms=statistics.median(times) * 1e3)
    trainer.say("end", images=len(images))
