"""HTTP part of the demo: start the service, request an image, an epoch and an expansion, and stop it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from augment.client import Client

PIPELINE = "inception"
BATCH_SIZE = 4
COPIES = 4
SEED = 7
_START_S = 60.0


def show(photos: Path, out: Path) -> None:
    """Repeat the demo over HTTP and print the times."""
    with running(photos, out / "home") as url, Client(url) as client:
        image = photos / "cat" / "chelsea.png"
        started = time.perf_counter()
        (augmented,) = client.augment(image, pipeline=PIPELINE, seed=SEED)
        (out / "one-shot.jpg").write_bytes(augmented.data)
        print(f"{image.name} augmented in {1e3 * (time.perf_counter() - started):.0f} ms: {out / 'one-shot.jpg'}")
        dataset = client.register("photos", photos.resolve(), replace=True)
        stream = client.stream(
            dataset="photos", pipeline=PIPELINE, batch_size=BATCH_SIZE, seed=SEED, drop_last=False
        )  # fmt: skip
        started = time.perf_counter()
        rows = sum(len(batch) for batch in stream.epoch(0))
        seconds = time.perf_counter() - started
        print(
            f"an epoch of stream {stream.id[:8]}…: {rows} images of {dataset['num_records']} records in "
            f"{stream.num_batches} batches, {stream.image_shape}, in {seconds:.2f} s ({rows / seconds:.0f} a second)"
        )
        started = time.perf_counter()
        job = client.expand(dataset="photos", pipeline=PIPELINE, copies=COPIES, seed=SEED, output="photos-x4")
        counts = job["progress"]
        seconds = time.perf_counter() - started
        if not same(out / "home" / "outputs" / "photos-x4", out / "photos-x4"):
            sys.exit(f"job {job['id']} wrote other files than the command")
        print(
            f"job {job['id']}: {counts['done']} of {counts['total']} copies, {counts['failed']} refused, in "
            f"{seconds:.1f} s; the output equals that of the command"
        )


def same(one: Path, other: Path) -> bool:
    """Return True if two folders hold the same copies, byte for byte."""
    copies = [
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*__*.*")} for root in (one, other)
    ]  # fmt: skip
    return bool(copies[0]) and copies[0] == copies[1]


@contextmanager
def running(photos: Path, home: Path) -> Iterator[str]:
    """Run ``augment serve`` on a free port, yield its URL and stop it with SIGTERM, as an operator would."""
    command = ["serve", "--port", "0", "--home", str(home), "--data-root", str(photos.resolve())]
    print(f"\n$ augment {' '.join(command)}", flush=True)
    log = home.with_suffix(".log")
    with log.open("wb") as sink:
        process = subprocess.Popen([sys.executable, "-m", "augment", *command], stderr=sink, env=dict(os.environ))
    try:
        url = _url(process, log)
        _wait_ready(process, url, log)
        print(f"ready at {url}")
        yield url
    finally:
        started = time.perf_counter()
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        print(f"stopped by SIGTERM in {time.perf_counter() - started:.1f} s; its log is {log}")


def _url(process: "subprocess.Popen[bytes]", log: Path) -> str:
    ends = time.monotonic() + _START_S
    while time.monotonic() < ends and process.poll() is None:
        for line in log.read_text().splitlines():
            if '"url": ' in line:
                return str(json.loads(line)["url"])
        time.sleep(0.05)
    sys.exit(f"the service did not start:\n{log.read_text()[-2000:]}")


def _wait_ready(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    """Wait until the workers have imported their libraries, so that the first image is as fast as any."""
    ends = time.monotonic() + _START_S
    while time.monotonic() < ends and process.poll() is None:
        with contextlib.suppress(urllib.error.URLError):  # 503 until ready
            urllib.request.urlopen(f"{url}/health/ready", timeout=5).close()  # noqa: S310 - this service, on loopback
            return
        time.sleep(0.05)
    sys.exit(f"the service is not ready:\n{log.read_text()[-2000:]}")
