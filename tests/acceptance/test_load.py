"""Eight one-shot clients and four streams at once: nothing fails, probes stay quick, memory is given back."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from augment.client import Client
from augment.images.encode import encode_image
from tests.acceptance.servers_for_tests import Server, wait_until

PIPELINE = {"transforms": [{"RandomResizedCrop": {"size": [64, 64]}}, {"HorizontalFlip": {"p": 0.5}}]}
NUM_RECORDS = 64


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Images of noise."""
    root = tmp_path / "images"
    root.mkdir()
    generator = np.random.default_rng(2)
    for index in range(NUM_RECORDS):
        (root / f"{index:03d}.png").write_bytes(encode_image(generator.integers(0, 256, (96, 96, 3), np.uint8), "png"))
    return root


@pytest.mark.long
def test_seconds_of_mixed_load_leave_nothing(tmp_path: Path, images: Path) -> None:
    # How quick probes are is judged on an idle machine, by the long test; here they must not stop.
    run(tmp_path, images, seconds=3, slowest_s=2.0)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_minute_of_mixed_load_keeps_probes_quick(tmp_path: Path, images: Path) -> None:
    run(tmp_path, images, seconds=60, slowest_s=0.05)


def run(tmp_path: Path, images: Path, *, seconds: float, slowest_s: float) -> None:
    with Server(tmp_path / "home", data_roots=images, workers=2) as server:
        server.register(images)
        server.wait_ready()
        ends = time.monotonic() + seconds
        failures: list[BaseException] = []
        counts = {"images": 0, "batches": 0}
        waits: list[float] = []

        def repeat(once: Callable[[int], None]) -> None:
            turn = 0
            try:
                while time.monotonic() < ends:
                    once(turn)
                    turn += 1
            except BaseException as error:  # noqa: BLE001 - it is shown by the test
                failures.append(error)

        def one_shot(client: Client, number: int) -> Callable[[int], None]:
            data = (images / f"{number:03d}.png").read_bytes()

            def once(turn: int) -> None:
                assert client.augment(data, pipeline=PIPELINE, seed=turn)[0].data
                counts["images"] += 1

            return once

        def epochs(client: Client, seed: int) -> Callable[[int], None]:
            stream = client.stream(dataset="photos", pipeline=PIPELINE, batch_size=16, seed=seed)

            def once(turn: int) -> None:
                counts["batches"] += sum(1 for _ in stream.epoch(turn))

            return once

        def probe(_: int) -> None:
            started = time.perf_counter()
            server.get("/health/ready")
            waits.append(time.perf_counter() - started)
            time.sleep(0.02)

        with Client(server.url) as client:
            jobs = [one_shot(client, number) for number in range(8)]
            jobs += [epochs(client, seed) for seed in range(4)]
            threads = [threading.Thread(target=repeat, args=(job,)) for job in [*jobs, probe]]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert not failures
        p99 = float(np.quantile(waits, 0.99))
        figures = f"{counts} in {seconds} s; {len(waits)} probes, p50 {np.median(waits):.4f} s, p99 {p99:.4f} s"
        print(figures)  # noqa: T201 - a measurement, shown with -s
        assert min(counts.values()) > 0
        assert p99 < slowest_s
        counted = [each for each in server.get("/metrics").decode().splitlines() if "augment_requests_total{" in each]
        # A probe that came before the workers were ready was told so.
        assert not [each for each in counted if 'status="5' in each and "/health/ready" not in each]
        server.kill()
        assert server.num_files() > 1  # rendered batches, which no process could remove
        server.restart()
        server.wait_ready()
        assert server.num_files() <= 1  # the folder of the new one, and nothing that the killed one left in it
        server.stop()
        wait_until(lambda: server.num_files() == 0)
