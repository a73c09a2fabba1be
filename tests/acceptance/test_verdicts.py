"""Records that take too long, in a real service: one row is replaced, and the verdict outlives a kill."""

import io
import json
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.acceptance.servers_for_tests import Server, wait_until
from tests.acceptance.test_streams import SLOW, batches_of, write_photos

FAST = {"transforms": [{"Resize": {"height": 16, "width": 16, "p": 1}}]}
LIMIT_S = 0.5
"""Limit of CPU seconds: the slow record needs some 20 s, the others 0.1 s."""


def slow_image() -> bytes:
    """A PNG of 2400 x 2400 pixels."""
    noise = np.random.default_rng(0).integers(0, 256, (150, 150, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(np.kron(noise, np.ones((16, 16, 1), np.uint8))).save(file, "PNG")
    return file.getvalue()


def augment(server: Server, pipeline: Any) -> tuple[int, Any]:
    """Return the status of a one-shot request with the slow image, and the reason of a refusal."""
    query = urllib.parse.urlencode({"pipeline": json.dumps(pipeline), "image_format": "png"})
    request = urllib.request.Request(f"{server.url}/v1/augment?{query}", slow_image(), {"Content-Type": "image/png"})  # noqa: S310 - ours
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310 - http on loopback
            return answer.status, Image.open(io.BytesIO(answer.read())).size
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)["reason"]


@pytest.mark.harden
def test_record_that_takes_too_long_costs_one_row_and_the_verdict_outlives_a_kill(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", num_each=4, side=40)
    (photos / "cat" / "002.png").write_bytes(slow_image())
    with Server(tmp_path / "home", data_roots=tmp_path, record_timeout_s=LIMIT_S) as server:
        server.register(photos)
        stream = server.declare(SLOW, batch_size=8, shuffle=False)
        url = f"/v1/streams/{stream}/batches/0/0"
        first = server.get(url)
        (batch,) = batches_of(first)
        assert batch.keys == ["cat/000", "cat/001", "cat/003", "cat/003", *(f"dog/{i:03}" for i in range(4))]
        assert batch.replaces == [None, None, "cat/002", *[None] * 5]
        assert restarts(server) >= 1
        with server.open(url) as answer:
            assert answer.headers["Cache-Control"] == "no-store", "another replica might have been fast enough"
            assert answer.headers["ETag"] is None
        server.kill()
        server.restart()
        assert server.metric("augment_records_poisoned") == 1

        # nothing of what follows runs it again: another batch, a sample, a job
        assert server.get(url) == first
        (later,) = batches_of(server.get(f"/v1/streams/{stream}/batches/1/0"))
        assert later.replaces == batch.replaces
        with pytest.raises(urllib.error.HTTPError, match="422") as refused:
            server.get(f"/v1/streams/{stream}/samples/2/cat/002")
        assert json.load(refused.value)["reason"] == "timeout"
        refused.value.close()
        status, job = server.post("/v1/jobs", {"dataset": "photos", "pipeline": SLOW, "output": {"name": "out"}})
        assert status == 202, job
        wait_until(lambda: json.loads(server.get(f"/v1/jobs/{job['id']}"))["state"] not in {"queued", "running"})
        done = json.loads(server.get(f"/v1/jobs/{job['id']}"))
        assert (done["state"], done["progress"]["failed"]) == ("succeeded", 1), done
        assert restarts(server) == 0

        # the verdict is about this record under this pipeline
        fast = server.declare(FAST, batch_size=8, shuffle=False)
        (whole,) = batches_of(server.get(f"/v1/streams/{fast}/batches/0/0"))
        assert whole.replaces == [None] * 8


@pytest.mark.harden
def test_image_that_is_too_slow_for_one_pipeline_is_rendered_by_another(tmp_path: Path) -> None:
    with Server(tmp_path / "home", data_roots=tmp_path, record_timeout_s=LIMIT_S) as server:
        assert augment(server, FAST) == (200, (16, 16))
        assert augment(server, SLOW) == (422, "timeout")
        assert augment(server, FAST) == (200, (16, 16))
        server.kill()
        server.restart()
        assert augment(server, FAST) == (200, (16, 16))
        assert augment(server, SLOW) == (422, "timeout")
        assert restarts(server) == 0


def restarts(server: Server) -> float:
    """Return the number of workers that took too long."""
    return server.metric('augment_worker_restarts_total{reason="timeout"}')
